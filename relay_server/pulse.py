"""How much happens, by the minute: what is received, delivered, failed, given up and refused.

Counted in memory as it happens, for a day, and by this process alone: a start begins at zero, and
says when it was. A channel in which something happened takes 29 KB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from enum import IntEnum

from relay_server.clock import Clock
from relay_server.store.feed import ChannelGone, EventsStored
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber

MAX_MINUTES = 1_440  # that are counted back
MINUTE_MS = 60_000


class Beat(IntEnum):
    """What is counted."""

    RECEIVED = 0  # stored: a duplicate is not
    DELIVERED = 1  # attempts that the target took
    FAILED = 2  # attempts that it did not
    DEAD = 3  # deliveries that were given up
    REFUSED = 4  # webhooks that were not stored


BEATS = len(Beat)


class Minutes:
    """The counts of one channel, a ring of minutes."""

    def __init__(self, minute: int) -> None:
        self._newest, self._start = minute, _start(minute)
        self._counts = array("I", bytes(4 * BEATS * MAX_MINUTES))

    def add(self, minute: int, beat: Beat, count: int) -> None:
        """Count in a minute; in the newest one where the clock was set back."""
        if minute > self._newest:
            self._begin(minute)
        self._counts[self._start + beat] += count

    def of(self, minute: int) -> tuple[int, ...]:
        """What was counted in a minute."""
        if not self._newest - MAX_MINUTES < minute <= self._newest:
            return (0,) * BEATS
        at = _start(minute)
        return tuple(self._counts[at : at + BEATS])

    def _begin(self, minute: int) -> None:
        for gone in range(max(self._newest, minute - MAX_MINUTES) + 1, minute + 1):
            at = _start(gone)
            self._counts[at : at + BEATS] = array("I", bytes(4 * BEATS))
        self._newest, self._start = minute, _start(minute)


class Pulse:
    """Counts from now on.

    Attributes:
        since: When that is, in Unix milliseconds.
        total: All that was counted since, of every channel.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.since, self.total = clock.unix_ms(), 0
        self._store, self._clock = store, clock
        self._channels = dict[ChannelNumber, Minutes]()
        channels = store.catalog.channels.values()
        self._last = {c.number: store.newest(c.number) for c in channels}
        store.feed.listen(EventsStored, self._stored)
        store.feed.listen(ChannelGone, self._channel_gone)

    def count(self, channel: ChannelNumber, beat: Beat, count: int = 1) -> None:
        """Count something of a channel now."""
        if (counts := self._channels.get(channel) or self._begun(channel)) is not None:
            counts.add(self._clock.unix_ms() // MINUTE_MS, beat, count)
            self.total += count

    def ended(self, channel: ChannelNumber, delivered: bool, dead: bool) -> None:
        """Count an attempt that ended, and what died with it."""
        self.count(channel, Beat.DELIVERED if delivered else Beat.FAILED)
        if dead:
            self.count(channel, Beat.DEAD)

    def minutes(self, channel: ChannelNumber, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The last minutes, this one last: when each began, and its counts by `Beat`."""
        now, counts = self._clock.unix_ms() // MINUTE_MS, self._channels.get(channel)
        for minute in range(now - count + 1, now + 1):
            yield minute * MINUTE_MS, counts.of(minute) if counts else (0,) * BEATS

    def _begun(self, channel: ChannelNumber) -> Minutes | None:
        """The counts of one of which nothing was counted yet; None once it is deleted."""
        if self._store.catalog.numbered(channel) is None:
            return None
        counts = self._channels[channel] = Minutes(self._clock.unix_ms() // MINUTE_MS)
        return counts

    def _stored(self, change: EventsStored) -> None:
        # It may be told twice, and by another replica without its events.
        new = change.up_to - self._last.get(change.channel, 0)
        if new > 0:
            self._last[change.channel] = change.up_to
            self.count(change.channel, Beat.RECEIVED, new)

    def _channel_gone(self, change: ChannelGone) -> None:
        self._channels.pop(change.channel.number, None)
        self._last.pop(change.channel.number, None)


def _start(minute: int) -> int:
    """Where a minute's counts begin."""
    return minute % MAX_MINUTES * BEATS
