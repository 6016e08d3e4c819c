"""A SQLite database of ours: opened the same way everywhere, its errors told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import (
    StoreBroken,
    StoreFull,
    StoreTooNew,
    StoreUnavailable,
)
from relay_server.store.sql import migrations, queries

APPLICATION_ID = 0x52454C59  # "RELY": `file` and we know it for ours
BUSY_TIMEOUT_MS = 5_000
ROWS_AT_ONCE = 64
Row = tuple[Any, ...]


class Database:
    """One connection; it belongs to one thread at a time."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.connection = apsw.Connection(str(path), statementcachesize=200)
        self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        self._queries = queries()
        self._by_rows: dict[tuple[str, int], str] = {}
        if readonly:
            self.connection.pragma("query_only", True)
            return
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "full")  # a commit returns after its fsync
        self.connection.pragma("foreign_keys", True)
        self.connection.wal_autocheckpoint(0)  # the checkpointer does it, off the writer's way

    def run(self, name: str, *values: Any) -> None:
        """Execute a named query for its effect."""
        self.connection.execute(self._queries[name], values)

    def run_rows(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a named INSERT for many rows by few statements.

        SQLite is left and entered once a statement, and each time this thread waits for its turn
        in the interpreter: under load that costs more than the row.
        """
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            values = [value for row in some for value in row]
            self.connection.execute(self._for_rows(name, len(some)), values)

    def all(self, name: str, *values: Any) -> list[Row]:
        """All rows of a named query."""
        return self.connection.execute(self._queries[name], values).fetchall()

    def one(self, name: str, *values: Any) -> Row | None:
        """The first row of a named query, if there is one."""
        rows = self.all(name, *values)
        return rows[0] if rows else None

    def value(self, name: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, *values)
        return None if row is None else row[0]

    def begin(self) -> None:
        """Start a transaction that writes."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End it; once this returns, it survives a crash."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it, unless SQLite has done so already."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _for_rows(self, name: str, count: int) -> str:
        """The INSERT for so many rows; kept, so that SQLite knows it again."""
        known = self._by_rows.get((name, count))
        if known is None:
            head, one, tail = re.split(r"VALUES (\([?, ]+\))", self._queries[name])
            known = f"{head}VALUES {', '.join([one] * count)}{tail}"
            self._by_rows[name, count] = known
        return known


def prepare(database: Database) -> None:
    """Bring a database to this version's shape.

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
    for number, script in enumerate(scripts[version:], version + 1):
        with connection:
            connection.execute(script)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall())


def translate(error: apsw.Error) -> RelayError:
    """Say in our words what SQLite's error means for whoever asked."""
    match error:
        case apsw.FullError():
            return StoreFull("the disk is full")
        case apsw.BusyError() | apsw.LockedError() | apsw.ReadOnlyError() | apsw.CantOpenError():
            return StoreUnavailable(f"the database cannot be written now: {error}")
        case apsw.IOError() | apsw.CorruptError() | apsw.NotADBError():
            return StoreBroken(f"the database failed: {error}")
        case _:
            return StoreUnavailable(f"the database refused this: {error}")
