"""The time to connect again: after delays that grow, or at once after a sleep."""

from __future__ import annotations

import random
from collections.abc import Callable

# The longest wait before the first reconnection; it doubles with each failure.
FIRST_S = 0.1
# The longest wait of all.
LONGEST_S = 15.0
# A connection that stood so long starts the delays again: a relay that accepts and drops at once
# must not be asked ten times a second.
STABLE_S = 5.0
# A jump of the clock that counts as a sleep: the client reconnects at once.
JUMP_S = 10.0


class Backoff:
    """Delays that grow over failures in a row, and start again after a good connection.

    Each is drawn from between nothing and a doubling bound ("full jitter"), so that the clients
    of a restarted relay do not come back all at once.
    """

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self.draw = draw
        self._failures = 0
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        """A connection stands, since `now` in monotonic seconds."""
        self._opened_at = now

    def reset(self) -> None:
        """Forget the failures so far."""
        self._failures = 0
        self._opened_at = None

    def delay(self, now: float) -> float:
        """Say how many seconds to wait, now that a connection failed or ended."""
        if self._opened_at is not None and now - self._opened_at >= STABLE_S:
            self._failures = 0
        self._opened_at = None
        bound = min(LONGEST_S, FIRST_S * 2 ** min(self._failures, 16))
        self._failures += 1
        return self.draw(0.0, bound)


class SleepWatch:
    """Compares looks at two clocks; a connection from before a sleep is dead and does not know it.

    The monotonic clock stands still during sleep on Linux and macOS, so that the wall clock runs
    ahead of it; on Windows it goes on, so that the two looks are far apart.
    """

    def __init__(self, wall: float, monotonic: float) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def slept(self, wall: float, monotonic: float) -> float:
        """Say for how many seconds it slept since the last look, about a second before.

        Returns:
            0 where it did not.
        """
        passed = monotonic - self._monotonic
        jumped = wall - self._wall - passed
        self._wall, self._monotonic = wall, monotonic
        return (jumped if jumped >= JUMP_S else 0.0) + (passed if passed >= JUMP_S else 0.0)
