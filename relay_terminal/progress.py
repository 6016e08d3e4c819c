"""How far a long command is: a bar on a terminal, and nothing where nobody looks.

    with progress(_("Copying the store"), total, _("Interrupted: nothing stays.")) as reach:
        reach(done)
        reach(done, _("2 are retried"))

The bar is on standard error, and goes with the end, however it comes: Ctrl-C leaves a clean screen,
and what becomes of what was begun is said.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from relay_protocol.text import harmless
from relay_terminal.console import Console as Streams
from relay_terminal.layout import shortened, width
from relay_terminal.words import counted

BAR_CELLS = 24  # beside it there is room for the numbers at 60 columns
LEAST_BAR_CELLS = 6  # where a note takes more
ECHOED_CELLS = 3  # of a line, for the ^C of a terminal: one that it broke would not go whole


class Reach(Protocol):
    """Says how far it is, and what else is to be known."""

    def __call__(self, done: int, note: str = "", /) -> None: ...


@contextlib.contextmanager
def progress(title: str, total: int, interrupted: str) -> Iterator[Reach]:
    """Show how far something is, of so many, until it ends; 0 where nobody knows how many."""
    try:
        with _bar(title, total) as reach:
            yield reach
    except BaseException as exc:
        if not isinstance(exc, Exception):  # Ctrl-C; a task it reaches as a cancellation
            Streams.of_process().note(interrupted)
        raise


@contextlib.contextmanager
def _bar(title: str, total: int) -> Iterator[Reach]:
    if not sys.stderr.isatty():
        yield _unseen
        return
    # Not before it is shown: a command that is quick need not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    def whole(text: str) -> TextColumn:
        return TextColumn(text, markup=False, table_column=Column(no_wrap=True))

    columns = (
        whole("{task.description}"),
        BarColumn(BAR_CELLS),  # it gets narrower where the others need the room
        whole("{task.fields[count]}"),
        TimeRemainingColumn(compact=True),
        whole("{task.fields[note]}"),
    )
    title = harmless(title)
    others = width(f"{title}  {counted(total)}/{counted(total)} --:-- ") + LEAST_BAR_CELLS
    console = Console(stderr=True, highlight=False)
    console.width = max(1, console.width - ECHOED_CELLS)
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=total or None, count="", note="")

        def reach(done: int, note: str = "", /) -> None:
            count = f"{counted(done)}/{counted(total)}" if total else counted(done)
            said = shortened(harmless(note), max(0, console.width - others))
            shown.update(task, completed=done, count=count, note=said)

        reach(0)
        yield reach


def _unseen(_done: int, _note: str = "", /) -> None:
    """Nobody looks."""
