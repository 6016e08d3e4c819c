"""Whether the files that are written to are still those that the data dir shows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from relay_server.errors import StoreBroken

_Known = tuple[int, int]


class Identity:
    """Which files were opened; what is written to a file that is gone, is gone with it."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {str(path): _look(str(path)) for path in paths}

    def check(self) -> None:
        """Look whether they are still there.

        Raises:
            StoreBroken: One was removed or replaced; the message names it.
        """
        for path, known in self._known.items():
            if _look(path) != known:
                raise StoreBroken(f"{path} was removed or replaced while it was in use")


def _look(path: str) -> _Known | None:
    try:
        status = os.stat(path)  # noqa: PTH116  (after each commit: a Path costs more than the call)
    except OSError:
        return None
    return status.st_dev, status.st_ino
