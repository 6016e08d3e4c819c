"""Knowing a dead connection from a quiet one."""

from __future__ import annotations

import enum

from relay_protocol.limits import HEARTBEAT_S, MISSED_HEARTBEATS


class Beat(enum.Enum):
    """The answer to a look at the clock."""

    QUIET = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class Liveness:
    """One end's view of whether the other is still there.

    Anything heard counts, not only answers to pings: on a slow link a pong waits behind data, and
    data is proof enough.
    """

    def __init__(self, now: float, interval: float = HEARTBEAT_S) -> None:
        self._interval = interval
        self._grace = interval / 3  # for the answer to the last ping to come
        self._heard_at = now
        self._pinged_at = now

    def heard(self, now: float) -> None:
        """Something arrived from the other end."""
        self._heard_at = now

    def check(self, now: float) -> Beat:
        """Say what is due; a returned `PING` counts as sent."""
        if now - self._heard_at >= self._interval * MISSED_HEARTBEATS + self._grace:
            return Beat.DEAD
        if now - self._pinged_at >= self._interval:
            self._pinged_at = now
            return Beat.PING
        return Beat.QUIET
