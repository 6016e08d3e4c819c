"""Disk space that is kept, so that a full disk leaves room to write what makes room."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "reserve"
RESERVE_BYTES = 16_777_216  # as much as the log grows to between two checkpoints
_PIECE = 65_536  # bytes


class Reserve:
    """A file in the data dir that holds nothing but its place.

    Attributes:
        held: The place is kept.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self.held = self._is_whole()

    def make(self) -> bool:
        """Take the place; False when the disk has none, or cannot be written to."""
        try:
            self._allocate()
        except OSError:
            self.release()
            return False
        self.held = True
        return True

    def release(self) -> bool:
        """Give the place back; False when there was none."""
        self.held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def free(self) -> int:
        """Bytes that this user may still write to the disk, as far as the disk says."""
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize

    def _is_whole(self) -> bool:
        """True if it is left from before; a copied data dir may hold one of holes."""
        try:
            return self._path.stat().st_blocks * 512 >= RESERVE_BYTES
        except OSError:
            return False

    def _allocate(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
                return
            for start in range(0, RESERVE_BYTES, _PIECE):
                os.pwrite(fd, bytes(_PIECE), start)
        finally:
            os.close(fd)
