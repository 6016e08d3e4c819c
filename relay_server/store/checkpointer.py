"""Copying the log into the database, off the way of whoever writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from relay_server.errors import StoreBroken
from relay_server.store.database import BUSY_TIMEOUT_MS, Database

CHECKPOINT_PAGES = 4_000  # of 4 KiB: the log is folded into the database at about 16 MiB
TIGHT_PAGES = 256  # while there is hardly any room


class Checkpointer:
    """Copies the log into the database in a thread of its own, so that no webhook waits for it.

    A passive checkpoint copies what it can while the writer goes on; the log begins anew only when
    all of it was copied, which under load never happens by itself. So once the bulk is copied the
    writer copies the small rest, between two transactions.

    Args:
        path: The database.
        on_broken: Called, in any thread, when the disk or the database failed.
        tight: Whether the log must stay small.
    """

    def __init__(
        self, path: Path, on_broken: Callable[[StoreBroken], None], tight: Callable[[], bool]
    ) -> None:
        self._database = Database(path)
        self._on_broken = on_broken
        self._tight = tight
        self._wanted = threading.Event()
        self._copied = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay-checkpointer", daemon=True)
        self._thread.start()

    def log_grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """SQLite's hook after each commit, in the writer's thread."""
        enough = TIGHT_PAGES if self._tight() else CHECKPOINT_PAGES
        if pages >= enough and not self._copied.is_set():
            self._wanted.set()
        return apsw.SQLITE_OK

    def rotate(self, database: Database) -> None:
        """Copy the rest and begin the log anew, if the bulk is copied and nobody reads it."""
        if not self._copied.is_set():
            return
        self._copied.clear()
        database.connection.set_busy_timeout(0)  # senders must not wait for a long reader, a backup
        self._checkpoint(database, apsw.SQLITE_CHECKPOINT_RESTART)
        database.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def close(self, *, abandon: bool = False) -> None:
        """End the thread; the files stay as they are if the store is to be abandoned."""
        self._closing = True
        self._wanted.set()
        self._thread.join()
        if abandon:
            self._database.abandon()
        self._database.close()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            if self._checkpoint(self._database, apsw.SQLITE_CHECKPOINT_PASSIVE):
                self._copied.set()

    def _checkpoint(self, database: Database, mode: int) -> bool:
        """A full disk is left to the next commit, which meets it and says so to senders."""
        try:
            database.connection.wal_checkpoint(mode=mode)
        except apsw.Error as exc:
            failure = database.explain(exc)
            if isinstance(failure, StoreBroken):
                self._on_broken(failure)
            return False
        return True
