"""Disk space that is kept, so that a full disk leaves room to write what makes room."""

from __future__ import annotations

import os
from pathlib import Path

from relay_server.store.sqlite.space import RESERVE_BYTES

NAME = "reserve"
_PIECE = 65_536  # bytes


class Reserve:
    """A file in the data dir that holds nothing but its place."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self._held = False

    @property
    def held(self) -> bool:
        """Whether the place is kept."""
        return self._held

    def make(self) -> bool:
        """Take the place; False when the disk has none, or cannot be written to."""
        if self._held or self._is_there():
            self._held = True
            return True
        try:
            self._allocate()
        except OSError:
            self.release()
            return False
        self._held = True
        return True

    def release(self) -> bool:
        """Give the place back; False when there was none."""
        held, self._held = self._held or self._is_there(), False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return held

    def free(self) -> int:
        """Bytes that this user may still write to the disk, as far as the disk says."""
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize

    def _is_there(self) -> bool:
        """Whether it is left from before, and whole: a copied data dir may hold one of holes."""
        try:
            status = self._path.stat()
        except OSError:
            return False
        return status.st_size >= RESERVE_BYTES and status.st_blocks * 512 >= RESERVE_BYTES

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
