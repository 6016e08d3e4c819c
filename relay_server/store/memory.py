"""A store in memory: fast, forgetful, and held to the same contract. For tests and simulations."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from relay_protocol.values import EventHead
from relay_server.errors import (
    ChannelExists,
    ChannelNotFound,
    InvalidValue,
    TokenExists,
    TokenNotFound,
)
from relay_server.store.base import Listener
from relay_server.values import (
    Appended,
    Attempt,
    Catalog,
    Channel,
    ChannelConfig,
    ChannelNumber,
    ChannelStatus,
    Claim,
    DeliveryState,
    Event,
    EventSummary,
    Mark,
    MarkState,
    NewEvent,
    Outline,
    Progress,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)


@dataclass(slots=True)
class _Reader:
    """A subscription's progress."""

    subscription: Subscription
    channel: ChannelNumber
    start: int
    floor: int
    epoch: int = 0
    marks: dict[int, Mark] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def add(self, progress: Progress) -> None:
        self.floor = max(self.floor, progress.floor)
        self.marks |= {mark.sequence: mark for mark in progress.marks}
        self.marks = {
            s: m for s, m in self.marks.items() if s > self.floor or m.state is MarkState.DEAD
        }
        tried = {(a.sequence, a.attempt) for a in progress.attempts}
        self.attempts = [a for a in self.attempts if (a.sequence, a.attempt) not in tried]
        self.attempts += progress.attempts

    def waits_for(self, sequence: int) -> bool:
        mark = self.marks.get(sequence)
        return sequence > self.floor and not (mark and mark.state.settled)

    def state(self, sequence: int) -> DeliveryState:
        tried = (a for a in self.attempts if a.sequence == sequence)
        attempts = tuple(sorted(tried, key=lambda a: a.attempt))
        mark = self.marks.get(sequence)
        if mark is not None:
            name, due_at = mark.state.name.lower(), mark.due_at
            return DeliveryState(self.subscription.name, name, attempts, mark.reason, due_at)
        state = "delivered" if sequence <= self.floor else "pending"
        return DeliveryState(self.subscription.name, state, attempts)


