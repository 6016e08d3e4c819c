"""What the demo prints: its own words, and the programs' lines with their names before them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.text import Text

NAME_CELLS = 6
MIN_LINE_CELLS = 20
STYLES = {"server": "cyan", "client": "magenta", "bot": "green"}


class Screen:
    """Colours and folded lines on a terminal; elsewhere each line as it is.

    Attributes:
        is_terminal: A person looks at it, and can type.
    """

    def __init__(self, out: TextIO, is_terminal: bool, environment: Mapping[str, str]) -> None:
        self.is_terminal = is_terminal
        self._console = Console(
            file=out,
            force_terminal=is_terminal,
            _environ=environment,  # NO_COLOR, TERM, COLUMNS
            highlight=False,
            markup=False,
            emoji=False,
        )

    @classmethod
    def of_process(cls) -> Screen:
        """The screen of this process."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # an old locale cannot show every name
        return cls(sys.stdout, sys.stdin.isatty() and sys.stdout.isatty(), os.environ)

    def say(self, text: str = "", style: str = "") -> None:
        """Print words of the demo; long lines stay whole, so that they can be copied."""
        self._print(Text(text, style))

    def fold(self, text: str, style: str = "") -> None:
        """Print words that nobody copies; on a terminal a long line ends between two of them."""
        for part in self._folded(Text(text, style), 0):
            self._print(part)

    def step(self, text: str) -> None:
        """Print what is done now."""
        self.say()
        self.say(text, "bold")

    def program_line(self, name: str, line: str) -> None:
        """Print a line that a program wrote."""
        before = Text.assemble((f"{name:<{NAME_CELLS}} │ ", STYLES[name]))
        for part in self._folded(Text(line), before.cell_len):
            self._print(before + part)

    def _folded(self, line: Text, taken_cells: int) -> list[Text]:
        if not self.is_terminal or not line:
            return [line]
        cells = max(MIN_LINE_CELLS, self._console.width - taken_cells)
        return list(line.wrap(self._console, cells))

    def _print(self, text: Text) -> None:
        with contextlib.suppress(OSError):  # a closed terminal must not keep the demo from tidying
            self._console.print(text, soft_wrap=True)
