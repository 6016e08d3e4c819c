"""Where a value stands in a JSON text, so that it is changed and nothing else is. Pure.

Written anew as a whole, a body would lose its spaces, escapes and the digits of its numbers, and
what a bot does with those could not be tried.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NamedTuple

from relay_server.bodies.tree import step

# What people change most in Chatwoot's webhooks: where each may stand, the likeliest first.
QUICK = {
    "content": ("/content",),
    "sender": ("/sender/name", "/meta/sender/name"),
    "inbox": ("/inbox/name", "/inbox_id"),
    "status": ("/conversation/status", "/status"),
}
LONG = "content"  # has a field of many lines; those of others hold one
MAX_QUICK_TEXT_CHARS = 65_536  # of a body with fields of its own for values; a larger one has none
LARGEST_QUICK_CHARS = 20_000  # of a value that has a field of its own; a larger one has none

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SCALAR = json.JSONDecoder(parse_int=str, parse_float=str)
_HALVES = re.compile("[\ud800-\udfff]")  # of characters, which no page can hold


class Place(NamedTuple):
    """Where a value begins and ends in a text."""

    start: int
    end: int


class Quick(NamedTuple):
    """A value that has a field of its own.

    Attributes:
        name: What it is, one of `QUICK`.
        path: JSON pointer.
        value: As people read it, with marks for what no page holds.
    """

    name: str
    path: str
    value: str


def place_of(text: str, path: str) -> Place | None:
    """Where the value is that a JSON pointer leads to through objects; None where there is none.

    Of doubled names it is the last, which is the one that readers of JSON take.
    """
    try:
        return _place(text, _behind_space(text, 0), "", path)
    except (ValueError, IndexError, RecursionError):
        return None


def put(text: str, path: str, value: str) -> str:
    """The same text with another value there: a number where one stood and it is one, else text."""
    place = place_of(text, path)
    if place is None:
        return text
    was = text[place.start : place.end]
    is_number = _NUMBER.fullmatch(was) and _NUMBER.fullmatch(value)
    written = value if is_number else json.dumps(value, ensure_ascii=False)
    return text[: place.start] + written + text[place.end :]


def quick_fields(text: str) -> list[Quick]:
    """The values of a Chatwoot webhook that have fields of their own."""
    found = list[Quick]()
    if len(text) > MAX_QUICK_TEXT_CHARS:
        return found
    for name, paths in QUICK.items():
        for path in paths:
            place = place_of(text, path)
            value = None if place is None else _read(text[place.start : place.end])
            if value is not None:
                found.append(Quick(name, path, value))
                break
    return found


def _read(written: str) -> str | None:
    """A text, a number or null as people read it; None for anything else."""
    if written == "null":
        return ""
    if not (written.startswith('"') or _NUMBER.fullmatch(written)):
        return None
    value = json.loads(written, parse_int=str, parse_float=str)
    return _HALVES.sub("\ufffd", value) if len(value) <= LARGEST_QUICK_CHARS else None


def _place(text: str, at: int, here: str, path: str) -> Place | None:
    """The place below a value that begins here; raises `ValueError` where that is no JSON."""
    if here == path:
        return Place(at, _SCALAR.raw_decode(text, at)[1])
    if text[at] != "{":
        return None
    at, found = _behind_space(text, at + 1), None
    while text[at] != "}":
        name, at = scanstring(text, at + 1)
        at = _behind_space(text, _behind_space(text, at) + 1)  # the colon
        below = here + step(name)
        if path == below or path.startswith(below + "/"):
            found = _place(text, at, below, path)
        at = _behind_space(text, _SCALAR.raw_decode(text, at)[1])
        if text[at] == ",":
            at = _behind_space(text, at + 1)
    return found


def _behind_space(text: str, at: int) -> int:
    matched = _SPACE.match(text, at)
    return matched.end() if matched else at
