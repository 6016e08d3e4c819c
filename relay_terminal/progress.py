"""How far a long command is: a bar on a terminal, and nothing where nobody looks.

    with progress(_("Copying the store"), total) as reach:
        reach(done)
        reach(done, _("2 are retried"))

The bar is on standard error, and goes with the end, however it comes: Ctrl-C leaves a clean screen.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from relay_protocol.text import harmless
from relay_terminal.words import counted

BAR_CELLS = 24  # beside it there is room for the numbers at 60 columns


class Reach(Protocol):
    """Says how far it is, and what else is to be known."""

    def __call__(self, done: int, note: str = "", /) -> None: ...


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Reach]:
    """Show how far something is, until it ends.

    Args:
        title: What is done.
        total: How many of it there are to do; 0 where nobody knows.
    """
    if not sys.stderr.isatty():
        yield _unseen
        return
    # Not before it is shown: a command that is quick need not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    note = TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_CELLS),
        TextColumn("{task.fields[count]}", markup=False),
        TimeRemainingColumn(compact=True),
        note,
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(harmless(title), total=total or None, count="", note="")

        def reach(done: int, note: str = "", /) -> None:
            count = f"{counted(done)}/{counted(total)}" if total else counted(done)
            shown.update(task, completed=done, count=count, note=harmless(note))

        reach(0)
        yield reach


def _unseen(_done: int, _note: str = "", /) -> None:
    """Nobody looks."""
