"""A file system below SQLite that fails when it is told to, in this process."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apsw

NAME = "badfs"
BELOW = "unix"


@dataclass(frozen=True, slots=True)
class Fault:
    """How an operation fails: as SQLite's own VFS would say it, with the system's number.

    Attributes:
        operation: `write`, `sync`, `read` or `truncate`.
    """

    operation: str
    error: type[apsw.Error]
    code: int
    number: int


DISK_FULL = Fault("write", apsw.FullError, apsw.SQLITE_FULL, errno.ENOSPC)
OVER_QUOTA = Fault("write", apsw.IOError, apsw.SQLITE_IOERR_WRITE, errno.EDQUOT)
READ_ONLY = Fault("write", apsw.IOError, apsw.SQLITE_IOERR_WRITE, errno.EROFS)
WRITE_FAILED = Fault("write", apsw.IOError, apsw.SQLITE_IOERR_WRITE, errno.EIO)
SYNC_FAILED = Fault("sync", apsw.IOError, apsw.SQLITE_IOERR_FSYNC, errno.EIO)
SYNC_FULL = Fault("sync", apsw.IOError, apsw.SQLITE_IOERR_FSYNC, errno.ENOSPC)
READ_FAILED = Fault("read", apsw.IOError, apsw.SQLITE_IOERR_READ, errno.EIO)


@dataclass(slots=True)
class _Order:
    """A fault that is to happen.

    Attributes:
        files: How the names of the files end.
        skip: Operations that succeed before.
        left: How often it happens still; None for ever.
    """

    fault: Fault
    files: str
    skip: int
    left: int | None

    def due(self, operation: str, name: str) -> bool:
        """Count an operation, and say whether it is to fail."""
        if self.fault.operation != operation or not name.endswith(self.files) or self.left == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


class BadFs(apsw.VFS):
    """SQLite's usual VFS but for the faults that were ordered.

    Attributes:
        count: Operations that were asked for, by operation and file's name.
    """

    def __init__(self) -> None:
        super().__init__(NAME, BELOW)
        self.count: Counter[tuple[str, str]] = Counter()
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        self._numbers = threading.local()

    def fail(
        self, fault: Fault, files: str = "", *, skip: int = 0, times: int | None = None
    ) -> None:
        """Let operations fail from now on.

        Args:
            fault: Which, and how.
            files: How the names of the files end, such as `-wal`; all files if left out.
            skip: So many of them succeed before.
            times: So many of them fail; all that follow if left out.
        """
        with self._lock:
            self._orders.append(_Order(fault, files, skip, times))

    def heal(self) -> None:
        with self._lock:
            self._orders.clear()

    def met(self, operation: str, name: str) -> None:
        """Fail an operation if that was ordered."""
        with self._lock:
            self.count[operation, os.path.basename(name)] += 1  # noqa: PTH119
            faults = [o.fault for o in self._orders if o.due(operation, name)]
        if faults:
            self._numbers.last = faults[0].number
            error = faults[0].error(f"ordered: {operation} of {name}")
            error.extendedresult = faults[0].code  # type: ignore[attr-defined]
            raise error

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """What SQLite calls to open a file."""
        return _File(self, name, flags)

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802
        """What SQLite calls after an error."""
        number = getattr(self._numbers, "last", 0)
        return number, os.strerror(number)


class _File(apsw.VFSFile):
    def __init__(self, fs: BadFs, name: Any, flags: list[int]) -> None:
        super().__init__(BELOW, name, flags)
        self._fs = fs
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name or "")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._fs.met("write", self._name)
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._fs.met("read", self._name)
        return super().xRead(amount, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._fs.met("sync", self._name)
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._fs.met("truncate", self._name)
        super().xTruncate(size)


@contextmanager
def bad_fs() -> Iterator[BadFs]:
    """Every database that is opened in the block lies on a file system that can fail.

    Databases that were opened in it must be closed in it, too.
    """
    fs = BadFs()
    apsw.set_default_vfs(NAME)
    try:
        yield fs
    finally:
        fs.heal()
        apsw.set_default_vfs(BELOW)
        fs.unregister()
