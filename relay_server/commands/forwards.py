"""What commands set of a forward, as the API takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relay_server.commands.calls import Json
from relay_server.commands.channels import read_secret
from relay_server.commands.replays import moment
from relay_server.delivery.push import MAX_HEADER_BYTES
from relay_server.errors import InvalidValue


def forward_fields(
    *,
    header_files: Sequence[str] | None,
    since: str | None = None,
    **simple: object,
) -> Json:
    """What is set of a forward; None is left out.

    Raises:
        InvalidValue: A header's file cannot be read, or a time is none.
    """
    fields: Json = {name: value for name, value in simple.items() if value is not None}
    if header_files is not None:
        fields["headers"] = dict(_header(text) for text in header_files if text)
    if since not in (None, "now"):
        fields["since"] = moment(since, "--since")
    return fields


def _header(text: str) -> tuple[str, str]:
    name, given, file = text.partition("=")
    if not given or not file:
        raise InvalidValue(f"{text!r} is not NAME=FILE, with the header's value in the file")
    return name.strip(), read_secret(Path(file), MAX_HEADER_BYTES)
