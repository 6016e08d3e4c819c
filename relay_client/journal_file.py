"""The file that finished deliveries are kept in: SQLite, which several clients may use at once."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import apsw

from relay_protocol.finished import REMEMBERED_RESULTS, FinishedKey
from relay_protocol.values import Response

FILE_NAME = "journal.db"
DAMAGED_SUFFIX = ".damaged"
VERSION = 1
LOCK_LOOK_S = 0.01
TRIMMED_AT_ONCE = 2_048  # rows; more than come between two trims, so that deleting keeps up
TRIM_EACH = 1_000  # additions: looking for what is too old costs more than adding

Subscription: TypeAlias = tuple[str, str]  # channel and name

_SCHEMA = """
CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY,
    relay TEXT NOT NULL,            -- its URL
    channel TEXT NOT NULL,
    name TEXT NOT NULL,
    used_at INTEGER NOT NULL,       -- Unix milliseconds
    UNIQUE (relay, channel, name)
) STRICT;
CREATE TABLE finished (
    number INTEGER PRIMARY KEY,     -- grows, since only the oldest are deleted
    subscription INTEGER NOT NULL REFERENCES subscriptions (number),
    delivery TEXT NOT NULL,
    event TEXT NOT NULL,
    status INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,   -- Unix milliseconds
    UNIQUE (delivery, event, subscription)
) STRICT;
"""
_USE = """
INSERT INTO subscriptions (relay, channel, name, used_at) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET used_at = max(used_at, excluded.used_at) RETURNING number
"""
# One statement for all rows: each time SQLite is left, the thread waits for its turn in the
# interpreter, which an event loop that is busy gives up only every few milliseconds.
_ADD = """
INSERT INTO finished (subscription, delivery, event, status, elapsed_ms, finished_at)
SELECT ?, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 FROM json_each(?)
WHERE true ON CONFLICT DO NOTHING
"""
_TRIM = """
DELETE FROM finished WHERE number IN (
    SELECT number FROM finished WHERE subscription = :subscription AND number <= (
        SELECT number FROM finished WHERE subscription = :subscription
        ORDER BY number DESC LIMIT 1 OFFSET :kept)
    ORDER BY number LIMIT :limit)
"""
_NEWEST = """
SELECT delivery, event, status, elapsed_ms FROM finished
WHERE subscription IN (
    SELECT number FROM subscriptions WHERE relay = :relay AND (channel, name) IN (
        SELECT value ->> 0, value ->> 1 FROM json_each(:subscriptions)))
ORDER BY number DESC LIMIT :limit
"""
_FIND = """
SELECT status, elapsed_ms FROM finished
WHERE delivery = :delivery AND event = :event AND subscription IN (
    SELECT number FROM subscriptions WHERE relay = :relay AND (channel, name) IN (
        SELECT value ->> 0, value ->> 1 FROM json_each(:subscriptions)))
"""
_DELETE_UNUSED = """
DELETE FROM finished WHERE number IN (
    SELECT finished.number FROM finished JOIN subscriptions
    ON subscriptions.number = finished.subscription WHERE used_at < ? LIMIT ?)
