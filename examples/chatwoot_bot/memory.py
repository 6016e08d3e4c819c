"""Which events were handled, so that none is answered twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

Work = Callable[[], Coroutine[Any, Any, str]]


class Memory:
    """The ids of the last events that were handled, `size` of them, lost on restart.

    Relay brings an event again when it does not know how an attempt ended: it gave up
    waiting, or the connection broke. The event's id stays the same.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._done: OrderedDict[str, None] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[str]] = {}

    async def once(self, event_id: str, work: Work) -> str | None:
        """Do the work, unless it was done; if it is under way, wait for that.

        Returns:
            What the work returned, or None if this was a repeat.

        Raises:
            Exception: Whatever the work raised, to its repeats as well. It may be tried again.
        """
        if event_id in self._done:
            return None
        if (under_way := self._under_way.get(event_id)) is not None:
            await asyncio.shield(under_way)
            return None
        task = self._under_way[event_id] = asyncio.create_task(work())
        task.add_done_callback(partial(self._ended, event_id))
        return await asyncio.shield(task)  # who asked may give up: the work goes on

    def forget(self, event_id: str) -> None:
        """Let a handled event be handled anew."""
        self._done.pop(event_id, None)

    def _ended(self, event_id: str, task: asyncio.Task[str]) -> None:
        del self._under_way[event_id]
        if task.cancelled() or task.exception() is not None:
            return
        self._done[event_id] = None
        if len(self._done) > self._size:
            self._done.popitem(last=False)
