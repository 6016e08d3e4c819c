"""Where webhooks wait on this machine's disk while the database is away: one file of a process.

    <data_dir>/spool/<replica>/spool.db      and beside it a lock, which ends with the process

A webhook is answered 2xx once it is in the file, with an fsync (those that come together share
one). It goes to the database under the same id, and is deleted here after that: what a crash has in
both is stored once. So deletions need no fsync of their own.

A process that starts takes over what dead ones left in folders beside its own: nobody holds their
lock. It puts their webhooks into its own file, and only then removes theirs.

What the database does not take (its channel is gone, or full) stays here as *refused*, with the
reason, and holds up nothing behind it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import takewhile
from pathlib import Path

import apsw
import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import StoreLocked, StoreTooNew, StoreUnavailable
from relay_server.files import explained, sync
from relay_server.store.postgres.rows import COLUMNS, Row
from relay_server.store.sqlite.database import BUSY_TIMEOUT_MS, translate
from relay_server.store.sqlite.integrity import DirLock, Identity

log = structlog.get_logger()

FOLDER_NAME = "spool"
FILE_NAME = "spool.db"
MAX_EVENTS = 100_000  # that a spool holds; one more is refused
AT_ONCE = 64  # that are brought to the database by one call
AT_ONCE_BYTES = 4_194_304  # their bodies and heads, or one that is larger
VERSION = 2  # of the file's shape
_TABLE = """CREATE TABLE spooled (
    number INTEGER PRIMARY KEY,  -- in the order in which they came
    channel INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    max_bytes INTEGER NOT NULL,
    id TEXT NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    sender_id TEXT,
    digest BLOB,
    request BLOB NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    sealed INTEGER,              -- fingerprint of the key; NULL in the clear
    refused TEXT                 -- why the database does not take it
) STRICT
"""
_NAMES = ", ".join(COLUMNS)
_PUT = f"INSERT INTO spooled ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_ADOPT = (
    "INSERT OR IGNORE INTO main.spooled (COLUMNS) SELECT COLUMNS FROM dead.spooled ORDER BY number"
).replace("COLUMNS", _NAMES)
_GET = (
    "SELECT number, COLUMNS FROM spooled WHERE (refused IS NULL) = ? AND number > ?"
    " ORDER BY number LIMIT ?"
).replace("COLUMNS", _NAMES)

_OLDEST = "SELECT received_at FROM spooled WHERE refused IS NULL ORDER BY number LIMIT 1"


class Spool:
    """A spool that is open, for any thread.

    Args:
        folder: Its own, which is made, beside those of others.
        max_bytes: What webhooks in it may take; 0 for none at all.

    Attributes:
        waiting: How many are to be brought to the database.
        refused: How many it did not take.
        adopted: Folders of dead processes that it took over.

    Raises:
        RelayError: It cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.waiting = self.refused = 0
        self.adopted = list[str]()
        self._path, self._max_bytes = folder / FILE_NAME, max_bytes
        self._of = Counter[int]()  # bytes, by channel
        self._lock = threading.Lock()
        self._dir_lock = DirLock(folder)
        with self._explained():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir_lock.acquire()
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._putting = _opened(self._path, "full")
            if not self._putting.pragma("user_version"):
                self._putting.execute(_TABLE)
                self._putting.pragma("user_version", VERSION)
            sync(folder.parent)
            self._removing = _opened(self._path, "normal")
            self._adopt_others()
            self._count()
            self._identity = Identity((self._path, Path(self._putting.filename_wal)))

    def of_channel(self, channel: int) -> int:
        """Bytes that a channel's webhooks take here."""
        return self._of[channel]

    def put(self, rows: Sequence[Row]) -> int:
        """Keep webhooks; once this returns, they survive a crash.

        Returns:
            How many of the first there was room for.

        Raises:
            StoreBroken: The disk failed.
            StoreUnavailable: None of them is kept.
        """
        with self._lock, self._explained():
            if fitting := self._fitting(rows):
                with self._putting:
                    self._putting.executemany(_PUT, fitting)
                self._identity.check()
            for row in fitting:
                self._of[row.channel] += row.weight
            self.waiting += len(fitting)
            return len(fitting)

    def oldest(self, *, refused: bool = False, after: int = 0) -> dict[int, Row]:
        """Those from a number on to be brought to the database next, or that it refused."""
        with self._lock, self._explained():
            found = self._removing.execute(_GET, (not refused, after, AT_ONCE))
            some, size = dict[int, Row](), 0
            for number, *row in found:
                some[number] = Row(*row)
                size += some[number].weight
                if size >= AT_ONCE_BYTES:
                    break
            return some

    def oldest_at(self) -> int | None:
        """When the first that waits was received, in Unix milliseconds; None where none does."""
        with self._lock, self._explained():
            [(oldest,)] = self._removing.execute(_OLDEST).fetchall() or [(None,)]
            return None if oldest is None else int(oldest)

    def settle(
        self, brought: Mapping[int, Row], refused: Mapping[int, str], *, again: bool = False
    ) -> None:
        """Forget what was brought to the database, but for what it did not take.

        Args:
            brought: By their numbers here.
            refused: Numbers of what it did not take, with the reasons.
            again: It had not taken any of them before.
        """
        stored = {number: row for number, row in brought.items() if number not in refused}
        with self._lock, self._explained():
            with self._removing as connection:
                connection.executemany(
                    "DELETE FROM spooled WHERE number = ?", [(number,) for number in stored]
                )
                connection.executemany(
                    "UPDATE spooled SET refused = ? WHERE number = ?",
                    [(reason, number) for number, reason in refused.items()],
                )
            for row in stored.values():
                self._of[row.channel] -= row.weight
            if again:
                self.refused -= len(stored)
            else:
                self.waiting -= len(brought)
                self.refused += len(refused)

    def close(self) -> None:
        """Let go of it; with nothing in it, it is removed."""
        empty = not self.waiting and not self.refused
        self._putting.close()
        self._removing.close()
        if empty:
            _remove(self._path.parent)
        self._dir_lock.release()

    def abandon(self) -> None:
        """Leave the files as they are from now on: the disk failed."""
        for connection in (self._putting, self._removing):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _fitting(self, rows: Sequence[Row]) -> list[Row]:
        count, size = self.waiting + self.refused, self._of.total()

        def fits(row: Row) -> bool:
            nonlocal count, size
            count, size = count + 1, size + row.weight
            return count <= MAX_EVENTS and size <= self._max_bytes

        return list(takewhile(fits, rows))

    def _count(self) -> None:
        self.waiting = self.refused = 0
        self._of.clear()
        for channel, refused, count, size in self._removing.execute(
            "SELECT channel, refused IS NOT NULL, count(*), sum(size + length(request))"
            " FROM spooled GROUP BY 1, 2"
        ):
            self._of[channel] += size
            if refused:
                self.refused += count
            else:
                self.waiting += count

    def _adopt_others(self) -> None:
        own = self._path.parent
        for folder in sorted(own.parent.iterdir()):
            if folder != own and (folder / FILE_NAME).exists():
                self._adopt(folder)

    def _adopt(self, folder: Path) -> None:
        """Take over what a dead process left."""
        lock = DirLock(folder)
        try:
            lock.acquire(patience_s=0.0)
        except (StoreLocked, OSError):  # it lives; or another has just removed it
            return
        try:
            if (folder / FILE_NAME).exists():
                self._take_from(folder)
        except (RelayError, apsw.Error) as exc:
            log.error(
                "webhooks of a server that died cannot be read: they stay where they are",
                folder=str(folder),
                error=str(exc),
            )
        finally:
            lock.release()

    def _take_from(self, folder: Path) -> None:
        self._putting.execute("ATTACH ? AS dead", (str(folder / FILE_NAME),))
        try:
            if _check_version(self._putting, "dead") == 1:
                with self._putting:
                    self._putting.execute("ALTER TABLE dead.spooled ADD COLUMN sealed INTEGER")
                    self._putting.pragma("user_version", VERSION, schema="dead")
            before = self._putting.total_changes()
            self._putting.execute(_ADOPT)
            taken = self._putting.total_changes() - before
        finally:
            self._putting.execute("DETACH dead")
        _remove(folder)
        self.adopted.append(folder.name)
        log.warning("webhooks of a server that died were taken over", events=taken)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as exc:
            raise translate(exc, str(self._path)) from exc
        except OSError as exc:
            place, reason = exc.filename, explained(exc, self._path.parent.parent)
            raise StoreUnavailable(f"{place} cannot be used: {reason}") from exc


def left_in(data_dir: Path) -> Iterator[tuple[Path, int]]:
    """The folders of spools in a data dir that have webhooks in them, and how many."""
    for file in sorted((data_dir / FOLDER_NAME).glob(f"*/{FILE_NAME}")):
        try:
            with closing(apsw.Connection(str(file))) as connection:
                count = int(connection.execute("SELECT count(*) FROM spooled").get)
        except apsw.Error as exc:
            raise translate(exc, str(file)) from exc
        if count:
            yield file.parent, count


def _opened(path: Path, synchronous: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    _check_version(connection, "main")
    return connection


def _check_version(connection: apsw.Connection, schema: str) -> int:
    version = int(connection.pragma("user_version", schema=schema))
    if version > VERSION:
        scripts = VERSION
        raise StoreTooNew(
            f"{connection.filename} has version {version}, this program knows up to {scripts}"
        )
    return version


def _remove(folder: Path) -> None:
    with suppress(OSError):
        (folder / FILE_NAME).unlink()  # first: without it nobody takes the folder for a spool
    shutil.rmtree(folder, ignore_errors=True)
