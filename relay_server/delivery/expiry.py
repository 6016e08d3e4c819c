"""Deliveries that come too late to be worth anything: a channel's times to live, by kind of event.

What has outlived its time is settled as expired when its turn comes (`Queue.take`): a reader that
comes back after hours brings no stale chats. Where nothing can go out (nobody reads, no target is
there, or the subscription is paused) turns do not come, and what has expired would count as
waiting. There the `Expirer` settles it, behind the webhooks' way:

    each 5 s, each subscription of which nothing can go out:  floor ─▶ … ─▶ the first that is young

Times grow with sequences, so it walks once for each length of time there is, and stops where that
ends; a clock that jumped makes it wait, and nothing wrong. Like the sifter it claims nothing, reads
a few milliseconds at a time and rests in between. What it records is what any reader would.

Expired is skipped, with a note: the spans that filters write settle it, and an `Attempt` of number
0 says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from relay_protocol.values import EventHead
from relay_server.clock import Clock
from relay_server.configs import ChannelConfig
from relay_server.delivery.backoff import StoreBackoff
from relay_server.spans import Span, joined
from relay_server.store.feed import Claimed, SubscriptionGone
from relay_server.store.interface import Store
from relay_server.values import (
    EXPIRED,
    Attempt,
    Channel,
    Claim,
    Event,
    Progress,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

LOOK_S = 5.0  # between two looks for what has expired where nothing goes out
REST = 4  # times what a step took, before the next one
AT_ONCE = 512  # events of one step that have not expired


class Lifetimes:
    """How long events of each kind are worth delivering; of several that mean one the first counts.

    Args:
        rules: Kinds, of which `*` at the end stands for any end, and seconds.
    """

    def __init__(self, rules: Sequence[tuple[str, float]]) -> None:
        self.rules = tuple(rules)
        self.spans_s = sorted({lifetime_s for _, lifetime_s in rules})

    def of(self, kind: str) -> float | None:
        """The seconds of a kind; None for ever."""
        for pattern, lifetime_s in self.rules:
            if kind == pattern or (pattern[-1] == "*" and kind.startswith(pattern[:-1])):
                return lifetime_s
        return None

    def outlived(self, event: EventHead, now_ms: int) -> float | None:
        """The seconds that an event has outlived; None while it is worth delivering."""
        lifetime_s = self.of(event.kind)
        if lifetime_s is None or now_ms - event.received_at <= lifetime_s * 1_000:
            return None
        return lifetime_s


def lifetimes_of(config: ChannelConfig) -> Lifetimes | None:
    """A channel's times to live; None without any."""
    return Lifetimes(config.ttl) if config.ttl else None


def expired(sequence: int, lifetime_s: float, now_ms: int) -> Attempt:
    """The note that a delivery has outlived its time."""
    return Attempt.note(sequence, now_ms, EXPIRED, f"older than {lifetime_s:g} s")


@dataclass(slots=True, eq=False)
class _Walk:
    """How far a subscription was walked, for each length of time.

    Attributes:
        claim: Under which to record.
        floor: Everything up to this sequence is settled.
        settled: Marked so above that, when it began.
        reached: Up to where nothing is left that such a time could end for.
        again_at: When the first behind that expires, in Unix milliseconds.
    """

    claim: Claim
    rules: tuple[tuple[str, float], ...]
    floor: int
    settled: frozenset[int]
    reached: dict[float, int] = field(default_factory=dict)
    again_at: dict[float, int] = field(default_factory=dict)


class _Step:
    """What one step of a walk finds, event by event; called in the store's thread."""

    def __init__(self, lifetimes: Lifetimes, span_s: float, now_ms: int) -> None:
        self._lifetimes, self._span_s, self._now_ms = lifetimes, span_s, now_ms
        self.young: EventHead | None = None  # the first that only time keeps
        self.notes = list[Attempt]()

    def __call__(self, event: Event) -> bool:
        """Whether an event has still to be delivered."""
        head = event.head
        lifetime_s = self._lifetimes.outlived(head, self._now_ms)
        if lifetime_s is not None:
            self.notes.append(expired(head.sequence, lifetime_s, self._now_ms))
            return False
        if self.young is None and self._lifetimes.of(head.kind) == self._span_s:
            self.young = head
        return True


