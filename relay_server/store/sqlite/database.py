"""A SQLite database of ours: opened the same way everywhere, its errors told apart."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import (
    StoreBroken,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from relay_server.metrics import COMMIT_BUCKETS, Times
from relay_server.store.bodies import CLEAR, IN_THE_CLEAR, BodyKeys
from relay_server.store.feed import Change
from relay_server.store.sql.database import Row
from relay_server.store.sqlite.sql import migrations, queries

APPLICATION_ID = 0x52454C59  # "RELY": `file` and we know it for ours
BUSY_TIMEOUT_MS = 5_000  # for another process' lock on the database
SYNCHRONOUS = "full"  # a commit returns after its fsync
ROWS_AT_ONCE = 64  # of VALUES in one statement
KEPT_LOG_BYTES = 67_108_864  # that a log which grew larger is cut to, such as after a backup
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
T = TypeVar("T")


class Database:
    """One connection; it belongs to one thread at a time.

    Args:
        path: The file.
        readonly: Nothing is to be written.
        immutable: Nobody writes: the file is all there is, and no other is made beside it.
        bodies: Opens what is stored of them.

    Attributes:
        changes: What the transaction changes, to be told once it is committed.
        on_wipe: Called once bodies were dropped, or are all stored anew.
        commits: How long commits took.

    Raises:
        RelayError: It cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        readonly: bool = False,
        immutable: bool = False,
        bodies: BodyKeys = IN_THE_CLEAR,
    ) -> None:
        self.bodies = bodies
        self.connection = _still(path) if immutable else _living(path)
        self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        # A query's plan does not depend on its parameters: else SQLite prepares a good many of them
        # anew each time, in case a value suits an index of a part of the rows.
        self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self.changes: list[Change] = []
        self.on_wipe: Callable[[], None] = lambda: None
        self.commits = Times(COMMIT_BUCKETS)
        self._queries = queries()
        self._by_rows = _ByRows(self._queries)
        try:
            self._set_up(readonly=readonly or immutable)
        except apsw.Error as exc:
            failure = self.explain(exc)
            self.abandon()
            self.connection.close()
            raise failure from exc

    def wipe(self) -> None:
        """Have the log cut; overwrite what is dropped from now on, and have the file rebuilt later.

        That is for free pages from before, and for what SQLite left where it moved a row.
        """
        if self.bodies.current == CLEAR:
            self.connection.pragma("secure_delete", True)
            self.run("rebuild_for_dropped")
        self.on_wipe()

    def run(self, query: str, /, **values: Any) -> None:
        """Execute a named query for its effect."""
        self.connection.execute(self._queries[query], values)

    def run_rows(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a named INSERT for many rows by few statements.

        SQLite is left and entered once a statement, and each time this thread waits for its turn
        in the interpreter: under load that costs more than the row.
        """
        if len(rows) > ROWS_AT_ONCE:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                self.run_rows(query, rows[start : start + ROWS_AT_ONCE])
        elif rows:
            values = tuple(chain.from_iterable(rows))
            self.connection.execute(self._by_rows[query, len(rows)], values)

    def all(self, query: str, /, **values: Any) -> list[Row]:
        """All rows of a named query."""
        return self.connection.execute(self._queries[query], values).fetchall()

    def each(self, query: str, /, **values: Any) -> Iterator[Row]:
        """The rows of a named query, read as they are asked for."""
        return iter(self.connection.execute(self._queries[query], values))

    def one(self, query: str, /, **values: Any) -> Row | None:
        """The first row of a named query, if there is one."""
        rows = self.connection.execute(self._queries[query], values).fetchall()
        return rows[0] if rows else None

    def value(self, query: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = self.connection.execute(self._queries[query], values).fetchall()
        return rows[0][0] if rows else None

    def all_of(self, query: str, common: Any, values: Sequence[Any]) -> list[Row]:
        """All rows of a named query about many values, behind one that they have in common."""
        if len(values) > ROWS_AT_ONCE:
            some, others = values[:ROWS_AT_ONCE], values[ROWS_AT_ONCE:]
            return self.all_of(query, common, some) + self.all_of(query, common, others)
        sql = self._by_rows[query, len(values)]
        return self.connection.execute(sql, (common, *values)).fetchall()

    def begin(self) -> None:
        """Start a transaction that writes."""
        self.changes = []
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End it; once this returns, it survives a crash."""
        began = time.perf_counter()
        self.connection.execute("COMMIT")
        self.commits.add(time.perf_counter() - began)

    def rollback(self) -> None:
        """Undo it, unless SQLite has done so already."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def ask(self, query: Callable[[Database], T]) -> T:
        """Have a question answered; SQLite's errors come in our words."""
        try:
            return query(self)
        except apsw.Error as exc:
            raise self.explain(exc) from exc

    def explain(self, error: apsw.Error) -> RelayError:
        """Say in our words what an error of this connection means, and where it happened."""
        return translate(error, self.connection.filename, self.connection.system_errno)

    def abandon(self) -> None:
        """Leave the files as they are from now on: what a failed disk says is not to be acted on.

        Without this the last connection to be closed copies the log into the database, and deletes
        it.
        """
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _set_up(self, *, readonly: bool) -> None:
        if readonly:
            self.connection.pragma("query_only", True)
            return
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", SYNCHRONOUS)
        self.connection.pragma("foreign_keys", True)
        self.connection.pragma("journal_size_limit", KEPT_LOG_BYTES)
        self.connection.wal_autocheckpoint(0)  # the checkpointer does it, off the writer's way
        # What is deleted, or moved to another page, is overwritten where that takes no writing of
        # its own; all of it where bodies are sealed, and once some were dropped.
        self.connection.pragma("secure_delete", True if self.bodies.current != CLEAR else "fast")


class _ByRows(dict[tuple[str, int], str]):
    """Queries with so many rows of VALUES; each is kept, so that SQLite knows it again."""

    def __init__(self, named: Mapping[str, str]) -> None:
        super().__init__()
        self._named = named

    def __missing__(self, asked: tuple[str, int]) -> str:
        query, count = asked
        head, one, tail = re.split(r"VALUES (\([?, ]+\))", self._named[query])
        self[asked] = whole = f"{head}VALUES {', '.join([one] * count)}{tail}"
        return whole


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


def _living(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), statementcachesize=200)


def _still(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)


def begun_log(database: Database) -> Path:
    """The file of a database's log, which is there once something was begun."""
    database.begin()
    database.rollback()
    return Path(database.connection.filename_wal)


def prepare(database: Database) -> None:
    """Bring a database to this version's shape, or leave it as it is.

    Raises:
        StoreTooNew: A later version has been here.
        StoreBroken: It is no database of ours.
    """
    connection, scripts = database.connection, migrations()
    version = int(connection.pragma("user_version"))
    application = int(connection.pragma("application_id"))
    if application != APPLICATION_ID and (application or version or _has_tables(connection)):
        raise StoreBroken(f"{connection.filename} is a database of another program")
    if version > len(scripts):
        raise StoreTooNew(
            f"{connection.filename} has version {version}, this program knows up to {len(scripts)}"
        )
    with connection:  # all of them by one fsync, or none
        for number, script in enumerate(scripts[version:], version + 1):
            connection.execute(script)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall())
