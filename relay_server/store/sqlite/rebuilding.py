"""Leave nothing of bodies that are stored under no key any more.

SQLite overwrites what was in the clear where it stood, but free pages may hold what was deleted
before, and others a little of what it moved. So the database is written anew, without either, into
a file beside it that then takes its place: while it is not large, by itself when it is opened or
closed next; a larger one when somebody asks for it, as that takes a while.

Whatever ends this leaves one database or the other, each whole: before the new one is renamed it is
on the disk, what the old one's log held is in it, and that log is gone for good.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.files import beside, size_of, sync
from relay_server.store.sqlite.backup import back_up
from relay_server.store.sqlite.database import Database, translate
from relay_server.store.sqlite.integrity import no_server
from relay_server.store.sqlite.restore import COPYING, finish
from relay_server.store.sqlite.room import Reserve

log = structlog.get_logger()

REBUILD_BYTES = 67_108_864  # a larger database is not rebuilt: a start would take too long


def leave_nothing(path: Path) -> None:
    """Rebuild a database that may show bodies, if it is not large; nobody else has it open.

    Raises:
        StoreBroken: The disk or the database failed.
    """
    if (size := size_of(path)) > REBUILD_BYTES:
        log.warning(
            "bodies that were stored otherwise may show in free pages of the database:"
            " `relay-server store rebuild`, with the server stopped, leaves none",
            bytes=size,
        )
        return
    try:
        _rebuild(path)
    except StoreBroken:
        raise
    except RelayError as exc:
        # A disk that is full, say: the server goes on without, and the next start tries again.
        log.warning("the database could not be rebuilt: it may show bodies", reason=str(exc))
        return
    log.info("the database was rebuilt: it shows nothing of bodies that were stored otherwise")


def rebuild(path: Path) -> tuple[int, int]:
    """Rebuild a database, however large, as `opening.rebuild_store` says.

    Returns:
        Its bytes before and after.
    """
    with no_server(path.parent):
        finish(path)
        before = size_of(path) + size_of(beside(path, "-wal"))
        if (free := Reserve(path.parent).free()) < before:
            raise StoreFull(f"to rebuild {path} takes {before} bytes on its disk, which has {free}")
        _rebuild(path)
        return before, size_of(path)


def _rebuild(path: Path) -> None:
    new = beside(path, COPYING)  # which a start deletes
    try:
        new.unlink(missing_ok=True)
        back_up(path, new)
        Database(new).close()  # it has a log from now on, as the old one
        sync(new)
        _fold_log(path)
        sync(path.parent)
        new.rename(path)
        _keep_name(path)
    except apsw.Error as exc:
        raise translate(exc, str(path)) from exc
    except OSError as exc:
        raise StoreUnavailable(f"{path} could not be rebuilt: {exc.strerror}") from exc
    finally:
        new.unlink(missing_ok=True)


def _keep_name(path: Path) -> None:
    """Have a database that was renamed survive a crash under its name."""
    try:
        sync(path.parent)
    except OSError as exc:  # the old one might come back, without what is stored from now on
        raise StoreBroken(f"{path.parent} could not be synced: {exc.strerror}") from exc


def _fold_log(path: Path) -> None:
    """Make the database one file: another one would take its log for its own."""
    with closing(Database(path)) as database:
        database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    if beside(path, "-wal").exists():  # the last to close it deletes that
        raise StoreUnavailable(f"another program reads {path}")
