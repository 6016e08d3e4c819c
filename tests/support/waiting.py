"""Waiting for a condition, never for a while; and how long something took by a quiet machine.

What a wait is given is for what hangs: a machine that is busy with other tests takes many times as
long as a quiet one. Where a bound in seconds is promised, a `Stopwatch` measures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LONG_S = 60.0
PRESSURE = Path("/proc/pressure")


async def until(condition: Callable[[], object], within_s: float = LONG_S) -> None:
    """Return once a condition holds.

    Raises:
        TimeoutError: It does not within some seconds of the loop's time.
    """
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions of many kinds, none with an event)
            await asyncio.sleep(0.005)


async def until_true(ask: Callable[[], Awaitable[T]], within_s: float = LONG_S) -> T:
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


class Stopwatch:
    """Counts the seconds in which nobody on this machine waited for a processor or a disk.

    What is promised within some seconds takes longer on a machine that does much else at the same
    time, and nobody is to blame. Linux says how long it kept anybody waiting ("pressure stall
    information"); where it does not, all seconds count.
    """

    def __init__(self) -> None:
        self._began, self._stalled_s = time.monotonic(), _stalled_s()

    @property
    def elapsed_s(self) -> float:
        """Such seconds since it was made."""
        stalled_s = max(now - then for now, then in zip(_stalled_s(), self._stalled_s, strict=True))
        return time.monotonic() - self._began - stalled_s


def _stalled_s() -> list[float]:
    """For how long anybody has waited for a processor, and for a disk, since the machine began."""
    try:
        told = [(PRESSURE / of).read_text() for of in ("cpu", "io")]
    except OSError:
        return [0.0]
    return [int(us) / 1e6 for text in told for us in re.findall(r"some .*total=(\d+)", text)]
