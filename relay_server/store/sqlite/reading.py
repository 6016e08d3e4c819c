"""The threads in which the SQLite store is read, each with a connection of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.sql.jobs import Operation
from relay_server.store.sqlite.database import Database

T = TypeVar("T")


class ReadingThread:
    """A thread with a connection that only reads.

    Args:
        path: The database.
        name: The thread's.
        bodies: Opens what is stored of them.
    """

    def __init__(self, path: Path, name: str, bodies: BodyKeys = IN_THE_CLEAR) -> None:
        # One thread: a connection is used by one at a time, and whoever asks first is first.
        self.database = Database(path, readonly=True, bodies=bodies)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, query: Operation[T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.database.ask, query)

    async def close(self, *, abandon: bool) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        if abandon:
            self.database.abandon()
        self.database.close()
