"""The streams of a command, what they can show, and who is at their other end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from relay_terminal.layout import GAP, Colour, Painted, pairs, table, wrapped

_MAX_CELLS = 10_000  # a screen's width that is believed
_HANGING_CELLS = 4  # that an entry of several columns goes on further in


@dataclass(frozen=True)
class Console:
    """The streams of a command, and who is at their other end.

    Attributes:
        out: For what was asked for.
        err: For errors and questions.
        is_terminal: A person looks at `out`.
        asks: A person can answer questions.
        colour: `out` takes ANSI codes.
        cells: Width of the screen; 0 where there is none, and lines may be of any length.
    """

    out: TextIO
    err: TextIO
    is_terminal: bool = False
    asks: bool = False
    colour: bool = False
    cells: int = 0

    @classmethod
    def of_process(cls) -> Console:
        """The console of this process, with colours where they are wanted and can be shown."""
        is_terminal = sys.stdout.isatty()
        colour = _wants_colour(is_terminal) and _takes_ansi()
        return cls(sys.stdout, sys.stderr, is_terminal, sys.stdin.isatty(), colour, _screen())

    def coloured(self, wanted: bool) -> Console:
        """The same with colours, where they are wanted and can be shown."""
        return replace(self, colour=wanted and self.is_terminal and _takes_ansi())

    def line(self, text: str) -> None:
        """Write a line as it is, at once.

        Raises:
            OSError: Nobody reads any more, or it cannot be written.
        """
        self.out.write(text + "\n")
        self.out.flush()

    def say(self, *texts: str) -> None:
        """Write lines to people, broken between words where the screen is narrow.

        Raises:
            OSError: As `line`.
        """
        for text in texts:
            hanging = _HANGING_CELLS if GAP in text.strip() else 0
            self.line("\n".join(wrapped(text, self.cells, hanging)))

    def table(self, rows: Sequence[Sequence[str]], *, cut: bool = False) -> list[str]:
        """Lines of a table, as `layout.table` has them; none where there is a heading alone."""
        if len(rows) < 2:
            return []
        heading = [self.paint(cell, Colour.BOLD) for cell in rows[0]]
        return table([heading, *rows[1:]], self.cells, cut=cut)

    def pairs(self, named: Iterable[tuple[str, str]]) -> None:
        """Write names and what they stand for."""
        if lines := pairs(named, self.cells):
            self.line("\n".join(lines))

    def note(self, text: str) -> None:
        """Write a line to people, beside the output; lost where there is nobody to tell."""
        with contextlib.suppress(OSError):
            self.err.write("\n".join(wrapped(text, self.cells)) + "\n")
            self.err.flush()

    def paint(self, text: str, colour: Colour) -> str:
        """Colour a text, where there are colours."""
        return Painted(f"\x1b[{colour}m{text}\x1b[0m") if self.colour else text


if sys.platform == "win32":

    def _takes_ansi() -> bool:
        import ctypes

        kernel = ctypes.windll.kernel32
        stdout, processed_and_ansi = kernel.GetStdHandle(-11), 0x0001 | 0x0002 | 0x0004
        return bool(kernel.SetConsoleMode(stdout, processed_and_ansi))

else:

    def _takes_ansi() -> bool:
        return os.environ.get("TERM") != "dumb"


def _wants_colour(is_terminal: bool) -> bool:
    """A person looks, and does not mind colours (no-color.org); or they are forced."""
    return (is_terminal or "FORCE_COLOR" in os.environ) and not os.environ.get("NO_COLOR")


def _screen() -> int:
    """The width of the screen; 0 where the output goes elsewhere and `COLUMNS` says nothing."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and 0 < int(said) < _MAX_CELLS:
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0
