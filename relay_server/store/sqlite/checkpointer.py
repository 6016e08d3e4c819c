"""Checkpoints: copying the log into the database, off the way of whoever writes.

How it works. Each commit appends pages to SQLite's write-ahead log (WAL); a checkpoint copies them
to their places in the database. SQLite begins the log anew, from its start, only if all of it was
copied before a transaction began, and nobody reads it. Under load that never happens by itself, and
the log would grow for ever. So it goes in two steps:

    writer         commit  commit  commit  commit │ rotate │ commit …  begins the log anew
                     │ wakes              copied  ▲
    checkpointer     └──▶ PASSIVE checkpoint ─────┘   of the bulk: the writer goes on meanwhile

The thread here copies the bulk, once the log holds `CHECKPOINT_PAGES`. What was committed meanwhile
is little: the writer copies it between two transactions, in `rotate`.

Where that is not enough, the writer waits:

- at `MAX_LOG_PAGES`, when the thread has hardly any time or the disk is slow, it copies all itself;
- a long reader, such as a backup, keeps the log from beginning anew, since what it reads must stay.
  No sender waits for that: the log grows on, and `CHECKPOINT_PAGES` later it is tried again;
- where the disk is nearly full, the writer has the log folded: its file gives its room back, too.

Bodies that are dropped would stay in the log's file until other frames overwrite them. After these
it is cut to nothing, where it would only begin anew.

Length. A commit that makes the log's file longer has its fsync write the file's inode, too, and on
most file systems a journal of that: a fifth of what a webhook alone waits for. So the file grows
ahead of the log, in zeros, up to where the log begins anew. To SQLite these are what an older log
leaves there: no frame, because no checksum fits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw

from relay_server.errors import StoreBroken
from relay_server.store.sqlite.database import BUSY_TIMEOUT_MS, Database

CHECKPOINT_PAGES = 4_000  # of 4 KiB: the log is folded into the database at about 16 MiB
PAGE_SIZE = 4_096  # bytes
FRAME_HEAD = 24  # bytes before each page in the log
LENGTHEN_PAGES = 64  # in the log, from which on its file is made longer: a command's never is
LENGTHEN_BYTES = 1_048_576  # at once: whoever writes waits for it, some milliseconds
TIGHT_PAGES = 256  # while there is hardly any room
MAX_LOG_PAGES = 16_000  # 64 MiB: from here on whoever writes copies the log before it goes on
TRUNCATE, RESTART = apsw.SQLITE_CHECKPOINT_TRUNCATE, apsw.SQLITE_CHECKPOINT_RESTART
FOLD_BUSY_MS = 100  # a question that is being answered is soon done; a backup is not


class Checkpointer:
    """Copies the log in a thread of its own; the writer calls all but `copy` and `close`.

    Args:
        path: The database.
        on_broken: Called, in any thread, when the disk or the database failed.
    """

    def __init__(self, path: Path, on_broken: Callable[[StoreBroken], None]) -> None:
        self._database = Database(path)
        self._on_broken = on_broken
        self._wanted = threading.Event()
        self._copied = False  # the bulk of the log
        self._copying = threading.Lock()  # SQLite itself refuses a second one at once
        self._pages = 0  # in the log
        self._is_long = False  # its file is as long as it is to be
        self._wiping = False  # what the file shows is to go
        self._try_at = 0  # pages, where the log could not begin anew at its bound
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay-checkpointer", daemon=True)
        self._thread.start()

    @property
    def log_bytes(self) -> int:
        """What the log holds at most: some of it may be copied already."""
        return self._pages * (PAGE_SIZE + FRAME_HEAD)

    def log_grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """SQLite's hook after each commit."""
        self._pages = pages
        return apsw.SQLITE_OK

    @property
    def due(self) -> bool:
        """Whether something is to be done about a log of this length; mostly there is nothing."""
        return self._copied or self._pages >= (
            CHECKPOINT_PAGES if self._is_long else LENGTHEN_PAGES
        )

    def rotate(self, database: Database, *, tight: bool) -> None:
        """Have the bulk copied; or copy the rest and begin the log anew, if nobody reads it.

        Called after a transaction, if it is `due` or the log must stay small.

        Args:
            database: The writer's.
            tight: It must stay small.
        """
        if not self._copied and self._pages >= (TIGHT_PAGES if tight else CHECKPOINT_PAGES):
            self._wanted.set()
        late = self._pages >= max(MAX_LOG_PAGES, self._try_at)
        if not late and not self._copied:
            return
        if not self._copying.acquire(blocking=late):
            return  # the next transaction is soon enough
        try:
            begun = self._begin_anew(database, TRUNCATE if self._wiping else RESTART, busy_ms=0)
        finally:
            self._copying.release()
        if self._wiping:  # somebody reads it
            self._wanted.set()
        if late and not begun:
            self._try_at = self._pages + CHECKPOINT_PAGES

    def wipe(self) -> None:
        """Have the log's file show nothing of before, once this transaction is over."""
        self._wiping = True
        self._wanted.set()

    @property
    def short(self) -> bool:
        """Whether the log's file is to be made longer, soon after the start."""
        return not self._is_long and LENGTHEN_PAGES <= self._pages < CHECKPOINT_PAGES

    def lengthen(self, database: Database) -> None:
        """Make the log's file longer by a little, if the disk lets it; between two transactions.

        Raises:
            StoreBroken: The disk failed.
        """
        database.begin()  # so that no other program writes to the log meanwhile
        try:
            length = _lengthen(database.connection.filename_wal)
        except OSError as exc:
            raise StoreBroken(f"the log could not be made longer: {exc}") from exc
        finally:
            database.rollback()
        self._is_long = length >= CHECKPOINT_PAGES * (PAGE_SIZE + FRAME_HEAD)

    def fold(self, database: Database) -> None:
        """Copy all of it now, as far as that can be, and have its file give back its room."""
        with self._copying:
            self._begin_anew(database, TRUNCATE, busy_ms=FOLD_BUSY_MS)

    def copy(self) -> None:
        """Copy the bulk; in any thread but the writer's."""
        self._wanted.clear()
        with self._copying:
            if self._checkpoint(self._database, apsw.SQLITE_CHECKPOINT_PASSIVE):
                self._copied = True

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

    def _begin_anew(self, database: Database, mode: int, busy_ms: int) -> bool:
        self._copied = False
        database.connection.set_busy_timeout(busy_ms)  # senders must not wait for a backup
        try:
            begun = self._checkpoint(database, mode)
        finally:
            database.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if begun:
            self._pages = self._try_at = 0
        if begun and mode == TRUNCATE:
            self._is_long = self._wiping = False
        return begun

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


def _lengthen(log: str) -> int:
    """Add zeros to the end of a file, if that can be; its length then, in bytes.

    Raises:
        OSError: They may not be on the disk, or what was written before.
    """
    try:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return 0  # no more files: it is only to save time
    try:
        with suppress(OSError):  # a full disk, which the next commit meets
            os.write(fd, bytes(LENGTHEN_BYTES))
        os.fsync(fd)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)
