"""The threads in which the PostgreSQL store is read, each with a link of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from relay_server.store.bodies import BodyKeys
from relay_server.store.postgres.database import Database
from relay_server.store.postgres.finding import LinkLost
from relay_server.store.postgres.link import Link
from relay_server.store.sql.jobs import Operation

T = TypeVar("T")


class ReadingThread:
    """A thread with a link that only reads; one that was lost is made anew."""

    def __init__(self, connect: Callable[[], Link], name: str, bodies: BodyKeys) -> None:
        self._connect = connect
        self._bodies = bodies
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        if self._database is None or self._database.link.ended:
            self._database = Database(self._connect(), self._bodies)
        return self._database

    async def ask(self, query: Operation[T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, query)

    def _answer(self, query: Operation[T]) -> T:
        try:
            return query(self.database)
        except LinkLost:  # perhaps long ago, and nobody has asked since
            return query(self.database)

    async def close(self, *, abandon: bool) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        if self._database is not None:
            self._database.link.close()
