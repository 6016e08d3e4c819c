"""The PostgreSQL store as one side of a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from relay_protocol.values import RequestHead
from relay_server.errors import InvalidValue
from relay_server.store.bodies import BodyKeys
from relay_server.store.copying import Table
from relay_server.store.postgres.database import prepare
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.rows import digest_of
from relay_server.store.postgres.spool import left_in
from relay_server.store.postgres.turns import ALIVE_S
from relay_server.store.sql.database import Row


class PostgresSide:
    """A database that no server has open; a target is made if need be.

    Raises:
        InvalidValue: A server runs on it, or webhooks for it wait in a spool.
    """

    def __init__(self, link: Link, data_dir: Path, *, target: bool) -> None:
        self._link = link
        self.name = link.place.name
        for folder, count in left_in(data_dir):
            raise InvalidValue(
                f"{count} webhooks that were answered 2xx wait in {folder}: start the server on the"
                " database that it ran on, until relay-server status says nothing of a spool; what"
                " is stuck there has no channel any more, or a full one: move the folder away"
            )
        if target:
            prepare(link, copying=True)
        alive = self.rows(
            "SELECT name FROM replicas WHERE seen_at > clock_timestamp() - ? * interval '1 second'",
            ALIVE_S,
        )
        if alive:
            names = ", ".join(name for (name,) in alive)
            raise InvalidValue(
                f"servers run on {self.name}: {names}. Stop them; one that was killed counts as"
                f" running for {ALIVE_S:.0f} s more"
            )

    def rows(self, query: str, *values: Any) -> list[Row]:
        return self._link.rows(query.replace("?", "%s"), values)

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        one = f"({', '.join(['%s'] * len(table.columns))})"
        self._link.rows(
            f"INSERT INTO {table.name} ({', '.join(table.columns)})"  # noqa: S608
            f" VALUES {', '.join([one] * len(rows))}",
            tuple(chain.from_iterable(rows)),
        )

    def digest(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> bytes:
        return digest_of(request, bodies.long_digest(body))

    def counted(self, table: str) -> str:
        return table

    def begin(self, state: str) -> None:
        if self.rows("SELECT 1 WHERE to_regclass('copying') IS NOT NULL"):
            if self.rows("SELECT state FROM copying") != [(state,)]:
                raise InvalidValue(
                    f"{self.name} holds a part of a copy, and what it was made of has gone on"
                    " since: DROP SCHEMA relay CASCADE, and begin anew"
                )
            return
        if self.rows("SELECT 1 FROM channels LIMIT 1") or self.rows("SELECT 1 FROM tokens LIMIT 1"):
            raise InvalidValue(f"{self.name} holds a store already: nothing is copied over it")
        self._link.begin()
        self._link.script("CREATE TABLE copying (state text NOT NULL)")
        self.rows("INSERT INTO copying VALUES (?)", state)
        self._link.commit()

    def end(self, given: Mapping[str, int]) -> None:
        for table, number in given.items():
            self.rows("SELECT setval(pg_get_serial_sequence(?, 'number'), ?)", table, number)
        self._link.script("DROP TABLE copying")

    def close(self) -> None:
        self._link.close()
