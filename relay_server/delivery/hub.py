"""Who is connected, and which reader serves whom.

A *peer* is where deliveries go: a connection, or a forward. Each subscription that somebody reads
has one `Reader`, made with a fresh claim; its peers share it where all of them say so (`share`).
Otherwise the last to come takes over, and whoever had it is told so (4409).

    join ──▶ claim (epoch n) ──▶ Reader ──start──▶ run ──last peer gone, or epoch n + 1──▶ stop

The claim's *epoch* decides between servers, too: the newest has the subscription, and what an older
one records is refused by the store. So a reader whose claim was taken stops at once.

All else comes from the store's feed: what somebody changed, here or at another replica, takes
effect by that alone. What is heard of a subscription while somebody joins it is kept (`_Joining`):
it is newer than what was read. Once a second all look at the clock: for heartbeats, leases and
retries.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from relay_protocol.messages import Granted, Wanted
from relay_server.clock import Clock, until_next
from relay_server.configs import ORDINARY, SubscriptionConfig
from relay_server.delivery.absence import Absences
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.delivery.reader import Reader, Sink
from relay_server.delivery.sifter import Sifter
from relay_server.errors import ChannelNotFound, Forbidden, SubscriptionNotFound
from relay_server.filters.document import Documents
from relay_server.metrics import Metrics
from relay_server.spans import Span
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
from relay_server.values import Came, ChannelNumber, Subscription, SubscriptionNumber

if TYPE_CHECKING:  # what it imports is there only with relay-tunnel[otel]
    from relay_server.tracing import Tracing

log = structlog.get_logger()

TICK_S = 1.0  # between two looks at leases, retries and heartbeats
AFTER_ERROR_S = 5.0  # within which a client comes back after an error of the server's
DRAIN_LOOK_S = 0.02  # how often a server that stops looks if anything is still under way
GONE_AWAY_S = 1.0  # after which whoever read what was deleted may ask anew


class Peer(Sink, Protocol):
    """A connection that deliveries go to."""

    token: str
    host: str

    def tick(self, now: float) -> None:
        """Look at the clock."""

    def taken_over(self, subscription: str, host: str) -> None:
        """Another peer has the subscription now: say so and close."""

    def revoked(self) -> None:
        """The token is not good any more: say so and close."""

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """The server stops: say so and close."""


@dataclass(frozen=True, slots=True)
class ReaderState:
    """Who reads a subscription.

    Attributes:
        readers: How many connections, or forwards.
        hosts: The names of the machines that are connected.
        waits_for_target: Why nothing goes out now, if their targets are not there; else None.
    """

    readers: int
    waits_for_target: str | None = None
    hosts: tuple[str, ...] = ()


@dataclass(slots=True)
class _Served:
    """A subscription that is being read.

    Attributes:
        shared: Others that share may join.
    """

    reader: Reader
    peers: list[Peer]
    shared: bool
    task: asyncio.Task[None] | None = None


@dataclass(eq=False)
class _Joining:
    """A subscription that one peer at a time joins, and what is heard of it meanwhile.

    Attributes:
        number: Set while it is being claimed.
        epoch: The newest claim that was heard of since, of this hub or another.
        changed: How it is set now, if somebody changed it.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    number: SubscriptionNumber | None = None
    epoch: int = 0
    changed: Subscription | None = None


