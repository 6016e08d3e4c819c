"""What an error of SQLite's means."""

from __future__ import annotations

import errno
import os

import apsw
import pytest

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreFull, StoreReadOnly, StoreUnavailable
from relay_server.store.sqlite.database import translate

IO = apsw.IOError


@pytest.mark.parametrize(
    ("kind", "code", "number", "meaning"),
    [
        (apsw.FullError, apsw.SQLITE_FULL, errno.ENOSPC, StoreFull),
        (apsw.FullError, apsw.SQLITE_FULL, 0, StoreFull),  # the cap
        (IO, apsw.SQLITE_IOERR_WRITE, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EDQUOT, StoreFull),
        (IO, apsw.SQLITE_IOERR_SHMSIZE, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_SHMOPEN, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_TRUNCATE, errno.EDQUOT, StoreFull),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.ENOSPC, StoreFull),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.EMFILE, StoreUnavailable),
        (apsw.ReadOnlyError, apsw.SQLITE_READONLY, 0, StoreReadOnly),
        (apsw.ReadOnlyError, apsw.SQLITE_READONLY_DBMOVED, 0, StoreBroken),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EROFS, StoreReadOnly),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.EROFS, StoreReadOnly),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EIO, StoreBroken),
        (IO, apsw.SQLITE_IOERR_SHMSIZE, errno.EIO, StoreBroken),
        (IO, apsw.SQLITE_IOERR_FSYNC, errno.ENOSPC, StoreBroken),  # what was written may be gone
        (IO, apsw.SQLITE_IOERR_DIR_FSYNC, errno.EROFS, StoreBroken),
        (IO, apsw.SQLITE_IOERR_READ, errno.ENOSPC, StoreBroken),
        (IO, apsw.SQLITE_IOERR_SHORT_READ, 0, StoreBroken),
        (apsw.CorruptError, apsw.SQLITE_CORRUPT, 0, StoreBroken),
        (apsw.NotADBError, apsw.SQLITE_NOTADB, errno.ENOSPC, StoreBroken),
        (apsw.BusyError, apsw.SQLITE_BUSY, errno.ENOSPC, StoreUnavailable),  # of another error
        (apsw.ConstraintError, apsw.SQLITE_CONSTRAINT, 0, StoreUnavailable),
    ],
)
def test_an_error_means(
    kind: type[apsw.Error], code: int, number: int, meaning: type[RelayError]
) -> None:
    error = kind("SQLite's words")
    error.extendedresult = code  # type: ignore[attr-defined]

    failure = translate(error, "/data/relay.db", number)

    assert type(failure) is meaning
    assert "/data/relay.db" in str(failure)
    if meaning in (StoreBroken, StoreReadOnly):
        said = f" ({os.strerror(number)})" if number else ""
        assert f"SQLite's words{said}" in str(failure)