class MemoryStore:
    """An `EventStore` that keeps nothing beyond its own life."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._tokens: dict[bytes, Token] = {}
        self._events: dict[ChannelNumber, dict[int, Event]] = {}
        self._sender_ids: dict[tuple[ChannelNumber, str], list[Event]] = defaultdict(list)
        self._last: dict[ChannelNumber, int] = {}
        self._readers: dict[SubscriptionNumber, _Reader] = {}
        self._numbers = 0
        self._listeners: list[Listener] = []

    @property
    def catalog(self) -> Catalog:
        return Catalog(dict(self._channels), dict(self._tokens))

    async def append(self, channel: ChannelNumber, event: NewEvent) -> Appended:
        if channel not in self._events:
            raise ChannelNotFound(f"number {channel}")
        known = self._sender_ids[channel, event.sender_id] if event.sender_id is not None else []
        for earlier in known:
            if earlier.body == event.body:
                return Appended(earlier.head.id, earlier.head.sequence, duplicate=True)
        self._last[channel] += 1
        sequence = self._last[channel]
        head = EventHead(
            event.id, sequence, event.received_at, event.key, event.kind, event.request
        )
        stored = Event(channel, head, event.body, conflict=bool(known))
        self._events[channel][sequence] = stored
        if event.sender_id is not None:
            known.append(stored)
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener, channel)
        return Appended(event.id, sequence)

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        events = [e for s, e in self._events.get(channel, {}).items() if s > after]
        return [Outline(e.head.sequence, e.head.key, len(e.body)) for e in events[:limit]]

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        events = self._events.get(channel, {})
        return [events[sequence] for sequence in sequences if sequence in events]

    async def claim(self, subscription: SubscriptionNumber) -> Claim | None:
        reader = self._readers.get(subscription)
        if reader is None:
            return None
        reader.epoch += 1
        marks = tuple(m for s, m in sorted(reader.marks.items()) if s > reader.floor)
        return Claim(subscription, reader.epoch, Progress(reader.floor, marks))

    def record(self, claim: Claim, progress: Progress) -> None:
        reader = self._readers.get(claim.subscription)
        if reader is not None and reader.epoch == claim.epoch:
            reader.add(progress)

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def flush(self) -> None:
        """Nothing is ever late here."""

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        if name in self._channels:
            raise ChannelExists(name)
        channel = self._channels[name] = Channel(self._number(), name, config, now)
        self._events[channel.number] = {}
        self._last[channel.number] = 0
        return channel

    async def set_channel(self, name: str, config: ChannelConfig) -> Channel:
        channel = msgspec.structs.replace(self._channel(name), config=config)
        self._channels[name] = channel
        return channel

    async def delete_channel(self, name: str) -> None:
        number = self._channel(name).number
        del self._channels[name], self._events[number], self._last[number]
        self._readers = {n: r for n, r in self._readers.items() if r.channel != number}

    async def create_token(self, token: Token) -> None:
        if any(t.name == token.name for t in self._tokens.values()):
            raise TokenExists(token.name)
        self._tokens[token.digest] = token

    async def revoke_token(self, name: str) -> None:
        kept = {d: t for d, t in self._tokens.items() if t.name != name}
        if len(kept) == len(self._tokens):
            raise TokenNotFound(name)
        self._tokens = kept

    async def subscribe(
        self, channel: str, name: str, since: int | None, now: int
    ) -> tuple[Subscription, bool]:
        number = self._channel(channel).number
        for reader in self._readers.values():
            if (reader.channel, reader.subscription.name) == (number, name):
                return reader.subscription, False
        start = self._last[number]
        if since is not None:
            earlier = [s for s, e in self._events[number].items() if e.head.received_at < since]
            start = max(earlier, default=0)
        subscription = Subscription(self._number(), channel, name, now)
        self._readers[subscription.number] = _Reader(subscription, number, start, start)
        return subscription, True

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        self._readers.pop(subscription, None)

    async def channel_status(self) -> Sequence[ChannelStatus]:
        return [
            ChannelStatus(name, len(events), _newest(events))
            for name, channel in sorted(self._channels.items())
            for events in [self._events[channel.number]]
        ]

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        wanted = None if only is None else frozenset(only)
        readers = sorted(
            (r for n, r in self._readers.items() if wanted is None or n in wanted),
            key=lambda r: (r.subscription.channel, r.subscription.name),
        )
        return [self._status(reader) for reader in readers]

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        events = self._events.get(channel, {}).items()
        older = [e for s, e in sorted(events, reverse=True) if before is None or s < before]
        return [_summary(event) for event in older[:limit]]

    async def find_event(self, event: str) -> Event | None:
        stored = (e for events in self._events.values() for e in events.values())
        return next((e for e in stored if e.head.id == event), None)

    async def deliveries(self, channel: ChannelNumber, sequence: int) -> Sequence[DeliveryState]:
        readers = [r for r in self._readers.values() if r.channel == channel]
        readers.sort(key=lambda r: r.subscription.name)
        return [r.state(sequence) for r in readers if r.start < sequence]

    async def trim(self, channel: ChannelNumber, received_before: int, limit: int) -> int:
        readers = [r for r in self._readers.values() if r.channel == channel]
        floor = min((r.floor for r in readers), default=self._last.get(channel, 0))
        dead = {s for r in readers for s, m in r.marks.items() if m.state is MarkState.DEAD}
        events = self._events.get(channel, {})
        old = [
            sequence
            for sequence, event in events.items()
            if sequence <= floor
            and event.head.received_at < received_before
            and sequence not in dead
        ][:limit]
        for sequence in old:
            self._forget(channel, events.pop(sequence))
        return len(old)

    async def backup(self, file: Path) -> None:
        raise InvalidValue("a store in memory has nothing to back up")

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _forget(self, channel: ChannelNumber, event: Event) -> None:
        for known in self._sender_ids.values():
            if event in known:
                known.remove(event)
        for reader in self._readers.values():
            if reader.channel == channel:
                reader.attempts = [a for a in reader.attempts if a.sequence != event.head.sequence]

    def _status(self, reader: _Reader) -> SubscriptionStatus:
        events = self._events[reader.channel]
        waiting = [e for s, e in events.items() if reader.waits_for(s)]
        dead = sum(mark.state is MarkState.DEAD for mark in reader.marks.values())
        oldest = waiting[0].head.received_at if waiting else None
        return SubscriptionStatus(reader.subscription, len(waiting), oldest, dead)

    def _channel(self, name: str) -> Channel:
        try:
            return self._channels[name]
        except KeyError:
            raise ChannelNotFound(name) from None

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _newest(events: dict[int, Event]) -> int | None:
    return events[max(events)].head.received_at if events else None


def _summary(event: Event) -> EventSummary:
    head = event.head
    return EventSummary(
        head.id,
        head.sequence,
        head.received_at,
        head.kind,
        head.key,
        head.request.method,
        head.request.request_target,
        len(event.body),
        event.conflict,
    )
