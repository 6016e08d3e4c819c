"""One value of a JSON body changed, every other byte left as it is: senders sign bytes. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from relay_terminal.words import _

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class _Span(NamedTuple):
    """Where a value stands: characters from `start` to `end`; missing ones end where they begin.

    Attributes:
        before: What a value that is added there needs before it.
    """

    start: int
    end: int
    before: str = ""


def changed(body: bytes, path: str, value: str) -> bytes:
    """The body with another value at a path, such as `conversation.id` or `attachments.0.id`.

    The value is JSON if it can be read as such (`5`, `true`, `null`, `{"a": 1}`), and else text;
    where there was a text it stays one. What is not there yet is added to the object.

    Raises:
        ValueError: The body is no JSON, nothing is at the path, or the value is no text; the
            message says which.
    """
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(_("the value is no UTF-8"))
    try:
        text = body.decode()
        span = _find(text, path.split("."))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
        raise ValueError(_("its body is no JSON")) from exc
    was = text[span.start : span.end]
    return (text[: span.start] + span.before + _written(value, was) + text[span.end :]).encode()


def _written(value: str, was: str) -> str:
    try:
        read: Any = value if was.startswith('"') else json.loads(value)
    except ValueError:
        read = value
    return json.dumps(read, ensure_ascii=False)


def _find(text: str, steps: list[str]) -> _Span:
    span = _value_at(text, 0)
    if text[span.end :].strip(" \t\n\r"):
        raise ValueError(_("its body is no JSON"))
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        found = _member(text, span, step) if text[span.start] == "{" else _item(text, span, step)
        if found is None or (found.start == found.end and not is_last):
            raise ValueError(_("it has nothing at {value}").format(value=".".join(steps[: at + 1])))
        span = found
    return span


def _member(text: str, of: _Span, name: str) -> _Span:
    """The value of a name in an object, the last of them; if it is missing, where to add it."""
    at, found, is_empty = _skip(text, of.start + 1), None, True
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        value = _value_at(text, _skip(text, _skip(text, at) + 1))
        is_empty = False
        if key == name:
            found = value
        at = _skip(text, value.end)
        at = _skip(text, at + 1) if text[at] == "," else at
    comma = "" if is_empty else ","
    return found or _Span(of.end - 1, of.end - 1, f"{comma}{json.dumps(name)}:")


def _item(text: str, of: _Span, index: str) -> _Span | None:
    if text[of.start] != "[" or not index.isdecimal():
        return None
    at = _skip(text, of.start + 1)
    for number in range(int(index) + 1):
        if text[at] == "]":
            return None
        value = _value_at(text, at)
        if number == int(index):
            return value
        at = _skip(text, value.end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return None


def _value_at(text: str, at: int) -> _Span:
    start = _skip(text, at)
    return _Span(start, _DECODER.raw_decode(text, start)[1])


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
