"""Who is connected, and which pump serves whom."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from relay_protocol.messages import Granted, Wanted
from relay_server.clock import Clock
from relay_server.delivery.pump import Pump, Sink
from relay_server.errors import ChannelNotFound
from relay_server.metrics import Metrics
from relay_server.store.base import EventStore
from relay_server.values import Channel, ChannelNumber, Claim, Subscription, SubscriptionNumber

log = structlog.get_logger()

TICK_S = 1.0
AFTER_ERROR_S = 5.0


class Reader(Sink, Protocol):
    """A connection that deliveries go to."""

    token: str
    host: str

    def tick(self, now: float) -> None:
        """Look at the clock."""

    def taken_over(self, subscription: str, host: str) -> None:
        """Another reader has the subscription now: say so and close."""

    def revoked(self) -> None:
        """The token is not good any more: say so and close."""

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """The server stops: say so and close."""


class Hub:
    """Every connection of this server, and a pump for each subscription that is being read."""

    def __init__(self, store: EventStore, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._readers: set[Reader] = set()
        self._pumps: dict[SubscriptionNumber, tuple[Pump, Reader]] = {}
        self._by_channel: dict[ChannelNumber, set[Pump]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        # One at a time; a lock goes when nobody holds it.
        self._joining: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._unlisten = store.listen(self._stored)

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._readers)

    def state(self, subscription: SubscriptionNumber) -> tuple[bool, bool]:
        """Whether somebody reads a subscription, and whether that waits for its target."""
        pump, _ = self._pumps.get(subscription, (None, None))
        return pump is not None, pump is not None and pump.held

    def add(self, reader: Reader) -> None:
        """A connection was opened."""
        self._readers.add(reader)
        self._metrics.connections.set(len(self._readers))

    def remove(self, reader: Reader) -> None:
        """A connection is gone: what was lent to it is freed."""
        self._readers.discard(reader)
        self._metrics.connections.set(len(self._readers))
        for number in [n for n, (_, holder) in self._pumps.items() if holder is reader]:
            self._stop(number)

    async def join(self, reader: Reader, wanted: Wanted, name: str) -> tuple[Granted, Pump]:
        """Give a reader a subscription; whoever had it before is told so.

        Raises:
            ChannelNotFound: No channel has this name.
            StoreUnavailable: The store cannot be written now.
        """
        async with self._joining.setdefault((wanted.channel, name), asyncio.Lock()):
            now = self._clock.unix_ms()
            found = await self._store.subscribe(wanted.channel, name, wanted.since, now)
            subscription, created = found
            self._take_over(subscription, reader)
            claim = await self._store.claim(subscription.number)
            channel = self._store.catalog.channels.get(wanted.channel)
            if claim is None or channel is None:
                raise ChannelNotFound(wanted.channel)
            statuses = await self._store.subscription_status([subscription.number])
            if not statuses:
                raise ChannelNotFound(wanted.channel)  # deleted a moment ago
            pump = self._pump(reader, channel, subscription, claim)
        granted = Granted(
            subscription=subscription.number,
            channel=channel.name,
            name=name,
            created=created,
            backlog=statuses[0].backlog,
            oldest_waiting_at=statuses[0].oldest_waiting_at,
        )
        return granted, pump

    def start(self, pump: Pump) -> None:
        """Begin to deliver: the reader has been welcomed."""
        task = asyncio.create_task(pump.run(), name=f"pump {pump.subscription.number}")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, pump))

    def revoke(self, token: str) -> None:
        """Close every connection that came with a token."""
        for reader in [r for r in self._readers if r.token == token]:
            reader.revoked()

    def close_channel(self, channel: ChannelNumber) -> None:
        """A channel was deleted: nobody reads it any more."""
        for pump in list(self._by_channel.get(channel, ())):
            _, reader = self._pumps[pump.subscription.number]
            reader.go_away("a channel was deleted", 1.0)

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """Ask every connection to come back later."""
        for reader in list(self._readers):
            reader.go_away(reason, retry_after_s)

    async def run(self) -> None:
        """Let connections and pumps look at the clock, once a second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.monotonic()
            ticks = [reader.tick for reader in self._readers]
            ticks += [pump.tick for pump, _ in self._pumps.values()]
            for tick in ticks:
                try:
                    tick(now)
                except Exception as exc:
                    log.error("a look at the clock failed", exc_info=exc)

    async def close(self) -> None:
        """Stop every pump."""
        self._unlisten()
        for number in list(self._pumps):
            self._stop(number)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stored(self, channel: ChannelNumber) -> None:
        for pump in self._by_channel.get(channel, ()):
            pump.wake()

    def _take_over(self, subscription: Subscription, reader: Reader) -> None:
        _, holder = self._pumps.get(subscription.number, (None, None))
        if holder is None:
            return
        self._stop(subscription.number)
        if holder is not reader:
            log.info(
                "subscription taken over",
                channel=subscription.channel,
                subscription=subscription.name,
                host=reader.host,
            )
            holder.taken_over(subscription.name, reader.host)

    def _pump(
        self, reader: Reader, channel: Channel, subscription: Subscription, claim: Claim
    ) -> Pump:
        pump = Pump(self._store, channel, subscription, claim, reader, self._clock, self._metrics)
        self._pumps[subscription.number] = (pump, reader)
        self._by_channel[channel.number].add(pump)
        return pump

    def _stop(self, number: SubscriptionNumber) -> None:
        pump, _ = self._pumps.pop(number)
        self._by_channel[pump.channel.number].discard(pump)
        pump.stop()

    def _ended(self, pump: Pump, task: asyncio.Task[None]) -> None:
        """A pump that failed must not leave a reader waiting for nothing: it comes back anew."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("a pump failed", channel=pump.channel.name, exc_info=error)
        current, reader = self._pumps.get(pump.subscription.number, (None, None))
        if current is pump and reader is not None:
            reader.go_away("the server met an error", AFTER_ERROR_S)
