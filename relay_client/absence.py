"""The time without a connection, as people are told of it: once, and not of a blink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay_client.notices import Connected, Lost, Notice, StillAway
from relay_client.websocket import Reason
from relay_protocol.messages import Welcome

# People are not told of a shorter absence.
BLINK_S = 2.0


class Absence:
    """Tells that a connection is lost, still away, and back. Times are monotonic seconds.

    Make it where an event loop runs.
    """

    def __init__(self, say: Callable[[Notice], None]) -> None:
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._heard_at: float | None = None  # of the relay; None while it is connected
        self._lost_at: float | None = None
        self._was_connected = False
        self._blink: asyncio.TimerHandle | None = None

    def away_s(self, now: float) -> float | None:
        """How long ago the relay was heard of; None before the first connection."""
        if not self._was_connected or self._heard_at is None:
            return None
        return now - self._heard_at

    def slept(self, since: float) -> None:
        """The machine slept since then: nothing was heard of the relay meanwhile."""
        self._heard_at = since if self._heard_at is None else min(self._heard_at, since)

    def lost(self, reason: Reason, heard_at: float, now: float) -> None:
        """The connection is gone, or did not come about; the relay was heard of at that time."""
        if self._lost_at is not None:
            return
        self.slept(heard_at)
        self._lost_at = now
        self._say(Lost(reason.text, reason.hint, before_first=not self._was_connected))
        if self._was_connected:
            still_away = StillAway(reason.text, reason.hint)
            self._blink = self._loop.call_later(BLINK_S, self._say, still_away)

    def over(self, welcome: Welcome, now: float) -> None:
        """There is a connection."""
        self.forget()
        away_s = None
        if self._was_connected and self._lost_at is not None:
            away_s = now - self._lost_at
        self._heard_at = self._lost_at = None
        self._was_connected = True
        self._say(Connected(welcome, away_s))

    def forget(self) -> None:
        """Tell nothing more of an absence that goes on."""
        if self._blink is not None:
            self._blink.cancel()
            self._blink = None
