"""What a store answers without asking its backend: the same beside any of them.

It holds channels and tokens, what each channel takes, and the latest events, so that a live reader
costs no second read. It belongs to the event loop and is fed by the feed alone, before anybody else
is told: `catalog` is never older than a change that somebody heard of.

The latest events of a channel are a run without gaps up to its last one. What breaks the run
(events that another replica stored, and did not hand along) empties it: then they are read from
the backend.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from relay_server.store.feed import (
    BodiesDropped,
    ChannelChanged,
    ChannelGone,
    EventsRemoved,
    EventsStored,
    Feed,
    Promoted,
    TokenMade,
    TokenRevoked,
)
from relay_server.values import Catalog, Channel, ChannelNumber, Event, Outline, Token

MAX_EVENTS = 2_048  # newest events of a channel kept in memory
MAX_BYTES = 8_388_608  # their bodies and header fields together
MAX_ALL_EVENTS = 16_384  # of all channels: some 50 MB beside bodies and header fields
# Their bodies and header fields: the channel used longest ago goes first.
MAX_ALL_BYTES = 67_108_864


class Held:
    """What is known of one channel, and a run of its events without gaps, up to the last one.

    Attributes:
        last: Its last sequence.
        bytes: What its events take.
        arriving: Bytes that are on their way to the backend.
        refused: Bytes of the largest webhook that it had no room for, until some was made.
        kept: Bytes of the events in memory.
        window_ms: How long after an event the same webhook is its duplicate; 0 for never.
    """

    __slots__ = (
        *("_max_bytes", "_weights", "arriving", "bytes", "channel", "events"),
        *("kept", "last", "refused", "window_ms"),
    )

    def __init__(self, channel: Channel, last: int, size: int) -> None:
        self.configure(channel)
        self.last, self.bytes = last, size
        self.arriving = self.refused = self.kept = 0
        self.events: deque[Event] = deque()
        self._weights: deque[int] = deque()

    def configure(self, channel: Channel) -> None:
        """Have it as it is configured now; what each webhook asks of that is reckoned once."""
        self.channel = channel
        self.window_ms = round(channel.config.dedupe_window_s * 1_000)
        self._max_bytes = channel.config.max_bytes

    def full_at(self, weight: int) -> int | None:
        """The limit that so many bytes more would exceed; None where they fit."""
        limit = self._max_bytes
        return limit if limit is not None and self.bytes + self.arriving + weight > limit else None

    def refuse(self, weight: int, limit: int) -> None:
        """Note that there was no room for so many bytes; what never fits needs none."""
        if weight <= limit:
            self.refused = max(weight, self.refused)

    def add(self, events: Sequence[Event], weights: Sequence[int]) -> None:
        """Add the channel's next events; older ones fall out."""
        size = sum(weights)
        self.last += len(events)
        self.bytes += size
        self.events += events
        self._weights += weights
        self.kept += size
        while len(self.events) > MAX_EVENTS or self.kept > MAX_BYTES:
            self.events.popleft()
            self.kept -= self._weights.popleft()

    def drop(self, up_to: int | None = None) -> None:
        """Keep no events up to a sequence; none at all for None."""
        while self.events and (up_to is None or self.events[0].head.sequence <= up_to):
            self.events.popleft()
            self.kept -= self._weights.popleft()

    def outlines(self, after: int, limit: int) -> Sequence[Outline] | None:
        """The next events after a sequence, or None when some of them fell out."""
        start = self._index(after + 1)
        if start is None:
            return None
        stop = min(start + limit, len(self.events))
        return [
            Outline(event.head.sequence, event.head.key, len(event.body))
            for event in (self.events[i] for i in range(start, stop))
        ]

    def fetch(self, sequences: Iterable[int]) -> Sequence[Event] | None:
        """These events, or None when one of them is not here."""
        found = []
        for sequence in sequences:
            index = self._index(sequence)
            if index is None or index == len(self.events):
                return None
            found.append(self.events[index])
        return found

    def _index(self, sequence: int) -> int | None:
        if not self.events:
            return None
        index = sequence - self.events[0].head.sequence
        return index if 0 <= index <= len(self.events) else None


