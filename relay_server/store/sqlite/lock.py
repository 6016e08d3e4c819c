"""One server to a data dir."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from relay_server.errors import StoreLocked

PATIENCE_S = 1.0  # for another process to let go of the data dir: a command may hold it


class DirLock:
    """An advisory lock on a data dir; the kernel drops it however the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "relay.lock"
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreLocked: Another process holds it, and did for a second.
        """
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PATIENCE_S
        while not self._try():
            if time.monotonic() >= deadline:
                owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._fd)
                raise StoreLocked(f"{self._path.parent} is in use by process {owner}")
            time.sleep(0.05)
        with suppress(OSError):  # who holds it is nice to know; on a full disk nobody does
            os.ftruncate(self._fd, os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0))

    def release(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
