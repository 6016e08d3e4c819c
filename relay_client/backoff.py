"""How long to wait before connecting again."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.1  # the longest wait before the first reconnection; it doubles with each failure
LONGEST_S = 15.0  # the longest wait of all
STABLE_S = 5.0  # a relay that accepts and drops at once must not be asked ten times a second


class Backoff:
    """Delays that grow over failures in a row, and start again after a good connection.

    Each is drawn from between nothing and a doubling bound ("full jitter"), so that the clients
    of a restarted relay do not come back all at once.

    Args:
        draw: Gives a number between its two arguments.
    """

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self.draw = draw
        self._failures = 0
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        """A connection stands, since `now` in monotonic seconds."""
        self._opened_at = now

    def reset(self) -> None:
        """What failed before says nothing any more."""
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
