"""A store's index as it comes and goes, and what is found by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from relay_server.clock import Clock, SystemClock
from relay_server.filters.language import parse
from relay_server.operations import Parts
from relay_server.operations.finding import Asked, Found, find
from relay_server.search.follower import Search
from relay_server.search.index import FILE_NAME
from relay_server.store.interface import Store
from relay_server.values import Channel
from tests.support.clock import START_MS
from tests.support.waiting import until


@dataclass
class Indexed:
    """A store, and its index while there is one.

    Attributes:
        path: The index's file.
        done: How many webhooks came and deliveries ended, as far as the index is told.
    """

    store: Store
    data_dir: Path
    search: Search | None = None
    clock: Clock = field(default_factory=SystemClock)
    done: Callable[[], int] = lambda: 0
    _task: asyncio.Task[None] | None = field(default=None)

    @property
    def path(self) -> Path:
        return self.data_dir / FILE_NAME

    async def begin(self, *, follow: bool = True) -> Search:
        """Open the index, and have it follow the store."""
        self.search = Search(self.data_dir, self.store, self.clock, self.done)
        await self.search.begin()
        if follow:
            self._task = asyncio.create_task(self.search.run())
        return self.search

    async def level(self) -> None:
        """Return once all is indexed."""
        assert self.search is not None
        search = self.search
        await until(lambda: not search.behind)

    async def kill(self) -> None:
        """End it as a killed process does: nothing is closed, and nothing learned since."""
        await self._cancel()
        if self.search is not None and self.search._index is not None:
            index, self.search._index = self.search._index, None
            await self.search._write(index.abandon)
        await self.end()

    async def end(self) -> None:
        await self._cancel()
        if self.search is not None:
            await self.search.close()
            self.search = None

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def find(
        self, channel: Channel, text: str, limit: int = 100, *, newest_first: bool = True
    ) -> list[int]:
        """All events that a filter means, by as many answers as it takes."""
        after, before, sequences = 0, self.store.newest(channel.number) + 1, list[int]()
        while True:
            asked = Asked(channel.number, parse(text, START_MS), after, before, newest_first, limit)
            found = await self.answer(asked)
            sequences += found.sequences
            if len(found.sequences) < limit and found.complete:
                return sequences
            if newest_first:
                before = found.scanned_to
            else:
                after = found.scanned_to

    async def answer(self, asked: Asked) -> Found:
        """One answer."""
        parts = SimpleNamespace(store=self.store, search=self.search)
        return await find(cast(Parts, parts), asked)
