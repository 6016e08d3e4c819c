"""Small pieces of text for people: harmless, aligned, short."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from relay_protocol.text import ZERO_WIDTH_JOINER


def width(text: str) -> int:
    """Count the terminal cells that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def padded(text: str, cells: int) -> str:
    """Fill a text up with spaces to a width in terminal cells."""
    return text + " " * (cells - width(text))


def duration(seconds: float) -> str:
    """Say a time span roughly, e.g. `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, noun: str) -> str:
    """Say a number of things, e.g. `1 webhook`, `12 webhooks`."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align rows, the first of which is the heading, into lines."""
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(padded(cell, cells) for cell, cells in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cells(char: str) -> int:
    if char == ZERO_WIDTH_JOINER or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
