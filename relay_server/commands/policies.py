"""What commands set of policies and quotas, as the API takes it."""

from __future__ import annotations

import re

from relay_protocol.times import parse_span
from relay_server.commands.calls import Json
from relay_server.errors import InvalidValue

_UNITS = {"": 1, "K": 1_024, "M": 1_048_576, "G": 1_073_741_824, "T": 1_099_511_627_776}
_SIZE = re.compile(r"([0-9]{1,15})([KMGTkmgt]?)")


def policy_fields(retry_delays: str | None, **simple: object) -> Json:
    """What is set of a policy; None is left out.

    Raises:
        InvalidValue: The delays are none.
    """
    fields: Json = {name: value for name, value in simple.items() if value is not None}
    if retry_delays is not None:
        fields["retry_delays_s"] = _delays(retry_delays)
    return fields


def read_size(text: str) -> int:
    """Read bytes such as `500M` or `2G`.

    Raises:
        InvalidValue: It is none.
    """
    size = _SIZE.fullmatch(text)
    if size is None:
        raise InvalidValue(f"{text!r} is no size such as 500M, 2G or 0")
    return int(size[1]) * _UNITS[size[2].upper()]


def _delays(text: str) -> list[float]:
    if text.strip() == "none":
        return []
    try:
        return [parse_span(part.strip()) for part in text.split(",")]
    except ValueError as exc:
        raise InvalidValue(f"--retry-delays: {exc}; or say none") from exc
