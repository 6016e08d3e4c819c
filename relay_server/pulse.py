"""How much happens, by the minute: what is received, delivered, failed, given up and refused.

Counted in memory from what the store tells, for a day, and by this process alone: a start begins at
zero, and says when it was. A channel in which something happened takes 29 KB.

Progress is told by a reader's number. Whose events that one reads is looked up once; what is told
of it meanwhile waits.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.errors import ReplayNotFound
from relay_server.store.feed import (
    ChannelGone,
    EventsStored,
    Progressed,
    SubscriptionChanged,
    SubscriptionGone,
)
from relay_server.store.interface import Store
from relay_server.values import (
    ChannelNumber,
    MarkState,
    ReaderNumber,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

MAX_MINUTES = 1_440  # that are counted back
MINUTE_MS = 60_000
MAX_REPLAYS = 1_000  # whose subscriptions the pulse remembers


class Beat(IntEnum):
    """What is counted."""

    RECEIVED = 0  # stored: a duplicate is not
    DELIVERED = 1  # attempts that the target took
    FAILED = 2  # attempts that it did not
    DEAD = 3  # deliveries that were given up
    REFUSED = 4  # webhooks that were not stored


class Minutes:
    """The counts of one channel, a ring of minutes."""

    def __init__(self, minute: int) -> None:
        self._newest = minute
        self._counts = array("I", bytes(4 * len(Beat) * MAX_MINUTES))

    def add(self, minute: int, beat: Beat, count: int) -> None:
        """Count in a minute; in the newest one where the clock was set back."""
        if minute > self._newest:
            for gone in range(max(self._newest, minute - MAX_MINUTES) + 1, minute + 1):
                at = self._at(gone)
                self._counts[at : at + len(Beat)] = array("I", bytes(4 * len(Beat)))
            self._newest = minute
        self._counts[self._at(self._newest) + beat] += count

    def of(self, minute: int) -> tuple[int, ...]:
        """What was counted in a minute."""
        if not self._newest - MAX_MINUTES < minute <= self._newest:
            return (0,) * len(Beat)
        at = self._at(minute)
        return tuple(self._counts[at : at + len(Beat)])

    def _at(self, minute: int) -> int:
        return minute % MAX_MINUTES * len(Beat)


class Pulse:
    """Counts from now on.

    Attributes:
        since: When that is, in Unix milliseconds.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.since = clock.unix_ms()
        self._store, self._clock = store, clock
        self._channels = dict[ChannelNumber, Minutes]()
        channels = store.catalog.channels.values()
        self._last = {c.number: store.newest(c.number) for c in channels}
        self._read = dict[ReaderNumber, ChannelNumber]()  # whose events a reader reads
        self._unknown = dict[ReaderNumber, Counter[Beat]]()  # what was told of other readers
        self._asking: asyncio.Task[None] | None = None
        store.feed.listen(EventsStored, self._stored)
        store.feed.listen(Progressed, self._progressed)
        store.feed.listen(ChannelGone, self._channel_gone)
        store.feed.listen(SubscriptionChanged, self._subscription_changed)
        store.feed.listen(SubscriptionGone, self._subscription_gone)

    def count(self, channel: ChannelNumber, beat: Beat, count: int = 1) -> None:
        """Count something of a channel now."""
        minute = self._clock.unix_ms() // MINUTE_MS
        counts = self._channels.get(channel)
        if counts is None:
            counts = self._channels[channel] = Minutes(minute)
        counts.add(minute, beat, count)

    def minutes(self, channel: ChannelNumber, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The last minutes, this one last: when each began, and its counts by `Beat`."""
        now, counts = self._clock.unix_ms() // MINUTE_MS, self._channels.get(channel)
        for minute in range(now - count + 1, now + 1):
            yield minute * MINUTE_MS, counts.of(minute) if counts else (0,) * len(Beat)

    def _stored(self, change: EventsStored) -> None:
        # It may be told twice, and by another replica without its events.
        new = change.up_to - self._last.get(change.channel, 0)
        if new > 0:
            self._last[change.channel] = change.up_to
            self.count(change.channel, Beat.RECEIVED, new)

    def _progressed(self, change: Progressed) -> None:
        delivered = sum([attempt.delivered for attempt in change.attempts])
        dead = sum([mark.state is MarkState.DEAD for mark in change.marks])
        counts = {
            Beat.DELIVERED: delivered,
            Beat.FAILED: len(change.attempts) - delivered,
            Beat.DEAD: dead,
        }
        channel = self._read.get(change.reader)
        if channel is None:
            self._unknown.setdefault(change.reader, Counter()).update(counts)
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask())
            return
        for beat, count in counts.items():
            if count:
                self.count(channel, beat, count)

    async def _ask(self) -> None:
        """Find out whose events readers read that were not known."""
        try:
            for subscription in await self._store.subscriptions():
                self._know(subscription)
            while self._unknown:
                reader, counts = next(iter(self._unknown.items()))
                channel = self._read.get(await self._subscription_of(reader))
                del self._unknown[reader]
                if channel is not None:
                    self._read[reader] = channel
                    for beat, count in counts.items():
                        self.count(channel, beat, count)
        except RelayError as exc:
            log.warning("the pulse misses deliveries", error=str(exc))
            self._unknown.clear()
        finally:
            self._asking = None

    async def _subscription_of(self, reader: ReaderNumber) -> SubscriptionNumber:
        if reader > 0:
            return reader
        replays = [known for known in self._read if known < 0]
        for old in replays[:-MAX_REPLAYS]:
            del self._read[old]
        try:
            return (await self._store.replay(reader)).subscription
        except ReplayNotFound:
            return 0

    def _know(self, subscription: Subscription) -> None:
        channel = self._store.catalog.channels.get(subscription.channel)
        if channel is not None:
            self._read[subscription.number] = channel.number

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        self._know(change.subscription)

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._read.pop(change.subscription, None)

    def _channel_gone(self, change: ChannelGone) -> None:
        self._channels.pop(change.channel.number, None)
        self._last.pop(change.channel.number, None)