"""
_DELETE_EMPTY = """
DELETE FROM subscriptions WHERE used_at < ? AND number NOT IN (SELECT subscription FROM finished)
"""


class Unusable(Exception):
    """There is no journal to be had here; the message says why."""


class Entry(NamedTuple):
    """A delivery that the target took.

    Attributes:
        finished_at: Unix milliseconds.
    """

    channel: str
    name: str
    delivery: str
    event: str
    status: int
    elapsed_ms: int
    finished_at: int


class JournalFile:
    """One connection to the file; it belongs to one thread at a time.

    Every method raises `apsw.Error` when SQLite cannot do it.

    Args:
        path: The file; it is there, maybe empty.
        busy_s: How long another client's transaction is waited for.
    """

    def __init__(self, path: Path, busy_s: float) -> None:
        self._busy_s = busy_s
        self._untrimmed = TRIM_EACH  # what another client left is looked at with the first
        self._numbers: set[int] = set()  # of subscriptions that were added to since
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(round(busy_s * 1000))
        self._connection.pragma("synchronous", "full")  # a commit returns after its fsync

    def prepare(self) -> None:
        """Bring an empty file into shape, and look whether another is whole.

        Raises:
            Unusable: A later version has been here.
        """
        self._log_ahead()
        with self._transaction():
            version = int(self._connection.pragma("user_version"))
            if version == 0:
                self._connection.execute(_SCHEMA)
                self._connection.pragma("user_version", VERSION)
        if version > VERSION:
            raise Unusable(f"it is of version {version}, this client knows up to {VERSION}")
        if self._connection.pragma("quick_check", 1) != "ok":
            raise apsw.CorruptError("quick_check found damage")

    def hurry(self, busy_s: float) -> None:
        """Wait for other clients only so long from now on.

        One that ends folds the log into the file and locks all others out meanwhile, unless one of
        them has read before: so this reads.
        """
        self._connection.execute("SELECT 1 FROM finished LIMIT 1").fetchall()
        self._connection.set_busy_timeout(round(busy_s * 1000))

    def newest(
        self, relay: str, subscriptions: Sequence[Subscription], limit: int
    ) -> list[tuple[FinishedKey, Response]]:
        """What was added last to these subscriptions together, the oldest first."""
        values = {"relay": relay, "subscriptions": json.dumps(subscriptions), "limit": limit}
        rows = self._connection.execute(_NEWEST, values).fetchall()
        return [((row[0], row[1]), _response(*row[2:])) for row in reversed(rows)]

    def find(
        self, relay: str, subscriptions: Sequence[Subscription], delivery: str, event: str
    ) -> Response | None:
        """One delivery of these subscriptions."""
        mine = {"relay": relay, "subscriptions": json.dumps(subscriptions)}
        values = {**mine, "delivery": delivery, "event": event}
        row = self._connection.execute(_FIND, values).fetchone()
        return None if row is None else _response(*row)

    def add(self, relay: str, entries: Sequence[Entry], kept: int = REMEMBERED_RESULTS) -> None:
        """Add all or nothing, and now and then delete what is beyond the newest `kept`."""
        self._untrimmed += len(entries)
        with self._transaction():
            for subscription in {(entry.channel, entry.name) for entry in entries}:
                mine = [entry for entry in entries if entry[:2] == subscription]
                number = self._use(relay, subscription, mine[-1].finished_at)
                self._connection.execute(_ADD, (number, json.dumps(mine)))
                self._numbers.add(number)
            if self._untrimmed >= TRIM_EACH:
                self._trim(kept)

    def _trim(self, kept: int) -> None:
        for number in self._numbers:
            values = {"subscription": number, "kept": kept, "limit": TRIMMED_AT_ONCE}
            self._connection.execute(_TRIM, values)
        self._untrimmed = 0
        self._numbers.clear()

    def delete_unused(self, before: int) -> bool:
        """Delete some of what belongs to subscriptions that nobody used since.

        Args:
            before: Unix milliseconds.

        Returns:
            Whether there may be more of it.
        """
        with self._transaction():
            self._connection.execute(_DELETE_UNUSED, (before, TRIMMED_AT_ONCE))
            more = self._connection.changes() == TRIMMED_AT_ONCE
            if not more:
                self._connection.execute(_DELETE_EMPTY, (before,))
        return more

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _use(self, relay: str, subscription: Subscription, now: int) -> Any:
        [(number,)] = self._connection.execute(_USE, (relay, *subscription, now)).fetchall()
        return number

    def _log_ahead(self) -> None:
        """Have the file written by way of a log; the file itself remembers that.

        SQLite waits for no lock here: clients that start at the same time may all want this.
        """
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                self._connection.pragma("journal_mode", "wal")
            except apsw.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_LOOK_S)
            else:
                return

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def make_file(folder: Path) -> Path:
    """See to it that folder and file are there, for their owner alone.

    Raises:
        OSError: They cannot be.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE_NAME
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite's own files get this mode, too
    return path


def set_aside(path: Path) -> Path:
    """Rename a damaged file and its log, over those of an earlier time; returns the new name.

    Raises:
        OSError: It cannot be renamed.
    """
    damaged = path.with_name(path.name + DAMAGED_SUFFIX)
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{damaged}{suffix}")
    return damaged


def _response(status: Any, elapsed_ms: Any) -> Response:
    return Response(status, elapsed_ms=elapsed_ms)
