"""Reading `--since`: where a new subscription starts."""

from __future__ import annotations

import re
from datetime import datetime

from relay_client.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_since(text: str, now_ms: int) -> int | None:
    """Read `now`, `beginning`, a span back such as `2h`, or a time (RFC 3339).

    Returns:
        Unix milliseconds; None for now.

    Raises:
        UsageError: It is none of these.
    """
    if text == "now":
        return None
    if text == "beginning":
        return 0
    if span := _SPAN.fullmatch(text):
        return max(0, now_ms - int(span[1]) * _UNIT_MS[span[2]])
    return _moment(text)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return max(0, round(moment.timestamp() * 1_000))
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"--since {text!r} is not a time",
        "Write now, beginning, a span such as 2h or 3d, or a time with its zone, such as "
        "2026-07-02T14:00:00Z.",
    )
