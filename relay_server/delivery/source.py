"""Where a queue's outlines come from, how far they go, and how fast they may leave.

Live traffic is every event of a channel from a subscription's floor on, without an end, as fast as
its sinks take it. A replay is what its selection means, up to the last event there was when it was
asked for, at its rate. A queue knows no other difference between them. What else may choose among
events, such as a filter of a subscription, is one more source.

Outlines come in *pieces*: all that there are between two sequences. A source may look at many
events and find few, so a piece says how far it looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from relay_protocol.limits import WINDOW_DELIVERIES
from relay_server.store.interface import EventLog
from relay_server.values import ChannelNumber, Outline, Replay

READ_AHEAD = 512  # outlines read at once
REPLAY_LOOK_AHEAD = 256  # of a replay: looking for them costs much, and it has few under way
REPLAY_BURST_S = 0.05  # how much of its rate a replay may catch up at once


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read at once.

    Attributes:
        up_to: Everything up to this sequence was looked at.
        ends: There is nothing behind it, for now or for ever.
    """

    outlines: Sequence[Outline]
    up_to: int
    ends: bool


class Source(Protocol):
    """Outlines in order of sequence.

    Attributes:
        at_once: How many to ask for.
        until: The last sequence that is meant; None if there is no end.
        rate_per_s: How many may leave within a second; None for as many as will.
    """

    at_once: int
    until: int | None
    rate_per_s: float | None

    async def read(self, after: int, limit: int) -> Piece:
        """Read what comes after a sequence.

        Raises:
            StoreUnavailable: It cannot be read now.
        """


class EveryEvent:
    """All events of a channel, without an end."""

    at_once = READ_AHEAD
    until: int | None = None
    rate_per_s: float | None = None

    def __init__(self, store: EventLog, channel: ChannelNumber) -> None:
        self._store = store
        self._channel = channel

    async def read(self, after: int, limit: int) -> Piece:
        outlines = await self._store.outlines(self._channel, after, limit)
        up_to = outlines[-1].sequence if outlines else after
        return Piece(outlines, up_to, ends=len(outlines) < limit)


class SelectedEvents:
    """Those events that a replay is for."""

    at_once = REPLAY_LOOK_AHEAD

    def __init__(self, store: EventLog, channel: ChannelNumber, replay: Replay) -> None:
        self.until: int | None = replay.until
        self.rate_per_s: float | None = replay.rate_per_s
        self._store = store
        self._channel = channel
        self._replay = replay

    async def read(self, after: int, limit: int) -> Piece:
        until = self._replay.until
        # Looking costs much the same however little it finds.
        if after >= until:
            return Piece((), until, ends=True)
        found = await self._store.select(self._channel, self._replay, after, limit)
        return Piece(found.outlines, found.read_up_to, ends=found.read_up_to >= until)


class Pace:
    """A token bucket that keeps what leaves a source at its rate, counted from when it began."""

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
