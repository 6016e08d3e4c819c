"""What a live feed keeps in memory: a connection, and nothing of what it told, then or before."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack

import pytest

from relay_server.live.feeds import MAX_FEEDS_EACH
from relay_server.store import cache
from relay_server.values import Scope
from tests.support.feeds import FeedReader
from tests.support.senders import Connection, connection
from tests.support.waiting import until
from tests.unit.server.asking import append
from tests.unit.server.support import Served

EVENTS = 200
MOST_BYTES = 65_536  # that a viewer takes; the test's own end of its connection is a part of it


class Viewer:
    """Counts what it is told, and keeps none of it."""

    def __init__(self, served: Served, token: str) -> None:
        self.beats = self.events = 0
        reader = FeedReader(served.port, token, state=1)
        reader.position = "chatwoot=0"
        self._asked = reader.request()

    async def watch(self, one: Connection) -> None:
        await one.send(self._asked)
        async for line in one.reader:
            self.beats += line == b"event: beat\n"
            self.events += line == b"event: event\n"


async def test_a_viewer_costs_a_connection_whatever_it_was_told_of(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_EVENTS", 1)  # the store's own memory is the same for all
    viewers, tasks = list[Viewer](), list[asyncio.Task[None]]()
    async with AsyncExitStack() as stack:

        async def watched(name: str, number: int) -> int:
            """Bytes in use once so many more have come, and all were told of events."""
            token = await served.make_token(name, Scope.SUBSCRIBE)
            for _ in range(number):
                viewers.append(Viewer(served, token))
                one = await stack.enter_async_context(connection(served.port))
                tasks.append(asyncio.create_task(viewers[-1].watch(one)))
            await until(lambda: all(viewer.beats for viewer in viewers))  # it missed nothing more
            for _ in range(EVENTS):
                await append(served)
            stored = len(await served.events())
            await until(lambda: all(viewer.events == stored for viewer in viewers))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await watched("ana", 1)
            after = await watched("bo", MAX_FEEDS_EACH)
        finally:
            tracemalloc.stop()
        for task in tasks:
            task.cancel()
    assert 0 < after - before < MAX_FEEDS_EACH * MOST_BYTES