class Hub:
    """Every peer of this server, and a reader for each subscription that is being read."""

    def __init__(
        self, store: Store, clock: Clock, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing
        # Each in the order of coming, so that what happens does not hang on addresses in memory.
        self._peers: dict[Peer, None] = {}  # connections
        self._forwards: dict[Peer, None] = {}
        self._served: dict[SubscriptionNumber, _Served] = {}
        self._by_channel: defaultdict[ChannelNumber, dict[Reader, None]] = defaultdict(dict)
        # By channel and name; one goes when nobody holds it.
        self._joining: WeakValueDictionary[tuple[str, str], _Joining] = WeakValueDictionary()
        self._pausing: dict[SubscriptionNumber, str] = {}  # why; until it is stored
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._draining = False
        self._sifter = Sifter(store, clock, self._keeps_up, self._left_out)
        self._absences = Absences(store, clock)
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
        return len(self._peers)

    def state(self, subscription: SubscriptionNumber) -> ReaderState:
        """Who reads a subscription, and whether that waits for its target."""
        if served := self._served.get(subscription):
            hosts = tuple(peer.host for peer in served.peers if peer not in self._forwards)
            return ReaderState(len(served.peers), served.reader.waits_for_target, hosts)
        return ReaderState(readers=0)

    def states(self, channel: ChannelNumber) -> Mapping[SubscriptionNumber, ReaderState]:
        """The same of all subscriptions of a channel that somebody reads."""
        numbers = [reader.subscription.number for reader in self._by_channel.get(channel, ())]
        return {number: self.state(number) for number in sorted(numbers)}

    def add(self, peer: Peer) -> None:
        """A connection was opened."""
        self._peers[peer] = None
        self._metrics.connections.set(len(self._peers))

    def remove(self, peer: Peer) -> None:
        """A connection or forward is gone: what was lent to it is freed."""
        self._forwards.pop(peer, None)
        self._peers.pop(peer, None)
        self._metrics.connections.set(len(self._peers))
        for number, served in [(n, s) for n, s in self._served.items() if peer in s.peers]:
            served.peers.remove(peer)
            served.reader.remove(peer)
            if not served.peers:
                self._stop(number)
                self._sifter.left(number)
                self._absences.left(served.reader.claim)

    async def join(
        self, peer: Peer, wanted: Wanted, name: str, away_ms: int | None = None
    ) -> tuple[Granted, Reader]:
        """Give a peer a subscription; whoever had it before is told so, unless all share it.

        Args:
            peer: Who wants it.
            wanted: How.
            name: Of the subscription.
            away_ms: How long the peer has been without it, as it says.

        Raises:
            ChannelNotFound: No channel has this name.
            Forbidden: The server itself reads the subscription.
            TooManySubscriptions: The channel takes no new one.
            StoreUnavailable: The store cannot be written now.
        """
        async with self._alone(wanted.channel, name) as joining:
            now, only = self._clock.unix_ms(), wanted.filter
            subscription, created = await self._store.subscribe(
                wanted.channel, name, wanted.since, now, ORDINARY.with_filter(only or "")
            )
            if subscription.config.forward is not None:
                raise Forbidden(f"{name!r} is a forward: the server itself reads it")
            since = (
                None
                if created
                else self._absences.since(
                    subscription, away_ms, is_read=subscription.number in self._served
                )
            )
            number, current = subscription.number, subscription.config.filter
            if only is not None and only != current:
                subscription = await self._store.change_subscription(
                    number, lambda config: config.with_filter(only)
                )
            if only not in (None, current) or number not in self._served:
                await self._sifter.settle(number)
            reader = await self._serve(subscription, peer, joining, share=wanted.share)
            statuses = await self._store.subscription_status([subscription.number])
            came = Came() if since is None else await self._store.came(number, since)
        if not statuses:
            raise ChannelNotFound(wanted.channel)  # deleted a moment ago
        status = statuses[0]
        due_ms, waiting = status.next_attempt_at, min(came.events, status.backlog)
        granted = Granted(
            subscription=subscription.number,
            channel=wanted.channel,
            name=name,
            created=created,
            backlog=status.backlog,
            oldest_waiting_at=status.oldest_waiting_at,
            paused=reader.paused,
            filter=reader.subscription.config.filter,
            came=waiting,
            came_oldest_at=came.oldest_at,
            retrying=status.retrying,
            next_attempt_in_ms=None if due_ms is None else max(0, due_ms - now),
        )
        return granted, reader

    async def settle(self, number: SubscriptionNumber) -> None:
        """Settle what a subscription's filter leaves out of what waits, if it has another now."""
        await self._sifter.settle(number)

    async def join_forward(self, peer: Peer, subscription: Subscription) -> Reader:
        """Give a forward its subscription, as it is set now.

        Raises:
            ChannelNotFound, SubscriptionNotFound: It was deleted.
            StoreUnavailable: The store cannot be written now.
        """
        key = subscription.channel, subscription.name
        async with self._alone(*key) as joining:
            known = await self._store.subscriptions(subscription.channel)
            current = [s for s in known if s.number == subscription.number]
            if not current:
                raise SubscriptionNotFound(*key)
            reader = await self._serve(current[0], peer, joining, share=False)
        self._forwards[peer] = None
        return reader

    def start(self, reader: Reader, peer: Peer) -> None:
        """Begin to deliver to a peer: it has been welcomed."""
        served = self._served.get(reader.subscription.number)
        if served is None or served.reader is not reader or peer not in served.peers:
            return  # taken over meanwhile
        if self._draining:
            reader.drain()
        reader.add(peer)
        if served.task is None:
            name = f"reader {reader.subscription.number}"
            served.task = asyncio.create_task(reader.run(), name=name)
            self._tasks.add(served.task)
            served.task.add_done_callback(functools.partial(self._ended, reader))

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """Ask every connection to come back later."""
        for peer in list(self._peers):
            peer.go_away(reason, retry_after_s)

    async def drain(self, timeout_s: float) -> None:
        """Send nothing new, and wait until what is under way is finished, or no longer."""
        self._draining = True
        for served in self._served.values():
            served.reader.drain()
        deadline = self._clock.monotonic() + timeout_s
        while any(s.reader.under_way for s in self._served.values()):
            if self._clock.monotonic() >= deadline:
                log.info("some deliveries are still under way; their results come later")
                return
            await asyncio.sleep(DRAIN_LOOK_S)

    async def run(self) -> None:
        """Let connections and readers look at the clock, once a second, until cancelled.

        Meanwhile filters are asked for those that nobody reads.
        """
        await self._absences.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sifter.run(), name="sifter")
            await self._look_at_clock()

    async def _look_at_clock(self) -> None:
        while True:
            await asyncio.sleep(until_next(TICK_S, self._clock.monotonic()))
            now = self._clock.monotonic()
            ticks = [peer.tick for peer in (*self._peers, *self._forwards)]
            ticks += [served.reader.tick for served in self._served.values()]
            for tick in ticks:
                try:
                    tick(now)
                except Exception as exc:
                    log.error("a look at the clock failed", exc_info=exc)

    async def close(self) -> None:
        """Stop every reader."""
        for unlisten in self._unlisten:
            unlisten()
        self._sifter.close()
        self._closing.set()
        for number in list(self._served):
            self._stop(number)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._absences.close()

    def _stored(self, change: EventsStored) -> None:
        documents = Documents(change.events)
        for reader in self._by_channel.get(change.channel, ()):
            reader.new_events(change, documents)

    def _channel_changed(self, change: ChannelChanged) -> None:
        for reader in self._by_channel.get(change.channel.number, ()):
            reader.configure(change.channel, reader.subscription)

    def _channel_gone(self, change: ChannelGone) -> None:
        for reader in list(self._by_channel.get(change.channel.number, ())):
            self._send_away(reader.subscription.number, "a channel was deleted")

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        subscription = change.subscription
        self._pausing.pop(subscription.number, None)
        if joining := self._joining.get((subscription.channel, subscription.name)):
            joining.changed = subscription
        if (served := self._served.get(subscription.number)) is not None:
            served.reader.configure(served.reader.channel, subscription)

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._send_away(change.subscription, "the subscription was deleted")

    def _token_revoked(self, change: TokenRevoked) -> None:
        for peer in [p for p in self._peers if p.token == change.name]:
            peer.revoked()

    def _replays_changed(self, change: ReplaysChanged) -> None:
        if (served := self._served.get(change.subscription)) is not None:
            served.reader.replays_changed()

    def _claimed(self, change: Claimed) -> None:
        """Give up what another hub claimed after this one; its own claims find nothing served."""
        for joining in self._joining.values():
            if joining.number == change.reader:
                joining.epoch = max(joining.epoch, change.epoch)
        served = self._served.get(change.reader)
        if served is not None and served.reader.claim.epoch < change.epoch:
            self._lose(served.reader.subscription, host="")

    def _send_away(self, number: SubscriptionNumber, reason: str) -> None:
        if served := self._served.get(number):
            for peer in list(served.peers):
                peer.go_away(reason, GONE_AWAY_S)

    def _keeps_up(self, number: SubscriptionNumber) -> bool:
        served = self._served.get(number)
        return served is not None and served.reader.keeps_up

    def _left_out(self, number: SubscriptionNumber, spans: Sequence[Span]) -> None:
        if (served := self._served.get(number)) is not None:
            served.reader.left_out(spans)

    @asynccontextmanager
    async def _alone(self, channel: str, name: str) -> AsyncIterator[_Joining]:
        """Have nobody else join a subscription meanwhile, and hear what is changed of it."""
        joining = self._joining.setdefault((channel, name), _Joining())
        async with joining.lock:
            joining.epoch, joining.changed = 0, None
            try:
                yield joining
            finally:
                joining.number = None

    async def _serve(
        self, subscription: Subscription, peer: Peer, joining: _Joining, *, share: bool
    ) -> Reader:
        served = self._served.get(subscription.number)
        if served is not None and served.shared and share:
            if peer not in served.peers:
                served.peers.append(peer)
            return served.reader
        # First, so that the old reader sends nothing once the new one may.
        self._lose(subscription, peer.host, but=peer)
        joining.number = subscription.number
        claim = await self._store.claim(subscription.number)
        subscription = joining.changed or subscription
        channel = self._store.catalog.channels.get(subscription.channel)
        if claim is None or channel is None:
            raise ChannelNotFound(subscription.channel)
        on_gone = functools.partial(self._target_gone, subscription)
        parts = self._clock, self._metrics, on_gone, self._tracing
        reader = Reader(self._store, channel, subscription, claim, *parts)
        self._served[subscription.number] = _Served(reader, [peer], share)
        self._by_channel[channel.number][reader] = None
        if joining.epoch > claim.epoch:  # another hub was faster, and this one is told no more
            self._lose(subscription, host="")
        return reader

    def _lose(self, subscription: Subscription, host: str, but: Peer | None = None) -> None:
        """Stop serving a subscription, and tell its peers, but for one, who has it now."""
        if served := self._served.get(subscription.number):
            self._stop(subscription.number)
            for peer in [p for p in served.peers if p is not but]:
                log.info("subscription taken over", host=host, **_facts(subscription))
                peer.taken_over(subscription.name, host)

    def _stop(self, number: SubscriptionNumber) -> None:
        reader = self._served.pop(number).reader
        of_channel = self._by_channel[reader.channel.number]
        del of_channel[reader]
        if not of_channel:
            del self._by_channel[reader.channel.number]
        reader.stop()

    def _target_gone(self, subscription: Subscription, reason: str) -> None:
        """The target wants no more (410): that outlives this connection, and this process."""
        facts = _facts(subscription)
        log.warning("subscription paused until somebody resumes it", reason=reason, **facts)
        if subscription.number in self._pausing:
            return
        self._pausing[subscription.number] = reason
        task = asyncio.create_task(self._keep_paused(subscription, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_paused(self, subscription: Subscription, reason: str) -> None:
        """Have it stored, however long that takes: people see and resume what is stored."""
        number, facts = subscription.number, _facts(subscription)
        backoff = StoreBackoff(self._clock, "the pause could not be stored yet", **facts)

        def pause(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, paused=reason)

        async def store() -> None:
            with suppress(SubscriptionNotFound):
                await self._store.change_subscription(number, pause)
            self._pausing.pop(number, None)

        while number in self._pausing and not await backoff.run(store):
            with suppress(TimeoutError):
                async with asyncio.timeout(STORE_RETRY_S):
                    await self._closing.wait()
                    return

    def _ended(self, reader: Reader, task: asyncio.Task[None]) -> None:
        """A reader that failed must not leave a peer waiting for nothing: it comes back anew.

        Nor is anybody to join it who shares: it does nothing any more.
        """
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("a reader failed", channel=reader.channel.name, exc_info=error)
        served = self._served.get(reader.subscription.number)
        if served is not None and served.reader is reader:
            for peer in list(served.peers):
                peer.go_away("the server met an error", AFTER_ERROR_S)
            self._stop(reader.subscription.number)


def _facts(subscription: Subscription) -> dict[str, str]:
    return {"channel": subscription.channel, "subscription": subscription.name}
