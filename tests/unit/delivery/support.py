"""An order and its time; a reader between a store and a sink."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay_protocol.values import Delivery, Outcome
from relay_server.configs import Policy
from relay_server.delivery.lanes import Entry
from relay_server.delivery.order import Order
from relay_server.delivery.queue import Gate
from relay_server.delivery.reader import Reader
from relay_server.errors import StoreUnavailable
from relay_server.filters.document import Documents
from relay_server.metrics import Metrics
from relay_server.store.feed import EventsStored
from relay_server.values import (
    Channel,
    ChannelNumber,
    Claim,
    Event,
    Mark,
    Outline,
    Progress,
    ReaderNumber,
    Replay,
    ReplayNumber,
    ReplayState,
    Selected,
    Selection,
    Subscription,
    SubscriptionNumber,
)
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK, outline
from tests.support.sinks import FakeSink
from tests.support.stores import MemoryStore, append_many, make_channel
from tests.support.virtual_time import running_clock


class Shelf(MemoryStore):
    """A store in memory that can be away, and counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.away_for: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.lost: set[int] = set()
        self.damaged: set[int] = set()
        self.recorded: list[Progress] = []
        self.fetched: list[int] = []

    async def sift(
        self,
        channel: ChannelNumber,
        subscription: SubscriptionNumber,
        after: int,
        limit: int,
        is_meant: Callable[[Event], bool] | None,
    ) -> Selected:
        self._be_there_for("sift")
        return await super().sift(channel, subscription, after, limit, is_meant)

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        self._be_there_for("outlines")
        return await super().outlines(channel, after, limit)

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        self._be_there_for("fetch")
        events = await super().fetch(channel, [s for s in sequences if s not in self.lost])
        self.fetched.append(sum(len(event.body) for event in events))
        return [
            msgspec.structs.replace(e, damaged=True) if e.head.sequence in self.damaged else e
            for e in events
        ]

    def record(self, claim: Claim, progress: Progress) -> None:
        self.recorded.append(progress)
        super().record(claim, progress)

    async def select(
        self, channel: ChannelNumber, replay: Replay, after: int, limit: int
    ) -> Selected:
        self._be_there_for("select")
        return await super().select(channel, replay, after, limit)

    async def claim(self, reader: ReaderNumber, *, shared: bool = False) -> Claim | None:
        self._be_there_for("claim")
        return await super().claim(reader, shared=shared)

    async def replays(
        self, subscription: SubscriptionNumber | None = None, *, running: bool = False
    ) -> Sequence[Replay]:
        self._be_there_for("replays")
        return await super().replays(subscription, running=running)

    async def end_replay(self, replay: ReplayNumber, state: ReplayState, now: int) -> Replay:
        self._be_there_for("end_replay")
        return await super().end_replay(replay, state, now)

    def _be_there_for(self, what: str) -> None:
        self.asked[what] += 1
        if what in self.away_for:
            raise StoreUnavailable("the database is locked")


ORDINARY, STRICT = Policy(), Policy(strict_order=True)
HOLDER = object()


