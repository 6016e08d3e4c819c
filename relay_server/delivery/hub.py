"""Who is connected, and which pump serves whom."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.messages import Granted, Wanted
from relay_server.clock import Clock
from relay_server.configs import SubscriptionConfig
from relay_server.delivery.backoff import STORE_RETRY_S
from relay_server.delivery.reader import Reader as Pump
from relay_server.delivery.reader import Sink
from relay_server.errors import (
    ChannelNotFound,
    Forbidden,
    StoreUnavailable,
    SubscriptionNotFound,
)
from relay_server.metrics import Metrics
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsStored,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
    TokenRevoked,
)
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber, Subscription, SubscriptionNumber

log = structlog.get_logger()

TICK_S = 1.0
AFTER_ERROR_S = 5.0
DRAIN_LOOK_S = 0.02
GONE_AWAY_S = 1.0  # after which whoever read what was deleted may ask anew


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


@dataclass(frozen=True, slots=True)
class ReaderState:
    """Who reads a subscription.

    Attributes:
        readers: How many connections, or forwards.
        waits_for_target: Why nothing goes out now, if their targets are not there; else None.
    """

    readers: int
    waits_for_target: str | None = None


@dataclass(slots=True)
class _Served:
    """A subscription that is being read.

    Attributes:
        shared: Others that share may join.
    """

    pump: Pump
    readers: list[Reader]
    shared: bool
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Claiming:
    """A subscription that is being claimed.

    Attributes:
        subscription: As it is set by now.
        epoch: The newest claim that was heard of meanwhile, of this hub or another one.
    """

    subscription: Subscription
    epoch: int = 0


class Hub:
    """Every connection of this server, and a pump for each subscription that is being read.

    It listens to the store's feed: what somebody changed, here or at another replica, takes effect
    by that alone. The newest claim of a subscription has it; whoever is served under an older epoch
    is told that it was taken over (4409), and its pump stops.
    """

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        # Each in the order of coming, so that what happens does not hang on addresses in memory.
        self._readers: dict[Reader, None] = {}  # connections
        self._forwards: dict[Reader, None] = {}
        self._served: dict[SubscriptionNumber, _Served] = {}
        self._by_channel: defaultdict[ChannelNumber, dict[Pump, None]] = defaultdict(dict)
        self._claiming: dict[SubscriptionNumber, _Claiming] = {}
        self._pausing: dict[SubscriptionNumber, str] = {}  # why; until it is stored
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._draining = False
        # One at a time; a lock goes when nobody holds it.
        self._joining: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._unlisten = [
            store.feed.listen(EventsStored, self._stored),
            store.feed.listen(ChannelChanged, self._channel_changed),
            store.feed.listen(ChannelGone, self._channel_gone),
            store.feed.listen(SubscriptionChanged, self._subscription_changed),
            store.feed.listen(SubscriptionGone, self._subscription_gone),
            store.feed.listen(TokenRevoked, self._token_revoked),
            store.feed.listen(ReplaysChanged, self._replays_changed),
            store.feed.listen(Claimed, self._claimed),
        ]

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._readers)

    def state(self, subscription: SubscriptionNumber) -> ReaderState:
        """Who reads a subscription, and whether that waits for its target."""
        served = self._served.get(subscription)
        if served is None:
            return ReaderState(readers=0)
        return ReaderState(len(served.readers), served.pump.waits_for_target)

    def add(self, reader: Reader) -> None:
        """A connection was opened."""
        self._readers[reader] = None
        self._metrics.connections.set(len(self._readers))

    def remove(self, reader: Reader) -> None:
        """A connection or forward is gone: what was lent to it is freed."""
        self._forwards.pop(reader, None)
        self._readers.pop(reader, None)
        self._metrics.connections.set(len(self._readers))
        for number, served in list(self._served.items()):
            if reader in served.readers:
                self._leave(number, served, reader)

    async def join(self, reader: Reader, wanted: Wanted, name: str) -> tuple[Granted, Pump]:
        """Give a reader a subscription; whoever had it before is told so, unless all share it.

        Raises:
            ChannelNotFound: No channel has this name.
            Forbidden: The server itself reads the subscription.
            TooManySubscriptions: The channel takes no new one.
            StoreUnavailable: The store cannot be written now.
        """
        async with self._joining.setdefault((wanted.channel, name), asyncio.Lock()):
            now = self._clock.unix_ms()
            found = await self._store.subscribe(wanted.channel, name, wanted.since, now)
            subscription, created = found
            if subscription.config.forward is not None:
                raise Forbidden(f"{name!r} is a forward: the server itself reads it")
            pump = await self._serve(subscription, reader, share=wanted.share)
            statuses = await self._store.subscription_status([subscription.number])
        if not statuses:
            raise ChannelNotFound(wanted.channel)  # deleted a moment ago
        granted = Granted(
            subscription=subscription.number,
            channel=wanted.channel,
            name=name,
            created=created,
            backlog=statuses[0].backlog,
            oldest_waiting_at=statuses[0].oldest_waiting_at,
            paused=pump.paused,
        )
        return granted, pump

    async def join_forward(self, reader: Reader, subscription: Subscription) -> Pump:
        """Give a forward its subscription, as it is set now.

        Raises:
            ChannelNotFound, SubscriptionNotFound: It was deleted.
            StoreUnavailable: The store cannot be written now.
        """
        key = subscription.channel, subscription.name
        async with self._joining.setdefault(key, asyncio.Lock()):
            known = await self._store.subscriptions(subscription.channel)
            current = [s for s in known if s.number == subscription.number]
            if not current:
                raise SubscriptionNotFound(*key)
            pump = await self._serve(current[0], reader, share=False)
        self._forwards[reader] = None
        return pump

    def start(self, pump: Pump, reader: Reader) -> None:
        """Begin to deliver to a reader: it has been welcomed."""
        served = self._served.get(pump.subscription.number)
        if served is None or served.pump is not pump or reader not in served.readers:
            return  # taken over meanwhile
        if self._draining:
            pump.drain()
        pump.add(reader)
        if served.task is None:
            name = f"pump {pump.subscription.number}"
            served.task = asyncio.create_task(pump.run(), name=name)
            self._tasks.add(served.task)
            served.task.add_done_callback(functools.partial(self._ended, pump))

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """Ask every connection to come back later."""
        for reader in list(self._readers):
            reader.go_away(reason, retry_after_s)

    async def drain(self, timeout_s: float) -> None:
        """Send nothing new, and wait until what is under way is finished, or no longer."""
        self._draining = True
        for served in self._served.values():
            served.pump.drain()
        deadline = self._clock.monotonic() + timeout_s
        while any(s.pump.under_way for s in self._served.values()):
            if self._clock.monotonic() >= deadline:
                log.info("some deliveries are still under way; their results come later")
                return
            await asyncio.sleep(DRAIN_LOOK_S)

    async def run(self) -> None:
        """Let connections and pumps look at the clock, once a second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.monotonic()
            ticks = [reader.tick for reader in (*self._readers, *self._forwards)]
            ticks += [served.pump.tick for served in self._served.values()]
            for tick in ticks:
                try:
                    tick(now)
                except Exception as exc:
                    log.error("a look at the clock failed", exc_info=exc)

    async def close(self) -> None:
        """Stop every pump."""
        for unlisten in self._unlisten:
            unlisten()
        self._closing.set()
        for number in list(self._served):
            self._stop(number)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stored(self, change: EventsStored) -> None:
        for pump in self._by_channel.get(change.channel, ()):
            pump.new_events()

    def _channel_changed(self, change: ChannelChanged) -> None:
        for pump in self._by_channel.get(change.channel.number, ()):
            pump.configure(change.channel, pump.subscription)

    def _channel_gone(self, change: ChannelGone) -> None:
        for pump in list(self._by_channel.get(change.channel.number, ())):
            self._send_away(pump.subscription.number, "a channel was deleted")

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        subscription = change.subscription
        self._pausing.pop(subscription.number, None)
        if (claiming := self._claiming.get(subscription.number)) is not None:
            claiming.subscription = subscription
        if (served := self._served.get(subscription.number)) is not None:
            served.pump.configure(served.pump.channel, subscription)

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._send_away(change.subscription, "the subscription was deleted")

    def _token_revoked(self, change: TokenRevoked) -> None:
        for reader in [r for r in self._readers if r.token == change.name]:
            reader.revoked()

    def _replays_changed(self, change: ReplaysChanged) -> None:
        if (served := self._served.get(change.subscription)) is not None:
            served.pump.replays_changed()

    def _claimed(self, change: Claimed) -> None:
        """Give up what another hub claimed after this one; its own claims find nothing served."""
        if (claiming := self._claiming.get(change.reader)) is not None:
            claiming.epoch = max(claiming.epoch, change.epoch)
        served = self._served.get(change.reader)
        if served is not None and served.pump.claim.epoch < change.epoch:
            self._lose(served.pump.subscription, host="")

    def _send_away(self, number: SubscriptionNumber, reason: str) -> None:
        served = self._served.get(number)
        for reader in list(served.readers) if served else ():
            reader.go_away(reason, GONE_AWAY_S)

    async def _serve(self, subscription: Subscription, reader: Reader, *, share: bool) -> Pump:
        served = self._served.get(subscription.number)
        if served is not None and served.shared and share:
            if reader not in served.readers:
                served.readers.append(reader)
            return served.pump
        self._lose(subscription, reader.host, but=reader)
        claiming = self._claiming[subscription.number] = _Claiming(subscription)
        try:
            claim = await self._store.claim(subscription.number)
        finally:
            subscription = claiming.subscription
            del self._claiming[subscription.number]
        channel = self._store.catalog.channels.get(subscription.channel)
        if claim is None or channel is None:
            raise ChannelNotFound(subscription.channel)
        pump = Pump(
            self._store,
            channel,
            subscription,
            claim,
            self._clock,
            self._metrics,
            functools.partial(self._target_gone, subscription),
        )
        self._served[subscription.number] = _Served(pump, [reader], share)
        self._by_channel[channel.number][pump] = None
        if claiming.epoch > claim.epoch:  # another hub was faster, and this one is told no more
            self._lose(subscription, host="")
        return pump

    def _lose(self, subscription: Subscription, host: str, but: Reader | None = None) -> None:
        """Stop serving a subscription, and tell its readers, but for one, who has it now."""
        served = self._served.get(subscription.number)
        if served is None:
            return
        self._stop(subscription.number)
        for reader in served.readers:
            if reader is not but:
                log.info(
                    "subscription taken over",
                    channel=subscription.channel,
                    subscription=subscription.name,
                    host=host,
                )
                reader.taken_over(subscription.name, host)

    def _leave(self, number: SubscriptionNumber, served: _Served, reader: Reader) -> None:
        served.readers.remove(reader)
        if served.readers:
            served.pump.remove(reader)
        else:
            self._stop(number)

    def _stop(self, number: SubscriptionNumber) -> None:
        pump = self._served.pop(number).pump
        of_channel = self._by_channel[pump.channel.number]
        of_channel.pop(pump, None)
        if not of_channel:
            del self._by_channel[pump.channel.number]
        pump.stop()

    def _target_gone(self, subscription: Subscription, reason: str) -> None:
        """The target wants no more (410): that outlives this connection, and this process."""
        facts = {"channel": subscription.channel, "subscription": subscription.name}
        log.warning("subscription paused until somebody resumes it", reason=reason, **facts)
        if subscription.number in self._pausing:
            return
        self._pausing[subscription.number] = reason
        task = asyncio.create_task(self._keep_paused(subscription.number, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_paused(self, number: SubscriptionNumber, reason: str) -> None:
        """Have it stored, however long that takes: people see and resume what is stored."""
        told = False
        while number in self._pausing and not await self._store_pause(number, reason, told=told):
            told = True
            with suppress(TimeoutError):
                async with asyncio.timeout(STORE_RETRY_S):
                    await self._closing.wait()
                    return

    async def _store_pause(self, number: SubscriptionNumber, reason: str, *, told: bool) -> bool:
        """Whether that came to an end: False where the store may take it later."""

        def pause(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, paused=reason)

        try:
            await self._store.change_subscription(number, pause)
        except StoreUnavailable as exc:
            if not told:
                log.error("the pause could not be stored yet", error=str(exc))
            return False
        except RelayError as exc:
            self._pausing.pop(number, None)
            log.error("the pause could not be stored", error=str(exc))
        return True

    def _ended(self, pump: Pump, task: asyncio.Task[None]) -> None:
        """A pump that failed must not leave a reader waiting for nothing: it comes back anew.

        Nor is anybody to join it who shares: it does nothing any more.
        """
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("a pump failed", channel=pump.channel.name, exc_info=error)
        served = self._served.get(pump.subscription.number)
        if served is not None and served.pump is pump:
            for reader in list(served.readers):
                reader.go_away("the server met an error", AFTER_ERROR_S)
            self._stop(pump.subscription.number)
