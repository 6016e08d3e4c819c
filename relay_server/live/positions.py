"""Where a reader of the feed is: of each channel the last sequence that it was told of. Pure.

As text it is the `id:` of a message, which a reader brings back to go on from there:

    chatwoot=8123;github=77
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from relay_server.errors import InvalidValue
from relay_server.values import MAX_SEQUENCE

MAX_CHANNELS = 64  # in one feed; more: 422. Their positions fit into a request's header field
MAX_POSITION_CHARS = 8_000  # of a position that is brought back; more: 422


def format_positions(positions: Mapping[str, int]) -> str:
    """The text of a position; the values are sequences, by channel."""
    return ";".join(f"{quote(name)}={positions[name]}" for name in sorted(positions))


def parse_positions(text: str) -> dict[str, int]:
    """Read a position's text; `InvalidValue` where it is none."""
    if len(text) > MAX_POSITION_CHARS or text.count(";") >= MAX_CHANNELS:
        raise InvalidValue(f"a position has up to {MAX_CHANNELS} channels")
    found = dict[str, int]()
    for part in text.split(";") if text else ():
        name, equals, number = part.partition("=")
        if not (name and equals and number.isascii() and number.isdigit() and len(number) <= 13):
            raise InvalidValue("a position looks like chatwoot=8123;github=77")
        found[unquote(name)] = min(int(number), MAX_SEQUENCE)
    return found


def around(positions: Mapping[str, int], channel: str) -> tuple[str, str]:
    """The text of a position before and behind the sequence of one of its channels."""
    before = [(name, s) for name, s in positions.items() if name < channel]
    behind = [(name, s) for name, s in positions.items() if name > channel]
    head = "".join(f"{part};" for part in (format_positions(dict(before)),) if part)
    tail = "".join(f";{part}" for part in (format_positions(dict(behind)),) if part)
    return f"{head}{quote(channel)}=", tail