class Expirer:
    """Settles what has outlived its time where nothing can go out.

    Args:
        delivers: Whether a reader of a subscription has a sink that takes something.
        left_out: Told what was settled; there may be a reader that knows of it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        delivers: Callable[[SubscriptionNumber], bool],
        left_out: Callable[[SubscriptionNumber, Sequence[Span]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._delivers = delivers
        self._left_out = left_out
        self._walks: dict[SubscriptionNumber, _Walk] = {}
        self._backoff = StoreBackoff(clock, "store did not answer where events expire")
        self._unlisten = [
            store.feed.listen(Claimed, lambda change: self._forget(change.reader)),
            store.feed.listen(SubscriptionGone, lambda change: self._forget(change.subscription)),
        ]

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._backoff.run(self.look)

    def close(self) -> None:
        """Listen no more."""
        for unlisten in self._unlisten:
            unlisten()

    async def look(self) -> None:
        """Settle what has expired by now.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        for channel in list(self._store.catalog.channels.values()):
            if (lifetimes := lifetimes_of(channel.config)) is None:
                continue
            for subscription in await self._store.subscriptions(channel.name):
                if self._delivers(subscription.number):
                    self._forget(subscription.number)
                else:
                    await self._look_at(channel, subscription, lifetimes)

    async def _look_at(
        self, channel: Channel, subscription: Subscription, lifetimes: Lifetimes
    ) -> None:
        number = subscription.number
        walk = self._walks.get(number)
        if walk is None or walk.rules != lifetimes.rules:
            walk = await self._begin(number, lifetimes)
        for span_s in lifetimes.spans_s:
            while walk is not None and self._is_due(walk, channel, span_s):
                began = self._clock.monotonic()
                await self._step(walk, channel, lifetimes, span_s)
                await asyncio.sleep(REST * (self._clock.monotonic() - began))
                if self._walks.get(number) is not walk or self._delivers(number):
                    return  # claimed meanwhile, or its reader goes on

    async def _begin(self, number: SubscriptionNumber, lifetimes: Lifetimes) -> _Walk | None:
        await self._store.flush_if_possible()  # what the last reader recorded is to be seen
        self._forget(number)
        claim = await self._store.standing(number)
        if claim is None:
            return None
        progress = claim.progress
        settled = frozenset(m.sequence for m in progress.marks if m.state.settled)
        self._walks[number] = _Walk(claim, lifetimes.rules, progress.floor, settled)
        return self._walks[number]

    def _is_due(self, walk: _Walk, channel: Channel, span_s: float) -> bool:
        if walk.again_at.get(span_s, 0) > self._clock.unix_ms():
            return False
        return walk.reached.get(span_s, walk.claim.progress.floor) < self._store.newest(
            channel.number
        )

    async def _step(
        self, walk: _Walk, channel: Channel, lifetimes: Lifetimes, span_s: float
    ) -> None:
        """Walk on for one length of time, as far as one look goes."""
        after = walk.reached.get(span_s, walk.claim.progress.floor)
        newest = self._store.newest(channel.number)
        step = _Step(lifetimes, span_s, self._clock.unix_ms())
        reader = walk.claim.reader
        found = await self._store.sift(channel.number, reader, after, AT_ONCE, step)
        up_to = max(found.read_up_to, after)
        if step.young is not None:
            up_to = step.young.sequence - 1
            walk.again_at[span_s] = step.young.received_at + round(span_s * 1_000) + 1
        elif found.read_up_to == after:
            up_to = newest  # the rest is gone
        if walk.floor == after:  # nothing waits below
            waits = (o.sequence for o in found.outlines if o.sequence not in walk.settled)
            walk.floor = min(next(waits, up_to + 1) - 1, up_to)
        walk.reached[span_s] = up_to
        self._record(walk, step.notes)

    def _record(self, walk: _Walk, notes: Sequence[Attempt]) -> None:
        notes = [note for note in notes if note.sequence not in walk.settled]
        if notes:
            spans = joined(Span(note.sequence, note.sequence) for note in notes)
            progress = Progress(walk.floor, attempts=tuple(notes), skipped=tuple(spans))
            self._store.record(walk.claim, progress)
            self._left_out(walk.claim.reader, spans)

    def _forget(self, number: SubscriptionNumber) -> None:
        self._walks.pop(number, None)
