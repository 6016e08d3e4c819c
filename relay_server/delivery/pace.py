"""How fast a replay may go, beside live traffic, and how fast a reader does.

Pure: callers pass the time.
"""

from __future__ import annotations

from relay_protocol.limits import WINDOW_DELIVERIES

LOOK_S = 5.0  # between two counts; speeds are of the last one or two of them
REPLAY_BURST_S = 0.05  # how much of its rate a replay may catch up at once


class Pace:
    """A token bucket that keeps what leaves at its rate, counted from when it began.

    Args:
        rate_per_s: How many may leave within a second; None for as many as will.
        now: Monotonic seconds.
    """

    def __init__(self, rate_per_s: float | None, now: float) -> None:
        self._rate_per_s = rate_per_s
        self.next_at = now  # when the next one may leave; monotonic seconds

    def allowance(self, now: float) -> int:
        """How many may leave now."""
        if self._rate_per_s is None:
            return WINDOW_DELIVERIES
        if self.next_at > now:
            return 0
        return int(min(now - self.next_at, REPLAY_BURST_S) * self._rate_per_s) + 1

    def spend(self, now: float) -> None:
        """One leaves."""
        if self._rate_per_s is not None:
            self.next_at = max(self.next_at, now - REPLAY_BURST_S) + 1 / self._rate_per_s


class Speed:
    """How fast something is done, and how fast more comes, from counts that are looked at.

    Two are kept, for each idle reader has one.

    Args:
        now: Monotonic seconds.
        came: How much has come by then.
    """

    __slots__ = ("_before", "_last")

    def __init__(self, now: float, came: int) -> None:
        self._before = self._last = now, 0, came

    def look(self, now: float, done: int, came: int) -> None:
        """Note how much was done by now, and has come."""
        if now - self._last[0] >= LOOK_S:
            self._before, self._last = self._last, (now, done, came)

    def per_s(self, now: float, done: int, came: int) -> tuple[float, float]:
        """How much is done within a second, and how much comes."""
        then, done_then, came_then = self._before
        lasted_s = max(now - then, 1.0)
        return (done - done_then) / lasted_s, (came - came_then) / lasted_s
