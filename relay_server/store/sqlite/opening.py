"""Opening the SQLite store of a data dir."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw

from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.files import explained, size_of
from relay_server.store.space import Space
from relay_server.store.sqlite import integrity, restore
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.failures import translate
from relay_server.store.sqlite.lock import DirLock
from relay_server.store.sqlite.reading import ReadingThread
from relay_server.store.sqlite.reserve import Reserve
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore
from relay_server.store.sqlite.writer import Writer


async def open_sqlite(
    data_dir: Path,
    on_broken: Callable[[StoreBroken], None] = lambda _: None,
    max_bytes: int = 0,
) -> SqliteStore:
    """Open the store of a data dir, made if need be, and bring it to this version's shape.

    The data dir itself must be there.

    Args:
        data_dir: Its folder.
        on_broken: Called once the disk or the database failed: nothing more can be promised then,
            and the server must stop.
        max_bytes: What the database may grow to; 0 for no cap.

    Raises:
        StoreLocked: Another process has it open.
        StoreTooNew: A later version wrote it.
        StoreBroken: It is damaged, or gone, or no store of ours.
        StoreUnavailable: It cannot be written to.
    """
    lock, path = DirLock(data_dir), data_dir / FILE_NAME
    try:
        lock.acquire()
    except OSError as exc:
        raise _unusable(data_dir, exc) from exc
    try:
        prepare_files(path)
        space = Space()
        return SqliteStore(
            path,
            lambda first, tell: Writer(path, first, on_broken, tell, space, max_bytes),
            ReadingThread(path, "relay-reader"),
            ReadingThread(path, "relay-reports"),
            space,
            lock.release,
        )
    except OSError as exc:
        lock.release()
        raise _unusable(data_dir, exc) from exc
    except apsw.Error as exc:
        lock.release()
        raise translate(exc, str(path)) from exc
    except BaseException:
        lock.release()
        raise


def _unusable(data_dir: Path, error: OSError) -> StoreUnavailable:
    reason = explained(error, data_dir)
    return StoreUnavailable(f"{error.filename or data_dir} cannot be used: {reason}")


def prepare_files(path: Path) -> None:
    """Have a sound database of this version; whoever calls this holds the lock.

    Raises:
        StoreTooNew: A later version wrote it.
        StoreBroken: It is damaged, or gone, or no store of ours.
        StoreUnavailable: It cannot be written to.
        OSError: Nor can its folder.
    """
    restore.finish(path)  # what a crash left
    integrity.refuse_loss(path)
    try:
        _prepare(path)
    except StoreFull:  # even to open it takes a little
        if not Reserve(path.parent).release():
            raise
        _prepare(path)
    integrity.mark_made(path)


def _prepare(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # payloads are for the owner's eyes
    database = Database(path)
    try:
        database.ask(prepare)
        if size_of(path) <= integrity.INLINE_CHECK_BYTES:
            integrity.check(database, path)
    except StoreBroken:
        database.abandon()
        raise
    finally:
        database.close()
