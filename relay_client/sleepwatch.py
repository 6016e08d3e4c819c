"""Noticing that the machine slept."""

from __future__ import annotations

JUMP_S = 10.0  # of the clock, which counts as a sleep: it reconnects at once


class SleepWatch:
    """Compares looks at two clocks; a connection from before a sleep is dead and does not know it.

    The monotonic clock stands still during sleep on Linux and macOS, so that the wall clock runs
    ahead of it; on Windows it goes on, so that the two looks are far apart.
    """

    def __init__(self, wall: float, monotonic: float) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def slept(self, wall: float, monotonic: float) -> bool:
        """Say whether a sleep lies between this look and the last, about a second before.

        Args:
            wall: Unix seconds.
            monotonic: Monotonic seconds.
        """
        passed = monotonic - self._monotonic
        jumped = wall - self._wall - passed
        self._wall, self._monotonic = wall, monotonic
        return jumped >= JUMP_S or passed >= JUMP_S
