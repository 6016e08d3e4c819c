"""A store in memory: fast, forgetful, and held to the same contract. For tests and simulations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from relay_protocol.values import EventHead
from relay_server.configs import ORDINARY, ChannelConfig, SubscriptionConfig
from relay_server.errors import (
    ChannelExists,
    ChannelFull,
    ChannelNotFound,
    InvalidValue,
    ReplayNotFound,
    TokenExists,
    TokenNotFound,
    TooManyReplays,
    TooManySubscriptions,
)
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsStored,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.memory_reader import (
    Reader,
    first_of,
    has_ended,
    is_same,
    is_selected,
    newest,
    summary,
    weight,
)
from relay_server.store.memory_state import MemoryState
from relay_server.store.rules import MAX_RUNNING_REPLAYS, MAX_SUBSCRIPTIONS
from relay_server.values import (
    Appended,
    Catalog,
    Channel,
    ChannelNumber,
    ChannelStatus,
    Claim,
    DeadDelivery,
    DeliveryState,
    Event,
    EventSummary,
    MarkState,
    NewEvent,
    Outline,
    Progress,
    ReaderNumber,
    Removable,
    Replay,
    ReplayNumber,
    ReplayState,
    Selected,
    Selection,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)


class MemoryStore(MemoryState):
    """An `Store` that keeps nothing beyond its own life."""

    @property
    def catalog(self) -> Catalog:
        return Catalog(dict(self._channels), dict(self._tokens))

    async def append(self, channel: ChannelNumber, event: NewEvent) -> Appended:
        if channel not in self._events:
            raise ChannelNotFound(f"number {channel}")
        config = next(c.config for c in self._channels.values() if c.number == channel)
        known = self._sender_ids[channel, event.sender_id] if event.sender_id is not None else []
        same = [e for e in known if is_same(e, event)][-1:]
        for earlier in same:
            age_s = max(0, event.received_at - earlier.head.received_at) / 1_000
            if age_s < config.dedupe_window_s and not self._is_missed(earlier):
                return Appended(earlier.head.id, earlier.head.sequence, duplicate=True)
        limit = config.max_bytes
        size = weight(event.request, event.body)
        if limit is not None and self.usage(channel) + size > limit:
            if size <= limit:
                self._refused[channel] = max(size, self._refused[channel])
            raise ChannelFull(limit)
        self._last[channel] += 1
        sequence = self._last[channel]
        head = EventHead(
            event.id, sequence, event.received_at, event.key, event.kind, event.request
        )
        conflict = any(e.body != event.body for e in known)
        first = next((e.repeat_of or e.head.id for e in same), None)
        stored = Event(channel, head, event.body, conflict, first)
        self._events[channel][sequence] = stored
        if event.sender_id is not None:
            known.append(stored)
        self.feed.tell(EventsStored(channel, sequence, (stored,), (size,)))
        return Appended(event.id, sequence)

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        events = [e for s, e in self._events.get(channel, {}).items() if s > after]
        return [Outline(e.head.sequence, e.head.key, len(e.body)) for e in events[:limit]]

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        events = self._events.get(channel, {})
        return [events[sequence] for sequence in sequences if sequence in events]

    async def select(
        self, channel: ChannelNumber, replay: Replay, after: int, limit: int
    ) -> Selected:
        reader = self._readers.get(replay.subscription)
        events = [
            event
            for sequence, event in self._events.get(channel, {}).items()
            if after < sequence <= replay.until
            and reader is not None
            and is_selected(event, replay, reader)
        ]
        outlines = tuple(Outline(e.head.sequence, e.head.key, len(e.body)) for e in events[:limit])
        if len(events) > limit:
            return Selected(outlines, outlines[-1].sequence)
        return Selected(outlines, replay.until)

    async def claim(self, reader: ReaderNumber) -> Claim | None:
        found = self._readers.get(reader)
        if found is None or (found.replay and found.replay.state is not ReplayState.RUNNING):
            return None
        found.epoch += 1
        self.feed.tell(Claimed(reader, found.epoch))
        marks = tuple(m for s, m in sorted(found.marks.items()) if s > found.floor)
        return Claim(reader, found.epoch, Progress(found.floor, marks))

    def record(self, claim: Claim, progress: Progress) -> None:
        reader = self._readers.get(claim.reader)
        if reader is None or reader.epoch != claim.epoch:
            assert reader is None or claim.epoch < reader.epoch, "claimed from another store"
            if reader is not None:
                self.feed.tell(Claimed(claim.reader, reader.epoch))
            return
        assert progress.floor <= self._last[reader.channel], "settled before it was stored"
        if reader.replay is not None:
            if reader.replay.state is not ReplayState.RUNNING:
                return
            self._readers[reader.replay.subscription].hear_of_replay(
                progress, self._events[reader.channel]
            )
        reader.add(progress, self._events[reader.channel])

    async def flush(self) -> None:
        """Nothing is ever late here."""

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        if name in self._channels:
            raise ChannelExists(name)
        channel = self._channels[name] = Channel(self._number(), name, config, now)
        self._events[channel.number] = {}
        self._last[channel.number] = 0
        self.feed.tell(ChannelChanged(channel))
        return channel

    async def change_channel(
        self, name: str, change: Callable[[ChannelConfig], ChannelConfig]
    ) -> Channel:
        old = self._channel(name)
        channel = msgspec.structs.replace(old, config=change(old.config))
        self._channels[name] = channel
        self.feed.tell(ChannelChanged(channel))
        return channel

    async def delete_channel(self, name: str) -> None:
        channel = self._channel(name)
        number = channel.number
        del self._channels[name], self._events[number], self._last[number]
        self._readers = {n: r for n, r in self._readers.items() if r.channel != number}
        self.feed.tell(ChannelGone(channel))

    async def create_token(self, token: Token) -> None:
        if any(t.name == token.name for t in self._tokens.values()):
            raise TokenExists(token.name)
        self._tokens[token.digest] = token
        self.feed.tell(TokenMade(token))

    async def revoke_token(self, name: str) -> None:
        kept = {d: t for d, t in self._tokens.items() if t.name != name}
        if len(kept) == len(self._tokens):
            raise TokenNotFound(name)
        self._tokens = kept
        self.feed.tell(TokenRevoked(name))

    async def subscribe(
        self,
        channel: str,
        name: str,
        since: int | None,
        now: int,
        config: SubscriptionConfig = ORDINARY,
    ) -> tuple[Subscription, bool]:
        number = self._channel(channel).number
        mine = [r for r in self._subscribed() if r.channel == number]
        for reader in mine:
            if reader.subscription.name == name:
                return reader.subscription, False
        if len(mine) >= MAX_SUBSCRIPTIONS:
            raise TooManySubscriptions(channel, MAX_SUBSCRIPTIONS)
        start = self._sequence_before(number, since)
        subscription = Subscription(self._number(), channel, name, now, config)
        self._readers[subscription.number] = Reader(subscription, number, start, start)
        self.feed.tell(SubscriptionChanged(subscription))
        return subscription, True

    async def subscriptions(self, channel: str | None = None) -> Sequence[Subscription]:
        found = [reader.subscription for reader in self._subscribed()]
        wanted = [s for s in found if channel in (None, s.channel)]
        return sorted(wanted, key=lambda s: (s.channel, s.name))

    async def change_subscription(
        self,
        subscription: SubscriptionNumber,
        change: Callable[[SubscriptionConfig], SubscriptionConfig],
    ) -> Subscription:
        reader = self._reader(subscription)
        config = change(reader.subscription.config)
        reader.subscription = msgspec.structs.replace(reader.subscription, config=config)
        self.feed.tell(SubscriptionChanged(reader.subscription))
        return reader.subscription

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        self._readers = {
            number: reader
            for number, reader in self._readers.items()
            if reader.subscription.number != subscription
        }
        self.feed.tell(SubscriptionGone(subscription))

    async def create_replay(
        self,
        subscription: Subscription,
        selection: Selection,
        rate_per_s: float,
        now: int,
        made_by: str = "",
    ) -> Replay:
        reader = self._reader(subscription.number)
        if len(await self.replays(subscription.number, running=True)) >= MAX_RUNNING_REPLAYS:
            raise TooManyReplays(subscription.name, MAX_RUNNING_REPLAYS)
        start, until = self._bounds(reader, selection)
        replay = Replay(
            number=-self._number(),
            subscription=subscription.number,
            selection=selection,
            rate_per_s=rate_per_s,
            start=start,
            until=until,
            floor=start,
            state=ReplayState.RUNNING,
            created_at=now,
            made_by=made_by,
        )
        self._readers[replay.number] = Reader(
            reader.subscription, reader.channel, start, start, replay
        )
        self.feed.tell(ReplaysChanged(subscription.number))
        return replay

    async def replays(
        self, subscription: SubscriptionNumber | None = None, *, running: bool = False
    ) -> Sequence[Replay]:
        found = [self._replay(r) for _, r in sorted(self._readers.items()) if r.replay]
        return [
            replay
            for replay in found
            if subscription in (None, replay.subscription)
            and (replay.state is ReplayState.RUNNING or not running)
        ]

    async def replay(self, replay: ReplayNumber) -> Replay:
        reader = self._readers.get(replay)
        if reader is None or reader.replay is None:
            raise ReplayNotFound(-replay)
        return self._replay(reader)

    async def end_replay(self, replay: ReplayNumber, state: ReplayState, now: int) -> Replay:
        reader = self._readers.get(replay)
        if reader is None or reader.replay is None:
            raise ReplayNotFound(-replay)
        if reader.replay.state is ReplayState.RUNNING:
            reader.replay = msgspec.structs.replace(reader.replay, state=state, ended_at=now)
            reader.marks.clear()
        self.feed.tell(ReplaysChanged(reader.replay.subscription))
        return self._replay(reader)

    async def dead(
        self, subscription: SubscriptionNumber, after: int, limit: int
    ) -> Sequence[DeadDelivery]:
        reader = self._readers.get(subscription)
        if reader is None:
            return []
        events = self._events[reader.channel]
        marks = [m for s, m in sorted(reader.marks.items()) if s > after and s in events]
        return [
            DeadDelivery(
                subscription, summary(events[m.sequence]), m.reason, m.attempt, m.changed_at
            )
            for m in marks
            if m.state is MarkState.DEAD
        ][:limit]

    async def discard(
        self, subscription: SubscriptionNumber, sequences: Sequence[int], now: int
    ) -> int:
        reader = self._readers.get(subscription)
        if reader is None:
            return 0
        dead = [s for s in sequences if reader.state_of(s) is MarkState.DEAD]
        for sequence in dead:
            reader.set_state(sequence, MarkState.DISCARDED, now)
        return len(dead)

    async def channel_status(self) -> Sequence[ChannelStatus]:
        return [
            ChannelStatus(
                name,
                len(events),
                self.usage(channel.number),
                self._dropped[channel.number],
                newest(events),
            )
            for name, channel in sorted(self._channels.items())
            for events in [self._events[channel.number]]
        ]

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        wanted = None if only is None else frozenset(only)
        readers = sorted(
            (r for r in self._subscribed() if wanted is None or r.subscription.number in wanted),
            key=lambda r: (r.subscription.channel, r.subscription.name),
        )
        return [self._status(reader) for reader in readers]

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        events = self._events.get(channel, {}).items()
        older = [e for s, e in sorted(events, reverse=True) if before is None or s < before]
        return [summary(event) for event in older[:limit]]

    async def find_event(self, event: str) -> Event | None:
        stored = (e for events in self._events.values() for e in events.values())
        return next((e for e in stored if e.head.id == event), None)

    async def deliveries(
        self, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[Sequence[DeliveryState]]:
        return [self._deliveries(channel, sequence) for sequence in sequences]

    def usage(self, channel: ChannelNumber) -> int:
        events = self._events.get(channel, {}).values()
        return sum(weight(event.head.request, event.body) for event in events)

    def refused(self, channel: ChannelNumber) -> int:
        return self._refused.get(channel, 0)

    async def removable(
        self, channel: ChannelNumber, received_before: int | None, after: int, limit: int
    ) -> Removable:
        found = []
        for sequence, event in self._events.get(channel, {}).items():
            if received_before is not None and event.head.received_at >= received_before:
                continue
            if sequence > after and not self._is_needed(channel, sequence):
                found.append(sequence)
        if len(found) > limit:
            return Removable(tuple(found[:limit]), found[limit - 1])
        return Removable(tuple(found), None)

    async def remove(
        self, channel: ChannelNumber, sequences: Sequence[int], enough: int | None = None
    ) -> int:
        events = self._events.get(channel, {})
        deletable = [s for s in sequences if s in events and not self._is_needed(channel, s)]
        gone = first_of([events[s] for s in deletable], enough)
        for event in gone:
            self._forget(channel, event)
        return len(gone)

    async def drop_oldest(
        self, channel: ChannelNumber, limit: int, enough: int | None = None
    ) -> int:
        gone = first_of(list(self._events.get(channel, {}).values())[:limit], enough)
        for event in gone:
            self._dropped[channel] += self._is_needed(channel, event.head.sequence)
        for reader in self._subscribed():
            if reader.channel == channel and gone:
                reader.pass_by(gone[-1].head.sequence)
        for event in gone:
            self._forget(channel, event)
        return len(gone)

    async def forget_dead(
        self, channel: ChannelNumber, ended_before: int, limit: int, now: int
    ) -> int:
        count = 0
        for reader in [r for r in self._subscribed() if r.channel == channel]:
            for mark in list(reader.marks.values()):
                if (
                    mark.state is MarkState.DEAD
                    and mark.changed_at < ended_before
                    and count < limit
                ):
                    reader.set_state(mark.sequence, MarkState.DISCARDED, now)
                    count += 1
        self._readers = {
            number: reader
            for number, reader in self._readers.items()
            if reader.channel != channel or not has_ended(reader.replay, ended_before)
        }
        return count

    async def sweep(self, limit: int) -> bool:
        return False

    async def backup(self, file: Path) -> None:
        raise InvalidValue("a store in memory has nothing to back up")

    async def close(self) -> None:
        """There is nothing to let go of."""
