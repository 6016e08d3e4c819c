"""The loop of a simulation: nothing but timers, so it never asks the system for anything."""

from __future__ import annotations

import asyncio
import selectors

from tests.support.clock import VirtualClock
from tests.support.virtual_time import VirtualLoop


class _Timers(selectors.SelectSelector):
    """Lets the clock jump; no file ever has news."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer brings")
        if timeout > 0:
            self._clock.advance(timeout)
        return []


class SimLoop(VirtualLoop):
    """Virtual time, and no system calls."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        asyncio.SelectorEventLoop.__init__(self, _Timers(self.clock))

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken: there is only one thread."""
