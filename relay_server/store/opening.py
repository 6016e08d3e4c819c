"""What happens to the files of a data dir before a store is opened in it."""

from __future__ import annotations

import os
from pathlib import Path

from relay_server.errors import StoreBroken, StoreFull
from relay_server.store import integrity, restore
from relay_server.store.database import Database, prepare
from relay_server.store.files import size_of
from relay_server.store.reserve import Reserve


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
