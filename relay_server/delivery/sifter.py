"""Asks the filters of subscriptions that nobody reads, so that nothing waits that is not meant.

A subscription's reader asks its filter. Where there is none, or it has no room to read on, or the
filter has changed and what its reader knows waits for its turn, the *sifter* does: behind the
store's feed, never before a webhook's answer.

    EventsStored, another filter, a reader that left ──▶ due ──sift──▶ record: skipped, floor

It begins at the floor, and goes on from where it came to while it lives. What it asks of is read by
the store's thread, a few milliseconds at a time; in between it rests four times as long, so that it
takes a fifth of a core at most, however far behind it is.

It claims nothing, so it takes a subscription from nobody: what it finds is recorded under the claim
that there is, and is what any reader under that would find. Once there is a newer claim, the store
drops it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.configs import SubscriptionConfig
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.filters.document import Document
from relay_server.filters.language import EVERYTHING, Filter, InvalidFilter, stored
from relay_server.spans import Span, gaps
from relay_server.store.feed import (
    ChannelGone,
    Claimed,
    EventsStored,
    SubscriptionChanged,
    SubscriptionGone,
)
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber, Claim, Progress, Subscription, SubscriptionNumber

log = structlog.get_logger()

COLLECT_S = 0.2  # new events are asked about together
REST = 4  # times what a look took, before the next one
SETTLE_S = 2.0  # that a client which connects waits for what is not meant to be found
FOUND_AT_ONCE = 512  # events that are meant, of one look


def filter_of(config: SubscriptionConfig) -> Filter:
    """What a subscription is set to get; everything where this version cannot read it any more."""
    try:
        return stored(config.filter)
    except InvalidFilter as exc:
        log.error(
            "a filter cannot be read: nothing is left out", filter=config.filter, exc_info=exc
        )
        return EVERYTHING


@dataclass(slots=True, eq=False)
class _Watched:
    """A subscription with a filter, and how far it was asked.

    Attributes:
        claim: Under which to record; None to begin anew.
        asked_up_to: The last sequence of which the filter was asked.
        floor: Everything up to this sequence is settled.
        settled: Marked so above that, when it began.
    """

    subscription: Subscription
    channel: ChannelNumber
    claim: Claim | None = None
    asked_up_to: int = 0
    floor: int = 0
    settled: frozenset[int] = frozenset()
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begin(self, claim: Claim) -> None:
        """Go on where a claim stands."""
        self.claim, progress = claim, claim.progress
        self.asked_up_to = self.floor = progress.floor
        self.settled = frozenset(m.sequence for m in progress.marks if m.state.settled)


class Sifter:
    """Settles what filters leave out, where no reader does.

    Args:
        is_read: Whether a reader of a subscription asks its filter, as fast as events come.
        left_out: Told what was left out; there may be a reader that knows of it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        is_read: Callable[[SubscriptionNumber], bool],
        left_out: Callable[[SubscriptionNumber, Sequence[Span]], None] = lambda *_: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._is_read = is_read
        self._left_out = left_out
        self._watched: dict[SubscriptionNumber, _Watched] = {}
        self._of_channel: defaultdict[ChannelNumber, dict[SubscriptionNumber, _Watched]]
        self._of_channel = defaultdict(dict)
        self._due: dict[SubscriptionNumber, _Watched] = {}
        self._wake = asyncio.Event()
        self._backoff = StoreBackoff(clock, "store did not answer where filters are asked")
        self._unlisten = [
            store.feed.listen(EventsStored, self._stored),
            store.feed.listen(SubscriptionChanged, lambda change: self.watch(change.subscription)),
            store.feed.listen(SubscriptionGone, lambda change: self._forget(change.subscription)),
            store.feed.listen(ChannelGone, self._channel_gone),
            store.feed.listen(Claimed, self._claimed),
        ]

    async def run(self) -> None:
        """Ask what is due, until cancelled."""
        while not await self._backoff.run(self._watch_all):  # noqa: ASYNC110  (of another thread)
            await asyncio.sleep(STORE_RETRY_S)
        while True:
            await self._wake.wait()
            await asyncio.sleep(COLLECT_S)
            self._wake.clear()
            while self._due:
                await self._round()

    def close(self) -> None:
        """Listen no more."""
        for unlisten in self._unlisten:
            unlisten()

    def watch(self, subscription: Subscription) -> None:
        """A subscription is there, or is set otherwise: if it has a filter, ask it anew."""
        known = self._watched.get(subscription.number)
        if known is not None and known.subscription.config.filter == subscription.config.filter:
            known.subscription = subscription
            return
        self._forget(subscription.number)
        channel = self._store.catalog.channels.get(subscription.channel)
        if channel is None or not subscription.config.filter:
            return
        watched = _Watched(subscription, channel.number)
        self._watched[subscription.number] = watched
        self._of_channel[channel.number][subscription.number] = watched
        self._is_due(watched)

    def left(self, number: SubscriptionNumber) -> None:
        """A subscription's reader is gone: begin anew where that came to."""
        if (watched := self._watched.get(number)) is not None:
            watched.claim = None
            self._is_due(watched)

    async def settle(self, number: SubscriptionNumber, within_s: float = SETTLE_S) -> None:
        """Ask of all there is now, or of as much as there is time for.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        watched, until = self._watched.get(number), self._clock.monotonic() + within_s
        while watched is not None and await self._look(watched):
            if self._clock.monotonic() >= until:
                return

    async def _watch_all(self) -> None:
        for subscription in await self._store.subscriptions():
            self.watch(subscription)

    async def _round(self) -> None:
        """One look for each that is due."""
        for number in list(self._due):
            began = self._clock.monotonic()
            if not await self._backoff.run(functools.partial(self._look_once, number)):
                await asyncio.sleep(STORE_RETRY_S)
                continue
            await asyncio.sleep(REST * (self._clock.monotonic() - began))

    async def _look_once(self, number: SubscriptionNumber) -> None:
        watched, again = self._due.pop(number, None), True
        if watched is None:
            return  # forgotten meanwhile
        try:
            again = await self._look(watched)
        except RelayError:
            raise
        except Exception as exc:
            again = False
            log.error("a filter could not be asked", subscription=number, exc_info=exc)
        finally:
            if again and self._is_watched(watched):
                self._due.setdefault(number, watched)

    async def _look(self, watched: _Watched) -> bool:
        """Ask of the next events; False where there are no more."""
        async with watched.lock:  # one who connects may ask meanwhile
            number = watched.subscription.number
            if (claim := watched.claim) is None:
                await self._store.flush_if_possible()  # what the last reader recorded is to be seen
                if (claim := await self._store.standing(number)) is None:
                    return False
                watched.begin(claim)
            wanted = filter_of(watched.subscription.config)
            found = await self._store.sift(
                watched.channel,
                number,
                watched.asked_up_to,
                FOUND_AT_ONCE,
                lambda event: wanted.matches(Document(event)),
            )
            # Another filter is asked instead by now: what came since is not for this one to judge.
            if found.read_up_to == watched.asked_up_to or not self._is_watched(watched):
                return False
            meant = [outline.sequence for outline in found.outlines]
            self._record(watched, claim, meant, found.read_up_to)
            return True

    def _record(self, watched: _Watched, claim: Claim, meant: list[int], up_to: int) -> None:
        skipped = tuple(gaps(watched.asked_up_to, up_to, meant))
        if watched.floor == watched.asked_up_to:  # nothing waits below
            waiting = [sequence for sequence in meant if sequence not in watched.settled]
            watched.floor = waiting[0] - 1 if waiting else up_to
        watched.asked_up_to = up_to
        if skipped:
            self._store.record(claim, Progress(watched.floor, skipped=skipped))
            self._left_out(watched.subscription.number, skipped)

    def _stored(self, change: EventsStored) -> None:
        for number, watched in self._of_channel.get(change.channel, {}).items():
            if number not in self._due and not self._is_read(number):
                self._is_due(watched)

    def _claimed(self, change: Claimed) -> None:
        if (watched := self._watched.get(change.reader)) is not None:
            watched.claim = None

    def _channel_gone(self, change: ChannelGone) -> None:
        for number in list(self._of_channel.get(change.channel.number, ())):
            self._forget(number)

    def _forget(self, number: SubscriptionNumber) -> None:
        watched = self._watched.pop(number, None)
        if watched is None:
            return
        self._due.pop(number, None)
        of_channel = self._of_channel[watched.channel]
        del of_channel[number]
        if not of_channel:
            del self._of_channel[watched.channel]

    def _is_watched(self, watched: _Watched) -> bool:
        """False once it was forgotten, or is watched with another filter."""
        return self._watched.get(watched.subscription.number) is watched

    def _is_due(self, watched: _Watched) -> None:
        self._due[watched.subscription.number] = watched
        self._wake.set()
