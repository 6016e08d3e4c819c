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


def until_next(period_s: float, now: float) -> float:
    """Seconds until the next look of many: those at one moment wake the process once.

    Args:
        period_s: Between two looks; they fall on its multiples.
        now: Of a monotonic clock, in seconds; shortly before a multiple it counts as that one.
    """
    wait_s = period_s - now % period_s
    return wait_s if wait_s > period_s / 4 else wait_s + period_s


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)  # no frame around it: each webhook asks several times

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000
