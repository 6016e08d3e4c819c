"""Arrays in PostgreSQL's binary format, as a batch of webhooks is given to it.

psycopg would find out the type of each element by itself, which costs a server more than all else
that it does for a webhook. The format is that of `array_recv` (PostgreSQL's `arrayfuncs.c`): how
many dimensions, whether there may be NULLs, and the elements' type; the size of each dimension;
then each element behind its length, which is -1 for a NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from struct import Struct, pack

BYTEA, BIGINT, TEXT = 17, 20, 25  # of `pg_type`
# PostgreSQL's text has no NUL. In its place stands a character that Unicode gives to nobody.
ESCAPE = "\U0010ffff"

_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)


class Array(bytes):
    """One that is packed."""


def bigints(values: Sequence[int | None]) -> Array:
    """Whole numbers of 64 bits, with a sign."""
    if None in values:
        packed = (None if value is None else value.to_bytes(8, signed=True) for value in values)
        return _array(BIGINT, packed, len(values))
    numbers = chain.from_iterable(zip(repeat(8), values))
    return Array(_head(BIGINT, len(values)) + pack("!" + "iq" * len(values), *numbers))


def texts(values: Sequence[str | None]) -> Array:
    """Texts, as `text` has them."""
    packed = (None if value is None else escaped(value).encode() for value in values)
    return _array(TEXT, packed, len(values))


def byteas(values: Sequence[bytes | None]) -> Array:
    return _array(BYTEA, values, len(values))


def bytea_rows(rows: Sequence[Sequence[bytes | None]]) -> Array:
    """Rows of bytes, as many in each; one at least."""
    return _array(BYTEA, chain.from_iterable(rows), len(rows), len(rows[0]))


def escaped(text: str) -> str:
    """A text without its NULs."""
    if "\0" in text or ESCAPE in text:
        return text.replace(ESCAPE, ESCAPE + "1").replace("\0", ESCAPE + "0")
    return text


def unescaped(text: str) -> str:
    """A text with them again."""
    if ESCAPE in text:
        return text.replace(ESCAPE + "0", "\0").replace(ESCAPE + "1", ESCAPE)
    return text


def _head(kind: int, *sizes: int) -> bytes:
    may_have_nulls, lower_bound = 1, 1
    dimensions = chain.from_iterable((size, lower_bound) for size in sizes)
    return pack(f"!iii{2 * len(sizes)}i", len(sizes), may_have_nulls, kind, *dimensions)


def _array(kind: int, values: Iterable[bytes | None], *sizes: int) -> Array:
    pieces = [_head(kind, *sizes)]
    for value in values:
        if value is None:
            pieces.append(_NULL)
        else:
            pieces += (_LENGTH.pack(len(value)), value)
    return Array(b"".join(pieces))
