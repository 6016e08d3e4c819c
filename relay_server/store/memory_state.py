"""What a store in memory holds, and the questions that its methods share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from relay_server.errors import (
    ChannelNotFound,
    SubscriptionNotFound,
)
from relay_server.store.feed import Feed
from relay_server.store.memory_reader import (
    Reader,
)
from relay_server.store.rules import CLOCK_JUMP_MS
from relay_server.store.space import Space
from relay_server.values import (
    Channel,
    ChannelNumber,
    DeliveryState,
    Event,
    MarkState,
    ReaderNumber,
    Replay,
    Selection,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)


class MemoryState:
    """Channels, tokens, events and readers."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._tokens: dict[bytes, Token] = {}
        self._events: dict[ChannelNumber, dict[int, Event]] = {}
        self._sender_ids: dict[tuple[ChannelNumber, str], list[Event]] = defaultdict(list)
        self._last: dict[ChannelNumber, int] = {}
        self._readers: dict[ReaderNumber, Reader] = {}
        self._dropped: dict[ChannelNumber, int] = defaultdict(int)
        self._refused: dict[ChannelNumber, int] = defaultdict(int)
        self._numbers = 0
        self.feed = Feed()
        self.space = Space()

    def _forget(self, channel: ChannelNumber, event: Event) -> None:
        sequence = event.head.sequence
        del self._events[channel][sequence]
        self._refused.pop(channel, None)
        for known in self._sender_ids.values():
            if event in known:
                known.remove(event)
        for reader in self._readers.values():
            if reader.channel == channel and reader.replay is None:
                reader.attempts = [a for a in reader.attempts if a.sequence != sequence]
                reader.forget(sequence)

    def _subscribed(self) -> list[Reader]:
        return [reader for reader in self._readers.values() if reader.replay is None]

    def _reader(self, number: SubscriptionNumber) -> Reader:
        reader = self._readers.get(number)
        if reader is None or reader.replay is not None:
            raise SubscriptionNotFound("", f"number {number}")
        return reader

    def _replay(self, reader: Reader) -> Replay:
        assert reader.replay is not None
        delivered = sum(attempt.delivered for attempt in reader.attempts)
        return msgspec.structs.replace(reader.replay, floor=reader.floor, delivered=delivered)

    def _is_missed(self, event: Event) -> bool:
        sequence, readers = event.head.sequence, self._subscribed()
        return any(
            r.start >= sequence or r.state_of(sequence) is MarkState.DISCARDED
            for r in readers
            if r.channel == event.channel
        )

    def _is_needed(self, channel: ChannelNumber, sequence: int) -> bool:
        return any(r.needs(sequence) for r in self._readers.values() if r.channel == channel)

    def _sequence_before(self, channel: ChannelNumber, since: int | None) -> int:
        if since is None:
            return self._last[channel]
        events = self._events[channel]
        begin = min(events, default=self._last[channel] + 1) - 1
        before = (s for s, e in events.items() if e.head.received_at < since)
        return max(before, default=begin)

    def _bounds(self, reader: Reader, wanted: Selection) -> tuple[int, int]:
        last = self._last[reader.channel]
        start = max((wanted.first or 1) - 1, min(wanted.sequences, default=1) - 1, 0)
        if wanted.received_from is not None:
            surely_before = wanted.received_from - CLOCK_JUMP_MS
            start = max(start, self._sequence_before(reader.channel, surely_before))
        if wanted.dead:
            dead = (s for s in reader.marks if reader.state_of(s) is MarkState.DEAD)
            start = max(start, min(dead, default=1) - 1)
        until = min(
            last,
            max(wanted.sequences, default=last),
            last if wanted.last is None else wanted.last,
        )
        return min(start, max(until, 0)), max(until, 0)

    def _deliveries(self, channel: ChannelNumber, sequence: int) -> Sequence[DeliveryState]:
        readers = [r for r in self._readers.values() if r.channel == channel]
        readers.sort(key=lambda r: (-r.replay.number, "") if r.replay else (0, r.subscription.name))
        states = []
        for reader in readers:
            state = reader.state(sequence)
            if reader.replay is not None and (state.attempts or sequence in reader.marks):
                states.append(msgspec.structs.replace(state, replay=-reader.replay.number))
            elif reader.replay is None and reader.start < sequence:
                states.append(state)
        return states

    def _status(self, reader: Reader) -> SubscriptionStatus:
        events = self._events[reader.channel]
        waiting = [e for s, e in events.items() if reader.waits_for(s)]
        dead = sum(mark.state is MarkState.DEAD for mark in reader.marks.values())
        settled = sum(m.state.settled for s, m in reader.marks.items() if s > reader.floor)
        backlog = max(0, self._last[reader.channel] - reader.floor - settled)
        oldest = waiting[0].head.received_at if waiting else None
        return SubscriptionStatus(reader.subscription, backlog, oldest, dead)

    def _channel(self, name: str) -> Channel:
        try:
            return self._channels[name]
        except KeyError:
            raise ChannelNotFound(name) from None

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
