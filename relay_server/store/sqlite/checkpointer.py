"""Copying the log into the database, off the way of whoever writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from relay_server.errors import StoreBroken
from relay_server.store.sqlite.database import BUSY_TIMEOUT_MS, Database

CHECKPOINT_PAGES = 4_000  # of 4 KiB: the log is folded into the database at about 16 MiB
PAGE_SIZE = 4_096  # bytes
FRAME_HEAD = 24  # bytes before each page in the log
TIGHT_PAGES = 256  # while there is hardly any room
MAX_LOG_PAGES = 16_000  # 64 MiB: from here on whoever writes copies the log before it goes on


class Checkpointer:
    """Copies the log into the database in a thread of its own, so that no webhook waits for it.

    A passive checkpoint copies what it can while the writer goes on; the log begins anew only when
    all of it was copied, which under load never happens by itself. So once the bulk is copied the
    writer copies the small rest, between two transactions.

    A thread that gets hardly any time, or a slow disk, may not keep up. So the writer waits for it,
    and copies all of it itself, once the log holds `MAX_LOG_PAGES`; a long reader alone, such as a
    backup, lets it grow further, because what it reads must stay where it is.

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
        self._copying = threading.Lock()  # SQLite itself refuses a second one at once
        self._pages = 0  # in the log
        self._try_at = 0  # pages, where the log could not begin anew at its bound
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay-checkpointer", daemon=True)
        self._thread.start()

    def log_grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """SQLite's hook after each commit, in the writer's thread."""
        self._pages = pages
        enough = TIGHT_PAGES if self._tight() else CHECKPOINT_PAGES
        if pages >= enough and not self._copied.is_set():
            self._wanted.set()
        return apsw.SQLITE_OK

    def rotate(self, database: Database) -> None:
        """Copy the rest and begin the log anew, if nobody reads it.

        The writer calls this after each transaction; mostly there is nothing to do.
        """
        late = self._pages >= max(MAX_LOG_PAGES, self._try_at)
        if not late and not self._copied.is_set():
            return
        if not self._copying.acquire(blocking=late):
            return  # the next transaction is soon enough
        try:
            self._copied.clear()
            begun = self._begin_anew(database)
        finally:
            self._copying.release()
        if late:
            self._try_at = 0 if begun else self._pages + CHECKPOINT_PAGES
        if begun:
            self._pages = 0

    @property
    def log_bytes(self) -> int:
        """What the log holds at most: some of it may be copied already."""
        return self._pages * (PAGE_SIZE + FRAME_HEAD)

    def fold(self, database: Database) -> None:
        """Copy all of it now, as far as that can be; the writer calls this."""
        with self._copying:
            self._copied.clear()
            if self._begin_anew(database):
                self._pages = self._try_at = 0

    def copy(self) -> None:
        """Copy the bulk, if there is enough of it; in any thread but the writer's."""
        self._wanted.clear()
        with self._copying:
            if self._checkpoint(self._database, apsw.SQLITE_CHECKPOINT_PASSIVE):
                self._copied.set()

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
            self.copy()

    def _begin_anew(self, database: Database) -> bool:
        database.connection.set_busy_timeout(0)  # senders must not wait for a long reader, a backup
        try:
            return self._checkpoint(database, apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            database.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

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
