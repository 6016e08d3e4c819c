"""The files that are written to: what goes into one that is gone, is gone with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from relay_server.errors import StoreBroken


class Identity:
    """Remembers which files were opened."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._opened = {str(path): _inode(str(path)) for path in paths}

    def check(self) -> None:
        """Look whether they are still there.

        Raises:
            StoreBroken: One was removed or replaced; the message names it.
        """
        for path, opened in self._opened.items():
            if _inode(path) != opened:
                raise StoreBroken(f"{path} was removed or replaced while it was in use")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  (after each commit: a Path costs more than the call)
    except OSError:
        return None
    return status.st_dev, status.st_ino
