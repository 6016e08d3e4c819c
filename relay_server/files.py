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


def write_whole(path: Path, content: bytes) -> None:
    """Have a small file, for its owner alone, survive a crash: all of it, or what was there before.

    Raises:
        OSError: It cannot be written.
    """
    fresh = beside(path, ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    sync(path.parent)


def size_of(path: Path) -> int:
    """Bytes in a file; 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