class Cache:
    """Channels, tokens, what each channel takes, and its latest events.

    Args:
        channels: Each with its last sequence and the bytes that its events take.
        tokens: All there are.
        feed: Listened to from now on.

    Attributes:
        catalog: Channels and tokens.
    """

    def __init__(
        self,
        channels: Iterable[tuple[Channel, int, int]],
        tokens: Iterable[Token],
        feed: Feed,
    ) -> None:
        # The one that was used last is at the end.
        self._channels = OrderedDict[ChannelNumber, Held]()
        self._events = self._kept = 0  # of all of them
        for channel, last, size in channels:
            self._channels[channel.number] = Held(channel, last, size)
        by_name = {held.channel.name: held.channel for held in self._channels.values()}
        self.catalog = Catalog(by_name, {token.digest: token for token in tokens})
        feed.listen(EventsStored, self._stored)
        feed.listen(EventsRemoved, self._removed)
        feed.listen(BodiesDropped, self._removed)
        feed.listen(Promoted, self._promoted)
        feed.listen(ChannelChanged, self._channel_changed)
        feed.listen(ChannelGone, self._channel_gone)
        feed.listen(TokenMade, self._token_made)
        feed.listen(TokenRevoked, self._token_revoked)

    def of(self, channel: ChannelNumber) -> Held | None:
        """What is held of a channel; None once it is gone."""
        return self._channels.get(channel)

    def channels(self) -> list[tuple[Channel, int, int]]:
        """Each channel with its last sequence and the bytes that its events take."""
        return [(held.channel, held.last, held.bytes) for held in self._channels.values()]

    def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline] | None:
        """The next events after a sequence; None where the backend must be asked."""
        held = self._used(channel)
        return () if held is None or after >= held.last else held.outlines(after, limit)

    def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event] | None:
        """These events; None where the backend must be asked."""
        held = self._used(channel)
        return held.fetch(sequences) if held else None

    def _used(self, channel: ChannelNumber) -> Held | None:
        """What is held of a channel, whose events are kept for longer than those of others now."""
        if (held := self._channels.get(channel)) is not None:
            self._channels.move_to_end(channel)
        return held

    def _stored(self, change: EventsStored) -> None:
        if (held := self._used(change.channel)) is None:
            return  # it was deleted meanwhile
        events, kept = len(held.events), held.kept
        if held.last + len(change.events) == change.up_to:  # they follow on it, without gaps
            held.add(change.events, change.weights)
        else:
            _catch_up(held, change)
        self._events += len(held.events) - events
        self._kept += held.kept - kept
        while self._events > MAX_ALL_EVENTS or self._kept > MAX_ALL_BYTES:
            self._drop(next(each for each in self._channels.values() if each.events))

    def _drop(self, held: Held, up_to: int | None = None) -> None:
        events, kept = len(held.events), held.kept
        held.drop(up_to)
        self._events += len(held.events) - events
        self._kept += held.kept - kept

    def _removed(self, change: EventsRemoved | BodiesDropped) -> None:
        held = self._channels.get(change.channel)
        if held is not None:
            held.bytes -= change.bytes
            held.refused = 0
            self._drop(held, change.up_to)

    def _promoted(self, _change: Promoted) -> None:
        """Sequences may have been given anew: how far each channel is comes with the next look."""
        for held in self._channels.values():
            self._drop(held)
            held.last = 0

    def _channel_changed(self, change: ChannelChanged) -> None:
        channel = change.channel
        channels = {**self.catalog.channels, channel.name: channel}
        self.catalog = Catalog(channels, self.catalog.tokens)
        self._channels.setdefault(channel.number, Held(channel, 0, 0)).configure(channel)

    def _channel_gone(self, change: ChannelGone) -> None:
        number = change.channel.number
        channels = {n: c for n, c in self.catalog.channels.items() if c.number != number}
        self.catalog = Catalog(channels, self.catalog.tokens)
        if (held := self._channels.pop(number, None)) is not None:
            self._drop(held)

    def _token_made(self, change: TokenMade) -> None:
        tokens = {**self.catalog.tokens, change.token.digest: change.token}
        self.catalog = Catalog(self.catalog.channels, tokens)

    def _token_revoked(self, change: TokenRevoked) -> None:
        tokens = {d: t for d, t in self.catalog.tokens.items() if t.name != change.name}
        self.catalog = Catalog(self.catalog.channels, tokens)


def _catch_up(held: Held, change: EventsStored) -> None:
    """Add what is new of events that were told before, or have others before or behind them."""
    for event, weight in zip(change.events, change.weights, strict=True):
        sequence = event.head.sequence
        if sequence <= held.last:
            continue  # told before
        if sequence > held.last + 1:
            held.drop()
            held.last = sequence - 1
        held.add((event,), (weight,))
    if change.up_to > held.last:
        held.drop()
        held.last = change.up_to
