"""Answers to questions, in a thread of their own: a long one holds up neither loop nor writer.

The store has two of these, so that what people ask does not hold up what is to be delivered: in WAL
mode any number of connections read beside the one that writes, each as of its last commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from relay_server.store.sqlite.database import Database

T = TypeVar("T")


class Reading(Protocol):
    """Asks a database.

    Attributes:
        database: For what is asked while the store is opened.
    """

    database: Database

    async def ask(self, query: Callable[[Database], T]) -> T:
        """Have a question answered, after those that were asked before."""

    async def close(self, *, abandon: bool) -> None:
        """Answer what was asked, and close; abandon the files of a failed disk as they are."""


class ReadingThread:
    """A thread with a connection that only reads.

    Args:
        path: The database.
        name: The thread's.
    """

    def __init__(self, path: Path, name: str) -> None:
        # One thread: a connection is used by one at a time, and whoever asks first is first.
        self.database = Database(path, readonly=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, query: Callable[[Database], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.database.ask, query)

    async def close(self, *, abandon: bool) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        if abandon:
            self.database.abandon()
        self.database.close()
