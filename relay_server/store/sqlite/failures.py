"""What SQLite's errors mean: the disk is full, cannot be written to, or is not to be trusted."""

from __future__ import annotations

import errno
import os

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


def translate(error: apsw.Error, path: str = "", number: int = 0) -> RelayError:
    """Say in our words what SQLite's error means for whoever asked.

    Args:
        error: What SQLite raised.
        path: The database, as far as it is known.
        number: The system's `errno` with it; 0 if there is none.
    """
    place = f"{path} " if path else ""
    why = f"{error} ({os.strerror(number)})" if number else str(error)
    kind = _kind(error, number)
    says = {
        StoreBroken: f"the database {place}failed: {why}",
        StoreFull: f"the disk is full{path and f': {path} cannot be written'}",
        StoreReadOnly: f"the database {place}is read-only: {why}",
        StoreUnavailable: f"the database {place}cannot do this now: {error}",
    }
    return kind(says[kind])


def _kind(error: apsw.Error, number: int) -> type[RelayError]:
    code = getattr(error, "extendedresult", 0)
    # For all others SQLite leaves the number of an earlier error.
    system = number if isinstance(error, apsw.IOError | apsw.CantOpenError) else 0
    if isinstance(error, apsw.CorruptError | apsw.NotADBError) or code in READING | SYNCING:
        return StoreBroken
    if isinstance(error, apsw.FullError) or system in FULL:
        return StoreFull
    if code == apsw.SQLITE_READONLY_DBMOVED:
        return StoreBroken
    if isinstance(error, apsw.ReadOnlyError) or system == errno.EROFS:
        return StoreReadOnly
    return StoreBroken if isinstance(error, apsw.IOError) else StoreUnavailable
