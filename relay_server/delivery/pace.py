"""How fast a replay goes: its rate, beside live traffic. Pure: callers pass the time."""

from __future__ import annotations

from relay_protocol.limits import WINDOW_DELIVERIES

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
