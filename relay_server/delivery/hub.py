"""Who is connected, and which reader serves whom.

A peer (`readers`) that joins a subscription is served by its `Reader`, made with a fresh claim.
Peers share one where all of them say so (`share`). Otherwise the last to come takes over, and
whoever had it is told so (4409).

    join ──▶ claim (epoch n) ──▶ Reader ──start──▶ run ──last peer gone, or epoch n + 1──▶ stop

The claim's *epoch* decides between servers, too: the newest has the subscription, and what an older
one records is refused by the store. So a reader whose claim was taken stops at once.

All else comes from the store's feed: what somebody changed, here or at another replica, takes
effect by that alone. What is heard of a subscription while somebody joins it is kept (`Joining`):
it is newer than what was read. Once a second all look at the clock: for heartbeats, leases and
retries.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from relay_protocol.messages import Granted, Wanted
from relay_protocol.values import EventHead
from relay_server.clock import Clock, until_next
from relay_server.delivery.absence import Absences
from relay_server.delivery.expiry import Expirer
from relay_server.delivery.joining import Joining, Joins, Taken
from relay_server.delivery.pace import Speed
from relay_server.delivery.pausing import Pauses
from relay_server.delivery.promotion import REASON, Promotions, Stopped
from relay_server.delivery.queue import Ended
from relay_server.delivery.reader import Reader
from relay_server.delivery.readers import Peer, Readers, Served
from relay_server.delivery.sifter import Sifter
from relay_server.delivery.wanted import find_or_make, grant, sign_anew
from relay_server.errors import ChannelNotFound, StoreUnavailable, SubscriptionNotFound
from relay_server.filters.document import Documents
from relay_server.metrics import Metrics
from relay_server.reported import Came
from relay_server.sealing import OpenSealed, opens_nothing
from relay_server.spans import Span
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsStored,
    GivenUp,
    Promoted,
    ReplaysChanged,
    Skipped,
    SubscriptionChanged,
    SubscriptionGone,
    TokenRevoked,
)
from relay_server.store.interface import Store
from relay_server.values import Subscription, SubscriptionNumber

if TYPE_CHECKING:  # what it imports is there only with relay-tunnel[otel]
    from relay_server.tracing import Tracing

log = structlog.get_logger()

TICK_S = 1.0  # between two looks at leases, retries and heartbeats
AFTER_ERROR_S = 5.0  # within which a client comes back after an error of the server's
DRAIN_LOOK_S = 0.02  # how often a server that stops looks if anything is still under way
SHARED_ELSEWHERE = "another server has those that share it"
GONE_AWAY_S = 1.0  # after which whoever read what was deleted may ask anew


class Hub:
    """Every peer of this server, and a reader for each subscription that is being read.

    Attributes:
        readers: Which subscriptions are read, and by whom.
        begun: Whether there may be readers: what they ask was read.
        on_ended: Called with each attempt that ended; set before there are readers.
        open_sealed: Opens what deliveries are signed anew with; set then, too.
        gate: Asked whether an event of a subscription may go, where people may have its
            conversation; set before there are readers.
        taken: What another server has taken from this one.
        told_twice: Gives the ids of two events of a subscription that told one message, if any.
    """

    def __init__(
        self, store: Store, clock: Clock, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing
        self.begun = True
        self.on_ended: Ended = lambda *_: None
        self.open_sealed: OpenSealed = opens_nothing
        self.gate: Callable[[SubscriptionNumber, EventHead], str | None] = lambda *_: ""
        self.told_twice: Callable[[SubscriptionNumber], tuple[str, ...]] = lambda _: ()
        self.readers = Readers(clock)
        # Each in the order of coming, so that what happens does not hang on addresses in memory.
        self._peers: dict[Peer, None] = {}  # connections
        self._forwards: dict[Peer, None] = {}
        self._joins = Joins()
        self.taken = Taken()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._sifter = Sifter(store, clock, self._keeps_up, self._left_out)
        self._expirer = Expirer(store, clock, self._delivers, self._left_out)
        self._absences = Absences(store, clock, self._joins.alone, self._is_read)
        self._pauses = Pauses(store, clock)
        self._promotions = Promotions(store, clock, self._absences.left)
        self._unlisten = [
            store.feed.listen(EventsStored, self._stored),
            store.feed.listen(ChannelChanged, self._channel_changed),
            store.feed.listen(ChannelGone, self._channel_gone),
            store.feed.listen(SubscriptionChanged, self._subscription_changed),
            store.feed.listen(SubscriptionGone, self._subscription_gone),
            store.feed.listen(Skipped, self._skipped),
            store.feed.listen(GivenUp, self._given_up),
            store.feed.listen(TokenRevoked, self._token_revoked),
            store.feed.listen(ReplaysChanged, self._replays_changed),
            store.feed.listen(Claimed, self._claimed),
            store.feed.listen(Promoted, self._promoted),
        ]

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._peers)

    def add(self, peer: Peer) -> None:
        """A connection was opened."""
        self._peers[peer] = None
        self._metrics.connections.set(len(self._peers))

    def go_on(self, number: SubscriptionNumber, key: str) -> None:
        """Its gate knows now whether events of a key may go."""
        if (served := self.readers.get(number)) is not None:
            served.reader.go_on(key)

    def hold_back(self, number: SubscriptionNumber, key: str, above: int | None) -> None:
        """Deliver nothing of a key above a sequence, for a while; None ends that."""
        if (served := self.readers.get(number)) is not None:
            served.reader.hold_back(key, above)

    def pause(self, subscription: Subscription, reason: str) -> None:
        """Deliver nothing until somebody resumes it; who is connected comes back, and is told."""
        if (served := self.readers.get(subscription.number)) is not None:
            served.reader.pause(reason)
            for peer in [one for one in served.peers if one in self._peers]:
                peer.go_away(reason, GONE_AWAY_S)
        self._pauses.pause(subscription, reason)

    def remove(self, peer: Peer) -> None:
        """A connection or forward is gone: what was lent to it is freed."""
        self._forwards.pop(peer, None)
        self._peers.pop(peer, None)
        self._metrics.connections.set(len(self._peers))
        for served in [one for one in self.readers if peer in one.peers]:
            served.peers.remove(peer)
            served.reader.remove(peer)
            if not served.peers:
                self._end(served)

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
            Forbidden: The server itself reads the subscription, or it is temporary where a lasting
                one is wanted, or the other way round.
            InvalidValue: It cannot be signed anew.
            TooManySubscriptions: The channel takes no new one.
            StoreUnavailable: The store cannot be written now.
        """
        async with self._joins.alone(wanted.channel, name) as joining:
            now, only = self._clock.unix_ms(), wanted.filter
            subscription, created = await find_or_make(self._store, wanted, name, peer.token, now)
            since = (
                None
                if created
                else self._absences.since(
                    subscription, away_ms, is_read=subscription.number in self.readers
                )
            )
            subscription = await sign_anew(
                self._store, subscription, wanted.resign, self.open_sealed
            )
            number, current = subscription.number, subscription.config.filter
            self._absences.joining(subscription)
            if only is not None and only != current:
                subscription = await self._store.change_subscription(
                    number, lambda config: config.with_filter(only)
                )
            if only not in (None, current) or number not in self.readers:
                await self._sifter.settle(number)
            reader = await self._serve(subscription, peer, joining, share=wanted.share)
            statuses = await self._store.subscription_status([subscription.number])
            came = Came() if since is None else await self._store.came(number, since)
        if not statuses:
            raise ChannelNotFound(wanted.channel)  # deleted a moment ago
        granted = grant(statuses[0], reader, came, now, created=created)
        if only is not None:  # its client asks for this again: not for what somebody set meanwhile
            granted = replace(granted, filter=only)
        return replace(granted, told_twice=self.told_twice(number)), reader

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
        async with self._joins.alone(*key) as joining:
            known = await self._store.subscriptions(subscription.channel)
            current = [s for s in known if s.number == subscription.number]
            if not current:
                raise SubscriptionNotFound(*key)
            reader = await self._serve(current[0], peer, joining, share=False, forwards=True)
        self._forwards[peer] = None
        return reader

    def start(self, reader: Reader, peer: Peer) -> None:
        """Begin to deliver to a peer: it has been welcomed."""
        served = self.readers.get(reader.subscription.number)
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
        for served in self.readers:
            served.reader.drain()
        deadline = self._clock.monotonic() + timeout_s
        while any(s.reader.under_way for s in self.readers):
            if self._clock.monotonic() >= deadline:
                log.info("some deliveries are still under way; their results come later")
                return
            await asyncio.sleep(DRAIN_LOOK_S)

    async def run(self) -> None:
        """Let connections and readers look at the clock, once a second, until cancelled.

        Meanwhile filters are asked for those that nobody reads, and what is too old expires.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._absences.run(), name="absences")
            group.create_task(self._sifter.run(), name="sifter")
            group.create_task(self._expirer.run(), name="expirer")
            await self._look_at_clock()

    async def _look_at_clock(self) -> None:
        while True:
            await asyncio.sleep(until_next(TICK_S, self._clock.monotonic()))
            now = self._clock.monotonic()
            if not self._store.is_heard():  # another server begins to run them
                for forward in list(self._forwards):
                    forward.go_away("the store's database does not answer", AFTER_ERROR_S)
            self.readers.look(now)
            ticks = [peer.tick for peer in (*self._peers, *self._forwards)]
            ticks += [served.reader.tick for served in self.readers]
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
        self._expirer.close()
        for served in self.readers:
            self.readers.stop(served.reader.subscription.number)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._promotions.close()
        await self._absences.close()
        await self._pauses.close()

    def _stored(self, change: EventsStored) -> None:
        documents = Documents(change.events)
        for reader in self.readers.of_channel(change.channel):
            reader.new_events(change, documents)

    def _channel_changed(self, change: ChannelChanged) -> None:
        for reader in self.readers.of_channel(change.channel.number):
            reader.configure(change.channel, reader.subscription)

    def _channel_gone(self, change: ChannelGone) -> None:
        self.readers.forget_channel(change.channel.number)
        for reader in self.readers.of_channel(change.channel.number):
            self._send_away(reader.subscription.number, "a channel was deleted")

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        subscription = change.subscription
        self._pauses.forget(subscription.number)
        self._joins.changed(subscription)
        if (served := self.readers.get(subscription.number)) is not None:
            served.reader.configure(served.reader.channel, subscription)

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._send_away(change.subscription, "the subscription was deleted")
        self.readers.forget(change.subscription)
        self.taken.forget(change.subscription)

    def note_under_way(self, number: SubscriptionNumber, sequence: int) -> None:
        """Have a delivery's first attempt recorded at once, if it is read here and under way."""
        if (served := self.readers.get(number)) is not None:
            served.reader.note_under_way(sequence)

    def _skipped(self, change: Skipped) -> None:
        if (served := self.readers.get(change.subscription)) is not None:
            served.reader.skip(change.up_to)

    def _given_up(self, change: GivenUp) -> None:
        self._joins.given_up(change)
        if (served := self.readers.get(change.subscription)) is not None:
            served.reader.give_up(change)

    def _token_revoked(self, change: TokenRevoked) -> None:
        for peer in [p for p in self._peers if p.token == change.name]:
            peer.revoked()

    def _replays_changed(self, change: ReplaysChanged) -> None:
        if (served := self.readers.get(change.subscription)) is not None:
            served.reader.replays_changed()

    def _claimed(self, change: Claimed) -> None:
        """Give up what another hub claimed after this one; its own claims find nothing served."""
        self._joins.claimed(change)
        self._absences.back(change.reader)
        self._give_up(change)

    def _give_up(self, claimed: Claimed) -> None:
        """Stop what another hub reads now; those that share come back, and are served by that."""
        served = self.readers.get(claimed.reader)
        if served is None or served.reader.claim.epoch >= claimed.epoch:
            return
        if served.shared and claimed.shared:
            self.taken.add(served.reader.subscription)
            self.readers.stop(claimed.reader)
            for peer in list(served.peers):
                peer.go_away(SHARED_ELSEWHERE, GONE_AWAY_S)
        else:
            self._lose(served.reader.subscription, host="")

    def _promoted(self, _change: Promoted) -> None:
        """No claim is to be relied on: all begin anew."""
        self._joins.promoted()
        stopped = list[Stopped]()
        for served in self.readers:
            reader = served.reader
            self.readers.stop(reader.subscription.number)
            stopped.append(Stopped(reader.subscription, reader.claim, served.peers, served.shared))
        if stopped:
            self._promotions.begin_anew(stopped)

    def _send_away(self, number: SubscriptionNumber, reason: str) -> None:
        if served := self.readers.get(number):
            for peer in list(served.peers):
                peer.go_away(reason, GONE_AWAY_S)

    def read_elsewhere(self, number: SubscriptionNumber) -> bool:
        """Whether another replica reads a subscription."""
        return number not in self.readers and self._store.read_elsewhere(number)

    def _is_read(self, number: SubscriptionNumber) -> bool:
        return number in self.readers or self._store.read_elsewhere(number)

    def _keeps_up(self, number: SubscriptionNumber) -> bool:
        served = self.readers.get(number)
        return self.read_elsewhere(number) if served is None else served.reader.keeps_up

    def _delivers(self, number: SubscriptionNumber) -> bool:
        """Whether anything of a subscription goes out, or is out."""
        served = self.readers.get(number)
        if served is None:
            return self.read_elsewhere(number)
        return served.reader.delivers or served.reader.under_way > 0

    def _left_out(self, number: SubscriptionNumber, spans: Sequence[Span]) -> None:
        if (served := self.readers.get(number)) is not None:
            served.reader.left_out(spans)

    async def _serve(
        self,
        subscription: Subscription,
        peer: Peer,
        joining: Joining,
        *,
        share: bool,
        forwards: bool = False,
    ) -> Reader:
        served = self.readers.get(subscription.number)
        if served is not None and served.shared and share:
            if peer not in served.peers:
                served.peers.append(peer)
            return served.reader
        if not self.begun:
            raise StoreUnavailable("the server waits for its store's database")
        # First, so that the old reader sends nothing once the new one may.
        self._lose(subscription, peer.host, but=peer)
        joining.number = subscription.number
        claim = await self._store.claim(subscription.number, shared=share)
        subscription = joining.changed or subscription
        channel = self._store.catalog.channels.get(subscription.channel)
        if claim is None or channel is None:
            raise ChannelNotFound(subscription.channel)
        if joining.void:
            raise StoreUnavailable(REASON)
        on_gone = functools.partial(self._pauses.pause, subscription)
        gate = functools.partial(self.gate, subscription.number)
        parts = self._clock, self._metrics, on_gone, self._tracing, self.on_ended, self.open_sealed
        reader = Reader(self._store, channel, subscription, claim, *parts, gate)
        speed = Speed(self._clock.monotonic(), reader.newest)
        self.readers.add(Served(reader, [peer], speed, shared=share, forwards=forwards))
        self.taken.forget(subscription.number)
        for change in joining.given_up:  # perhaps after the claim
            reader.give_up(change)
        if joining.claimed is not None:  # another hub was faster, and this one is told no more
            self._give_up(joining.claimed)
        return reader

    def _lose(self, subscription: Subscription, host: str, but: Peer | None = None) -> None:
        """Stop serving a subscription, and tell its peers, but for one, who has it now."""
        if served := self.readers.get(subscription.number):
            self.readers.stop(subscription.number)
            for peer in [p for p in served.peers if p is not but]:
                log.info("subscription taken over", host=host, **_facts(subscription))
                peer.taken_over(subscription.name, host)

    def _end(self, served: Served) -> None:
        """Nobody reads a subscription any more."""
        subscription = served.reader.subscription
        self.readers.stop(subscription.number)
        self._sifter.left(subscription.number)
        self._absences.left(subscription, served.reader.claim)

    def _ended(self, reader: Reader, task: asyncio.Task[None]) -> None:
        """A reader that failed must not leave a peer waiting for nothing: it comes back anew.

        Nor is anybody to join it who shares: it does nothing any more.
        """
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("a reader failed", channel=reader.channel.name, exc_info=error)
        served = self.readers.get(reader.subscription.number)
        if served is not None and served.reader is reader:
            for peer in list(served.peers):
                peer.go_away("the server met an error", AFTER_ERROR_S)
            self._end(served)


def _facts(subscription: Subscription) -> dict[str, str]:
    return {"channel": subscription.channel, "subscription": subscription.name}