class Line:
    """An order and its time, perhaps beside others that share its keys.

    Args:
        keys: Of the first events, one each.
    """

    def __init__(
        self,
        *keys: str,
        policy: Policy = ORDINARY,
        shared: set[str] | None = None,
        floor: int = 0,
        marks: Iterable[Mark] = (),
    ) -> None:
        self.now = 0.0
        claim = Claim(1, 1, Progress(floor, tuple(marks)))
        self.order = Order(claim, policy, 0.0, START_MS, shared)
        self.load(*keys)

    def load(self, *keys: str) -> None:
        """Add the next events, each of its key."""
        first = self.order.read_up_to + 1
        self.feed([outline(sequence, key) for sequence, key in enumerate(keys, first)])

    def feed(self, outlines: Sequence[Outline]) -> None:
        """Add the next events."""
        after = self.order.read_up_to
        up_to = outlines[-1].sequence if outlines else after
        self.order.load(outlines, self.now, after, up_to)

    def pick(self, limit: int = 99) -> list[int]:
        """Sequences that may go now; they are put back."""
        picked = self.order.pick(limit)
        for entry in picked:
            self.order.put_back(entry)
        return [entry.sequence for entry in picked]

    def begin(self, holder: object = HOLDER) -> list[int]:
        """Begin all that may go."""
        picked = self.order.pick(99)
        return [e.sequence for e in picked if self.order.begin(e, holder, self.now)]

    def finish(self, sequence: int, outcome: Outcome = OK, holder: object = HOLDER) -> Entry | None:
        """A result comes, without jitter; None if it was late."""
        finished = self.order.finish(sequence, holder, outcome, self.now, 0.0)
        return finished[0] if finished else None

    def fail(self, sequence: int, *waits: float) -> None:
        """Fail again and again, each time after a while."""
        for seconds in waits:
            assert sequence in self.begin()
            self.finish(sequence, BROKEN)
            self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Time passes, and is looked at."""
        self.now += seconds
        self.order.tick(self.now)

    def marks(self) -> dict[int, Mark]:
        """What changed since the last time."""
        changed = self.order.changes(self.order.floor)
        return {m.sequence: m for m in sorted(changed, key=lambda m: m.sequence)}


@dataclass
class World:
    """A store with a channel and a subscription, and readers that come and go.

    Attributes:
        tick_s: A test of hours need not look at the clock each second, as the hub does.
        handed_along: New events come with the change that tells of them; those that another replica
            stored do not.
    """

    store: Shelf
    channel: Channel
    subscription: Subscription
    metrics: Metrics = field(default_factory=Metrics)
    everything: list[Delivery] = field(default_factory=list)
    tick_s: float = 1.0
    handed_along: bool = True

    @asynccontextmanager
    async def reader(self, *sinks: FakeSink, gate: Gate | None = None) -> AsyncIterator[Reader]:
        """A running reader, ticked as the hub does; stopped at the end."""
        claim = await self.store.claim(self.subscription.number)
        assert claim is not None
        clock = running_clock()
        parts = self.store, self.channel, self.subscription, claim, clock, self.metrics
        reader = Reader(*parts, gate=gate)
        for sink in sinks:
            sink.reader = reader
            reader.add(sink)
        unlisten = self.store.feed.listen(EventsStored, lambda change: self._tell(reader, change))
        running, ticking = (
            asyncio.create_task(reader.run()),
            asyncio.create_task(self._tick(reader)),
        )
        try:
            yield reader
        finally:
            unlisten()
            reader.stop()
            ticking.cancel()
            async with asyncio.timeout(20):
                await running
            self.everything += [delivery for sink in sinks for delivery in sink.got]

    def _tell(self, reader: Reader, change: EventsStored) -> None:
        if not self.handed_along:
            change = EventsStored(change.channel, change.up_to)
        reader.new_events(change, Documents(change.events))

    async def _tick(self, reader: Reader) -> None:
        while True:
            await asyncio.sleep(self.tick_s)
            reader.tick(running_clock().monotonic())

    async def replay(
        self, reader: Reader | None = None, rate_per_s: float = 1_000.0, **selection: Any
    ) -> Replay:
        """A replay that was asked for."""
        wanted = Selection(**selection)
        replay = await self.store.create_replay(self.subscription, wanted, rate_per_s, START_MS)
        if reader is not None:
            reader.replays_changed()
        return replay

    async def get_only(self, wanted: str) -> None:
        """Give the subscription another filter; who reads it hears of it as from the feed."""
        self.subscription = await self.store.change_subscription(
            self.subscription.number, lambda config: config.with_filter(wanted)
        )

    async def states(self, *sequences: int) -> list[str]:
        """What became of events for the subscription."""
        await self.store.flush()
        found = await self.store.deliveries(self.channel.number, sequences)
        return [next(s.state for s in states if not s.replay) for states in found]

    async def state(self, replay: Replay) -> Replay:
        """The replay as it is now."""
        [found] = [r for r in await self.store.replays() if r.number == replay.number]
        return found

    async def backlog(self) -> int:
        """How many are not settled, as the store knows it."""
        [status] = await self.store.subscription_status()
        return status.backlog


async def a_world(count: int = 0, key: str | None = None) -> World:
    """A world with so many events to be delivered."""
    store = Shelf()
    channel = await make_channel(store)
    subscription, _ = await store.subscribe(channel.name, "ana", None, 0)
    await append_many(store, channel, count, key)
    return World(store, channel, subscription)


def succeed(_: Delivery) -> Outcome:
    return OK


def turns(reader: Reader) -> Counter[str]:
    """Counts how often a reader looks for something to do, from now on."""
    count, turn = Counter[str](), reader._turn

    async def counted() -> None:
        count["turns"] += 1
        await turn()

    reader._turn = counted  # type: ignore[method-assign]
    return count
