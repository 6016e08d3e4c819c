"""The SQLite store as one side of a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay_protocol.values import RequestHead
from relay_server.errors import InvalidValue
from relay_server.files import beside, sync
from relay_server.store.bodies import BodyKeys
from relay_server.store.copying import Table
from relay_server.store.sql.database import Row
from relay_server.store.sqlite import integrity
from relay_server.store.sqlite.arrivals import digest_of
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.integrity import DirLock
from relay_server.store.sqlite.store import FILE_NAME

COPYING = "-copying"  # behind the name of a copy that is not whole yet


class SqliteSide:
    """The file of a data dir, which is locked meanwhile; as a target one that is not there yet.

    Raises:
        StoreLocked: A server runs on it.
        InvalidValue: There is a store, and there should be none; or the other way round.
    """

    def __init__(self, data_dir: Path, *, target: bool) -> None:
        self._path = data_dir / FILE_NAME
        self.name = str(self._path)
        self._copy = beside(self._path, COPYING)
        if target and self._path.exists():
            raise InvalidValue(f"{self._path} is there already: nothing is copied over it")
        if not target and not self._path.exists():
            raise InvalidValue(f"there is no store in {data_dir}")
        self._lock = DirLock(data_dir)
        self._lock.acquire()
        if target:
            self._copy.unlink(missing_ok=True)
        self._database = Database(self._copy if target else self._path)
        self._database.ask(prepare)
        if target:
            # Whoever is interrupted begins anew, so only the whole is to survive.
            self._database.connection.pragma("synchronous", "off")

    def rows(self, query: str, *values: Any) -> list[Row]:
        return self._database.connection.execute(query, values).fetchall()

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        with self._database.connection as connection:
            connection.executemany(
                f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})",  # noqa: S608
                rows,
            )

    def digest(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> int:
        return digest_of(request, bodies.digest(body))

    def counted(self, table: str) -> str:
        return "counted" if table == "channels" else table

    def begin(self, state: str) -> None:
        """There is nothing yet."""

    def end(self, given: Mapping[str, int]) -> None:
        with self._database.connection as connection:
            for table, number in given.items():
                connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))
        self._database.close()
        sync(self._copy)
        self._copy.rename(self._path)
        sync(self._path.parent)
        integrity.mark_made(self._path)

    def close(self) -> None:
        """Let go of it; a copy that is not whole goes."""
        self._database.close()
        self._copy.unlink(missing_ok=True)
        self._lock.release()
