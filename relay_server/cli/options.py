"""Arguments and options of several commands, and how what people write in them is read."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_http.files import read_text, why_not
from relay_protocol.times import NO_MOMENT_HINT, parse_moment, parse_span
from relay_server.configs import MAX_HEADER_BYTES
from relay_server.errors import InvalidValue
from relay_server.validity import MAX_SECRET_CHARS
from relay_terminal.usage import Old
from relay_terminal.words import _

Json = dict[str, Any]

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="FOLDER", help="Folder of the store [RELAY_SERVER_DATA_DIR]."
    ),
]
Name = Annotated[str, typer.Argument(help="Its name.")]
OfChannel = Annotated[str, typer.Argument(metavar="CHANNEL", help="Its channel.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Channel = Annotated[str | None, typer.Option(help="Of which channel.")]
Subscription = Annotated[
    str | None,
    typer.Option(
        "--subscription", Old("--as"), metavar="NAME", help="For which subscription alone."
    ),
]
Events = Annotated[
    list[str] | None,
    typer.Argument(metavar="EVENT", help="Ids of events, evt_…, or the ends of them."),
]

# What commands call the names in a path of the API.
ARGUMENTS = {
    "channel": OfChannel,
    "name": Name,
    "event": Annotated[str, typer.Argument(help="Its id, evt_…")],
    "number": Annotated[int, typer.Argument(min=1, help="Its number.")],
}

_UNITS = {"": 1, "K": 1_024, "M": 1_048_576, "G": 1_073_741_824, "T": 1_099_511_627_776}
_SIZE = re.compile(r"([0-9]{1,15})([KMGTkmgt]?)")


class NoMoment(InvalidValue):
    """An option's time cannot be read as one."""

    hint = NO_MOMENT_HINT


def moment(text: str | None, option: str) -> int | None:
    """Read an option's time, in Unix milliseconds; `now` is one. No time is `NoMoment`."""
    if text is None:
        return None
    now = round(time.time() * 1_000)
    try:
        found = parse_moment(text, now)
    except ValueError as exc:
        raise NoMoment(f"{option}: {exc}") from exc
    return now if found is None else found


def read_size(text: str) -> int:
    """Read bytes such as `500M` or `2G`, or raise `InvalidValue`."""
    size = _SIZE.fullmatch(text)
    if size is None:
        raise InvalidValue(_("{text!r} is no size such as 500M, 2G or 0").format(text=text))
    return int(size[1]) * _UNITS[size[2].upper()]


def read_delays(text: str) -> list[float]:
    """Read spans such as `5s,30s,2m`, or `none`; what is no span is `InvalidValue`."""
    if text.strip() == "none":
        return []
    try:
        return [parse_span(part.strip()) for part in text.split(",")]
    except ValueError as exc:
        raise InvalidValue(_("--retry-delays: {exc}; or say none").format(exc=exc)) from exc


def read_span(text: str) -> float:
    """Read a span such as `10s`, or `0`; what is no span is `InvalidValue`."""
    try:
        return 0.0 if text.strip() == "0" else parse_span(text.strip())
    except ValueError as exc:
        raise InvalidValue(_("{exc}; or say 0").format(exc=exc)) from exc


def read_lifetimes(given: list[str]) -> list[tuple[str, float]]:
    """Read times to live as `KIND=SPAN`, such as `typing_*=10s`, or raise `InvalidValue`."""
    return [_lifetime(text) for text in given if text]


def _lifetime(text: str) -> tuple[str, float]:
    kind, _equals, span = text.partition("=")
    try:
        return kind.strip(), parse_span(span.strip())
    except ValueError as exc:
        raise InvalidValue(_("--ttl takes KIND=SPAN: {exc}").format(exc=exc)) from exc


def read_secret(path: Path, limit: int = MAX_SECRET_CHARS) -> str:
    """Read a file without the white space around it; `-` is a line of standard input."""
    try:
        secret = sys.stdin.readline() if str(path) == "-" else read_text(path)
    except (OSError, ValueError) as exc:
        raise InvalidValue(
            _("the secret file {path} cannot be read: {why}").format(path=path, why=why_not(exc))
        ) from exc
    if not secret.strip() or len(secret) > limit:
        raise InvalidValue(
            _("{path} holds no secret of 1 to {limit} characters").format(path=path, limit=limit)
        )
    return secret.strip()


def read_headers(files: list[str]) -> dict[str, str]:
    """Read headers as `NAME=FILE`, with the value in the file, or raise `InvalidValue`."""
    return dict(_header(text) for text in files if text)


def _header(text: str) -> tuple[str, str]:
    name, given, file = text.partition("=")
    if not given or not file:
        raise InvalidValue(
            _("{text!r} is not NAME=FILE, with the header's value in the file").format(text=text)
        )
    return name.strip(), read_secret(Path(file), MAX_HEADER_BYTES)


# Settings that commands take in other words than the API: their options' type, and its reader.
WORDED: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "allow_from": (list[str], lambda networks: [one for one in networks if one]),
    "headers": (list[str], read_headers),
    "away_after_s": (str, read_span),
    "mask": (list[str], lambda masks: [one for one in masks if one]),
    "hmac_secrets": (list[Path], lambda files: [read_secret(file) for file in files]),
    "max_bytes": (str, lambda text: read_size(text) or None),
    "refuse_after_s": (str, lambda text: read_span(text) or None),
    "resign_secret": (Path, read_secret),
    "retry_delays_s": (str, read_delays),
    "ttl": (list[str], read_lifetimes),
}
