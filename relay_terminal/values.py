"""Values as people write them, in options, variables and files: read, or refused in plain words.

msgspec reads them, which both programs speak with anyway. pydantic would take 10 MiB of a process
that is idle for months, and a tenth of a second of each command's start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from relay_protocol.text import one_of, plainly, well_formed

MASK = "**********"  # for a secret's text
YES_AND_NO = {"yes": True, "on": True, "no": False, "off": False}  # beside true, false, 1 and 0
NO_BOUNDS = msgspec.Meta()


class Secret:
    """A text that is not seen where settings are printed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return MASK


def read(
    value: object,
    kind: Any,
    bounds: msgspec.Meta = NO_BOUNDS,
    say: Callable[[str], str] = str,
) -> Any:
    """Make what is meant of what is written.

    Raises:
        ValueError: It is none; the message says what it must be, and not what it is: it may be a
            secret.
    """
    kind = present(kind)
    if get_origin(kind) is Literal:
        return one_of(value if isinstance(value, str) else "", get_args(kind))
    if isinstance(value, str) and kind in (bool, int, float):
        value = _value_of(well_formed(value), kind)
    try:
        return msgspec.convert(value, Annotated[kind, bounds], strict=False, dec_hook=_made_of_text)
    except msgspec.ValidationError as exc:
        raise ValueError(plainly(str(exc).partition(" - at `")[0], say)) from None


def present(kind: Any) -> Any:
    """The type of what is there, of `Path | None`."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return next(one for one in get_args(kind) if one is not NoneType)


def _value_of(text: str, kind: Any) -> object:
    """What msgspec does not make of a text."""
    if kind is bool:
        return YES_AND_NO.get(text.lower(), text)
    with suppress(ValueError):
        return kind(text)  # Python's own has 1_000, too
    return text


def _made_of_text(kind: Any, value: object) -> Any:
    """A path, or a secret."""
    return value if isinstance(value, kind) else kind(msgspec.convert(value, str))
