"""An asyncio loop whose time jumps to the next timer as soon as nothing else is to be done."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.clock import VirtualClock

STUCK_AFTER_S = 30.0  # real seconds without a timer or anything that happens


class _JumpingSelector(selectors.DefaultSelector):
    """Lets the clock jump instead of waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            happened = super().select(STUCK_AFTER_S)
            if not happened:
                raise RuntimeError("every task waits for something that no timer brings")
            return happened
        happened = super().select(0)
        if not happened:
            self._clock.advance(max(0.0, timeout))
        return happened


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code with timers alone: time would run away from threads and sockets."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self.clock = clock

    def time(self) -> float:
        return self.clock.now


def running_clock() -> VirtualClock:
    """The clock of the loop that runs now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock


def virtual_time(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run a test function on virtual time: sleeps and timeouts jump, ten minutes take none."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock())) as runner:
            runner.run(test(*args, **kwargs))

    return run
