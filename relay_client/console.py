"""The streams of a command, what they can show, and text laid out for people."""

from __future__ import annotations

import contextlib
import enum
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from relay_protocol.text import ZERO_WIDTH_JOINER


class Colour(enum.StrEnum):
    """ANSI codes (ECMA-48 §8.3.117)."""

    GOOD = "32"
    BAD = "31"
    CARE = "33"
    DIM = "2"
    BOLD = "1"


@dataclass(frozen=True)
class Console:
    """The streams of a command, and who is at their other end.

    Attributes:
        out: For what was asked for.
        err: For errors and questions.
        is_terminal: A person looks at `out`.
        asks: A person can answer questions.
        colour: `out` takes ANSI codes.
    """

    out: TextIO
    err: TextIO
    is_terminal: bool = False
    asks: bool = False
    colour: bool = False

    @classmethod
    def of_process(cls) -> Console:
        """The console of this process, without colours."""
        return cls(sys.stdout, sys.stderr, sys.stdout.isatty(), sys.stdin.isatty())

    def coloured(self, wanted: bool) -> Console:
        """The same with colours, where they are wanted and can be shown."""
        return replace(self, colour=wanted and self.is_terminal and _takes_ansi())

    def line(self, text: str) -> None:
        """Write a line, at once.

        Raises:
            OSError: Nobody reads any more, or it cannot be written.
        """
        self.out.write(text + "\n")
        self.out.flush()

    def note(self, text: str) -> None:
        """Write a line to people, beside the output; lost where there is nobody to tell."""
        with contextlib.suppress(OSError):
            self.err.write(text + "\n")
            self.err.flush()

    def paint(self, text: str, colour: Colour) -> str:
        """Colour a text, where there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour else text


if sys.platform == "win32":

    def _takes_ansi() -> bool:
        import ctypes

        kernel = ctypes.windll.kernel32
        stdout, processed_and_ansi = kernel.GetStdHandle(-11), 0x0001 | 0x0002 | 0x0004
        return bool(kernel.SetConsoleMode(stdout, processed_and_ansi))

else:

    def _takes_ansi() -> bool:
        return True


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
