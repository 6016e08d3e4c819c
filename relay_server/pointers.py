"""Following a JSON pointer into a body of a stranger's.

Only what lies on the way is made into objects: all of a body of 25 MiB would be 600 MiB of them,
and seconds in which nobody else is answered.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

MAX_INDEX = 999  # in a list; a pointer finds nothing behind it

_NOTHING = msgspec.Raw(b"")
_INDEX = re.compile(r"0|[1-9][0-9]*")  # RFC 6901 §4
_NO_FIELD = re.compile(r'[\x00-\x1f"\\\ud800-\udfff]')  # what no field of a struct can be named


def follow(body: bytes, pointer: str) -> str:
    """Give the string or whole number that a pointer (RFC 6901) leads to; empty without one.

    Raises:
        msgspec.DecodeError, RecursionError: The body is no JSON, or too deep.
    """
    value = msgspec.Raw(body)
    for part in pointer.split("/")[1:]:
        value = _below(value, part.replace("~1", "/").replace("~0", "~"))
        if not memoryview(value).nbytes:
            return ""
    try:
        return str(msgspec.json.decode(value, type=bool | int | str))
    except msgspec.ValidationError:
        return ""


def _below(value: msgspec.Raw, step: str) -> msgspec.Raw:
    """The value one step below another; nothing where that is neither an object nor a list."""
    try:
        return _in_object(value, step)
    except msgspec.ValidationError:
        pass  # it is no object
    if not _INDEX.fullmatch(step) or int(step) > MAX_INDEX:
        return _NOTHING
    try:
        found: msgspec.Raw = getattr(_list(int(step)).decode(value), f"at_{step}")
    except msgspec.ValidationError:
        return _NOTHING
    return found


def _in_object(value: msgspec.Raw, step: str) -> msgspec.Raw:
    if _NO_FIELD.search(step):
        return msgspec.json.decode(value, type=dict[str, msgspec.Raw]).get(step, _NOTHING)
    found: msgspec.Raw = _object(step).decode(value).at
    return found


@functools.lru_cache(256)
def _object(name: str) -> msgspec.json.Decoder[Any]:
    """Reads one field of an object, and skips the others."""
    fields = [("at", msgspec.Raw, _NOTHING)]
    return msgspec.json.Decoder(msgspec.defstruct("Step", fields, rename={"at": name}))


@functools.lru_cache(16)
def _list(index: int) -> msgspec.json.Decoder[Any]:
    """Reads a list up to an index, and skips the rest."""
    fields = [(f"at_{i}", msgspec.Raw, _NOTHING) for i in range(index + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("Steps", fields, array_like=True))
