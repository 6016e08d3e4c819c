"""What one task waits for, over and over: small, since thousands of readers that wait have two."""

from __future__ import annotations

import asyncio


class Wake:
    """An `asyncio.Event` for one task; its empty deque of waiters alone would weigh 0.7 KB."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the task, or have its next wait end at once."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Have the next wait last until `set`."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if self._is_set:
            return
        assert self._waiter is None, "one task waits at a time"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
