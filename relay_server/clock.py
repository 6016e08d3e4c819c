"""The two times that matter, as one thing that tests can replace."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where durations and dates come from."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def unix_ms(self) -> int:
        """Unix milliseconds; may jump."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)  # no frame around it: each webhook asks several times

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000
