"""What SQLite's errors mean: the disk is full, cannot be written to, or is not to be trusted."""

from __future__ import annotations

import errno
from collections.abc import Callable

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreFull, StoreReadOnly, StoreUnavailable

FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
# What is read is not what was written.
READING = frozenset(
    (
        apsw.SQLITE_IOERR_READ,
        apsw.SQLITE_IOERR_SHORT_READ,
        apsw.SQLITE_IOERR_DATA,
        apsw.SQLITE_IOERR_CORRUPTFS,
    )
)
# What was written before may be gone, whatever the reason.
SYNCING = frozenset((apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC))

Explain = Callable[[str, str, str], RelayError]  # of path, SQLite's words and the system's


def failure_of(kind: type[apsw.Error], code: int, number: int) -> Explain:
    """Tell what happened.

    Args:
        kind: The error's class.
        code: SQLite's extended result code, 0 if it is not known.
        number: The system's `errno`, which is of this error for I/O and opening alone.
    """
    system = number if issubclass(kind, apsw.IOError | apsw.CantOpenError) else 0
    if issubclass(kind, apsw.CorruptError | apsw.NotADBError) or code in READING | SYNCING:
        return _broken
    if issubclass(kind, apsw.FullError) or system in FULL:
        return _full
    if code == apsw.SQLITE_READONLY_DBMOVED:
        return _broken
    if issubclass(kind, apsw.ReadOnlyError) or system == errno.EROFS:
        return _read_only
    if issubclass(kind, apsw.IOError):
        return _broken
    return _unavailable


def _broken(path: str, said: str, system: str) -> RelayError:
    return StoreBroken(f"the database {_place(path)}failed: {_why(said, system)}")


def _full(path: str, _said: str, _system: str) -> RelayError:
    return StoreFull(f"the disk is full{path and f': {path} cannot be written'}")


def _read_only(path: str, said: str, system: str) -> RelayError:
    return StoreReadOnly(f"the database {_place(path)}is read-only: {_why(said, system)}")


def _unavailable(path: str, said: str, _system: str) -> RelayError:
    return StoreUnavailable(f"the database {_place(path)}cannot do this now: {said}")


def _place(path: str) -> str:
    return f"{path} " if path else ""


def _why(said: str, system: str) -> str:
    return f"{said} ({system})" if system else said
