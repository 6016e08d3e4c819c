"""Small things that are done with files."""

from __future__ import annotations

import os
from pathlib import Path


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is a database's and something more."""
    return path.with_name(path.name + suffix)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of names, survive a crash."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def size_of(path: Path) -> int:
    """Bytes in a file; 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
