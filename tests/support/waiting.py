"""Waiting for a condition, never for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Return once a condition holds.

    Raises:
        TimeoutError: It does not within some seconds of the loop's time.
    """
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions of many kinds, none with an event)
            await asyncio.sleep(0.005)


async def until_true(ask: Callable[[], Awaitable[T]], within_s: float = 20.0) -> T:
    """Ask another process until its answer is true, and return that.

    Raises:
        TimeoutError: It is not within some seconds.
    """
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):  # noqa: ASYNC110  (another process has no event)
            await asyncio.sleep(0.01)
    return answer


async def settled(rounds: int = 50) -> None:
    """Let every task that can go on do so; no time passes."""
    for _ in range(rounds):
        await asyncio.sleep(0)
