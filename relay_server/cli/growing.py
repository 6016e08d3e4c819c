"""How far a file is that something writes, which is looked at meanwhile: it says nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from relay_server.files import size_of
from relay_terminal.progress import progress
from relay_terminal.words import N_

LOOK_S = 0.2  # between two looks at the file's size
NOTHING_HALF_DONE = N_("The store is whole, and nothing half done is left.")
_MIB = 1_048_576


@contextmanager
def growing(title: str, file: Path, whole: Callable[[], int], interrupted: str) -> Iterator[None]:
    """Show how much of a file is there, of so many bytes in the end, in MiB."""
    done = threading.Event()
    with progress(title, max(1, whole() // _MIB), interrupted) as reach:

        def look() -> None:
            while not done.wait(LOOK_S):
                reach(size_of(file) // _MIB)

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            done.set()
            looking.join()
