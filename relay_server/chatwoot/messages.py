"""Reads Chatwoot's messages behind the webhooks' way: which come twice, and which go in a loop.

    EventsStored ──messages──▶ due ──each `LOOK_S`──▶ told before? ─▶ noted, for who gets both
              │                                 └──▶ chains
              └──one of a chain, and of those on trial: before any reader──▶ a trial ─▶ paused

What comes within `LOOK_S` is looked at together, because to wake up costs more than to look, and no
more than `MOST_AT_ONCE` of it. Those that may go on a chain, and those of a conversation that is on
trial, are looked at before readers hear of them, so that they can be held back (`loops`). Of a
channel that nobody reads none is. What is known of messages is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import structlog

from relay_protocol.errors import RelayError
from relay_server.chatwoot.loops import Chain, Said, Trial, Verdict
from relay_server.clock import Clock, until_next
from relay_server.configs import SenderKind
from relay_server.delivery.hub import Hub
from relay_server.delivery.once import KINDS, MAX_BODY_BYTES, TOGETHER_MS, Told, told_by
from relay_server.delivery.sifter import filter_of
from relay_server.filters.document import Document
from relay_server.store.feed import EventsStored, SubscriptionGone
from relay_server.store.interface import Store
from relay_server.values import (
    LOOPS,
    ChannelNumber,
    Event,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

Key = TypeVar("Key")
Value = TypeVar("Value")
Talk = tuple[ChannelNumber, str]  # a conversation, by its key

LOOK_S = 0.25  # between two looks at what came
MOST_AT_ONCE = 25  # messages of one look; of more the newest
MAX_FAMILIES = 4_096  # messages that are known, of all channels; the oldest goes then
MAX_TALKS = 1_024  # conversations whose last messages are known; the same
MAX_TRIALS = 8  # at once; a loop that finds no place goes on until one is free
TWICE_S = 86_400.0  # for which is told that messages come twice
AGAIN_S = 60.0  # between two looks at who gets a channel's messages twice


# In a row before the next is held back; by the type of who wrote them. People often write twice.
ALWAYS_IN_A_ROW = {"agent_bot": 1}
OTHERS_IN_A_ROW = 2  # of a bot that posts with an agent's token, too


class _First(NamedTuple):
    sequence: int
    id: str
    received_at: int


class _Twice(NamedTuple):
    ids: tuple[str, str]
    until: float


@dataclass(frozen=True, slots=True)
class _OnTrial:
    """A subscription that may be what a chain of messages in a conversation comes from."""

    store: Store
    hub: Hub
    subscription: Subscription
    talk: Talk

    def release(self, up_to: int | None) -> None:
        """Hold back what is above a sequence, and nothing else; None for nothing at all."""
        self.hub.hold_back(self.subscription.number, self.talk[1], up_to)

    async def had(self, sequence: int, before_ms: int) -> bool:
        """Whether its target had an event before a moment; one that is under way it has."""
        await self.store.flush_if_possible()
        [states] = await self.store.deliveries(self.talk[0], [sequence])
        return any(
            state.state == "under_way"
            or any(a.delivered and a.started_at <= before_ms for a in state.attempts)
            for state in states
            if state.subscription == self.subscription.name and not state.replay
        )

    def pause(self) -> None:
        """Its bot is in a loop."""
        self.hub.pause(self.subscription, LOOPS.format(key=self.talk[1]))


class Messages:
    """Those of every channel that a Chatwoot posts to; `run` it with the server."""

    def __init__(self, store: Store, hub: Hub, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._due: dict[Talk, Event] = {}  # the last one of each conversation, oldest first
        self._wake = asyncio.Event()
        self._doubled: dict[ChannelNumber, tuple[_First, Event]] = {}  # to be noted
        self._firsts: dict[tuple[ChannelNumber, bytes], _First] = {}
        self._chains: dict[Talk, Chain] = {}
        self._trials: dict[Talk, Trial] = {}
        # How many a sender may write in a row that come of no delivery to a subscription.
        self._cleared: dict[tuple[SubscriptionNumber, str], int] = {}
        self._twice: dict[SubscriptionNumber, _Twice] = {}
        self._looked_at: dict[ChannelNumber, float] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._unlisten = [
            store.feed.listen(EventsStored, self._stored, first=True),
            store.feed.listen(SubscriptionGone, self._gone),
        ]
        hub.told_twice = self.told_twice

    def told_twice(self, number: SubscriptionNumber) -> tuple[str, ...]:
        """Ids of two events that told a subscription one message lately; empty without any."""
        found = self._twice.get(number)
        return found.ids if found and found.until > self._clock.monotonic() else ()

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(until_next(LOOK_S, self._clock.monotonic()))
            self._wake.clear()
            try:
                while self._due:
                    self._hear(self._due.pop(next(iter(self._due))))
                while self._doubled:
                    await self._note_twice(*self._doubled.popitem()[1])
            except Exception as exc:  # what a body may do to it must not end the server
                log.error("a message was not looked at", exc_info=exc)

    async def close(self) -> None:
        """Listen no more, and try nothing."""
        for unlisten in self._unlisten:
            unlisten()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stored(self, change: EventsStored) -> None:
        told = [one for one in change.events if one.head.kind == KINDS[0]]
        if not told or not self._hub.readers.is_read(change.channel):
            return
        channel = self._store.catalog.numbered(change.channel)
        if channel is None or channel.config.sender is not SenderKind.CHATWOOT:
            return
        for event in told:
            if len(event.body) <= MAX_BODY_BYTES:
                self._take(event)

    def _take(self, event: Event) -> None:
        talk = event.channel, event.head.key
        if talk in self._trials:
            self._hear(event)
            return
        if (due := self._due.pop(talk, None)) is not None:
            self._hear(due)  # what this one may go on
        if not self._begin_trial(talk, event):
            _keep(self._due, talk, event, MOST_AT_ONCE)
            self._wake.set()

    def _gone(self, change: SubscriptionGone) -> None:
        self._twice.pop(change.subscription, None)

    def _hear(self, event: Event) -> None:
        """Take a message into its conversation, unless an event told it before."""
        if (told := told_by(event)) is not None:
            self._take_in(event, told)

    def _take_in(self, event: Event, told: Told) -> None:
        head, family = event.head, (event.channel, told.family)
        first = self._firsts.get(family)
        if first is None or head.received_at - first.received_at > TOGETHER_MS:
            first = _First(head.sequence, head.id, head.received_at)
            _keep(self._firsts, family, first, MAX_FAMILIES)
            self._follow(event, told.by)
        elif first.sequence != head.sequence:
            self._doubled[event.channel] = first, event
            self._wake.set()

    def _follow(self, event: Event, by: str | None) -> None:
        head = event.head
        if by is None or not head.key:
            return
        talk, said = (event.channel, head.key), Said(head.sequence, head.received_at, by)
        if (trial := self._trials.get(talk)) is not None:
            trial.hear(said)
        if talk in self._chains:
            self._chains[talk].add(said)
        else:
            _keep(self._chains, talk, Chain(said), MAX_TALKS)

    async def _note_twice(self, first: _First, event: Event) -> None:
        """Keep who gets both, unless that was looked at a moment ago."""
        channel, now = self._store.catalog.numbered(event.channel), self._clock.monotonic()
        if channel is None or self._looked_at.get(channel.number, -AGAIN_S) > now - AGAIN_S:
            return
        self._looked_at[channel.number] = now
        twice, document = _Twice((first.id, event.head.id), now + TWICE_S), Document(event)
        for subscription in await self._store.subscriptions(channel.name):
            config = subscription.config
            if not config.once and filter_of(config).matches(document):
                if not self.told_twice(subscription.number):
                    facts = {"channel": channel.name, "subscription": subscription.name}
                    log.warning("messages come more than once", events=twice.ids, **facts)
                self._twice[subscription.number] = twice

    def _begin_trial(self, talk: Talk, event: Event) -> bool:
        """Hold an event back if it goes on a chain, from whoever that may come of."""
        chain, channel = self._chains.get(talk), talk[0]
        if chain is None or not chain.may_go_on(event.head.received_at):
            return False
        first = chain.last
        usual = ALWAYS_IN_A_ROW.get(first.by.partition(" ")[0], OTHERS_IN_A_ROW)
        suspects = [
            _OnTrial(self._store, self._hub, one, talk)
            for one in self._hub.readers.subscriptions(channel)
            if one.config.pause_loops
            and not one.config.paused
            and chain.length >= self._cleared.get((one.number, first.by), usual)
        ]
        # What costs most last: this is before any reader hears of the event.
        if not suspects or len(self._tasks) >= MAX_TRIALS:
            return False
        told = told_by(event)
        if told is None or told.by != first.by or (channel, told.family) in self._firsts:
            return False
        self._take_in(event, told)
        for suspect in suspects:
            suspect.release(first.sequence)
        self._trials[talk] = trial = Trial(first, chain.last, suspects)
        task = asyncio.create_task(self._try(talk, trial, chain, suspects))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _try(
        self,
        talk: Talk,
        trial: Trial,
        chain: Chain,
        suspects: Sequence[_OnTrial],
    ) -> None:
        """Find the subscription whose bot a chain comes from, and pause that."""
        by = chain.last.by
        try:
            verdict = await trial.run()
            if verdict is Verdict.LOOP and trial.culprit is not None:
                trial.culprit.pause()
            if verdict is Verdict.CLEARED:
                for one in suspects:
                    of = one.subscription.number, by
                    _keep(self._cleared, of, chain.length, MAX_TALKS)
        except RelayError as exc:
            log.warning("whether a bot answers itself was not found out", error=str(exc))
        finally:
            del self._trials[talk]
            for one in suspects:
                one.release(None)


def _keep(kept: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Keep a value as the newest; of too many the oldest goes."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
