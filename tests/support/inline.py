"""The SQLite store's database without its threads: in memory, and read and written at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from relay_server.errors import StoreBroken
from relay_server.store.feed import Change
from relay_server.store.sqlite.arrivals import Arrival
from relay_server.store.sqlite.batch import Batches, Call, First, Job, Operation, answer
from relay_server.store.sqlite.database import Database, prepare

T = TypeVar("T")

IN_MEMORY = Path(":memory:")  # SQLite's own name for no file


def open_in_memory() -> Database:
    """A new database of this version's shape; it lasts as long as its connection."""
    database = Database(IN_MEMORY)
    prepare(database)
    return database


class InlineWriter:
    """Commits each operation in a transaction of its own, before `submit` returns."""

    broken = False

    def __init__(self, database: Database, first: First, tell: Callable[[Change], None]) -> None:
        self._batches = Batches(database, first)
        self._tell = tell

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Do it."""
        call = Call(operation, asyncio.get_running_loop().create_future())
        self._commit(call)
        return call.future

    def append(self, arrival: Arrival) -> None:
        """Store it."""
        self._commit(arrival)

    def lean_rows(self) -> int | None:
        """There is plenty of room."""
        return None

    def fail(self, error: StoreBroken) -> None:
        """No disk is there to fail."""
        raise error

    async def close(self) -> None:
        """Nothing waits."""

    def _commit(self, job: Job) -> None:
        changes: Sequence[Change] = ()
        try:
            changes = self._batches.commit([job])
        except Exception as exc:  # noqa: BLE001  (as the thread does: it is for who waits)
            job.result = exc
        answer([job])
        for change in changes:
            self._tell(change)


class InlineReading:
    """Reads what is committed, at once."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def ask(self, query: Callable[[Database], T]) -> T:
        """Have it answered."""
        return self.database.ask(query)

    async def close(self, *, abandon: bool) -> None:
        """It lasts as long as whoever made it."""
