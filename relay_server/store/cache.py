"""What a store answers without asking its backend: the same beside any of them.

It holds channels and tokens, what each channel takes, and the latest events, so that a live reader
costs no second read. It belongs to the event loop and is fed by the feed alone, before anybody else
is told: `catalog` is never older than a change that somebody heard of.

The latest events of a channel are a run without gaps up to its last one. What breaks the run
(events that another replica stored, and did not hand along) empties it: then they are read from
the backend.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence

from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    EventsRemoved,
    EventsStored,
    Feed,
    TokenMade,
    TokenRevoked,
)
from relay_server.values import Catalog, Channel, ChannelNumber, Event, Outline, Token

MAX_EVENTS = 2_048  # newest events of a channel kept in memory
MAX_BYTES = 8_388_608  # their bodies and header fields together
MAX_ALL_EVENTS = 16_384  # of all channels: some 50 MB beside bodies and header fields
# Their bodies and header fields: the channel used longest ago goes first.
MAX_ALL_BYTES = 67_108_864


class Cache:
    """Channels, tokens, what each channel takes, and its latest events.

    Args:
        channels: Each with its last sequence and the bytes that its events take.
        tokens: All there are.
        feed: Listened to from now on.

    Attributes:
        catalog: Channels and tokens.
        arriving: Bytes that are on their way to the backend, by channel.
    """

    def __init__(
        self,
        channels: Iterable[tuple[Channel, int, int]],
        tokens: Iterable[Token],
        feed: Feed,
    ) -> None:
        by_name = dict[str, Channel]()
        self.arriving: defaultdict[ChannelNumber, int] = defaultdict(int)
        self._last: dict[ChannelNumber, int] = {}
        self._bytes: dict[ChannelNumber, int] = {}
        self._refused: dict[ChannelNumber, int] = {}
        self._channels: dict[ChannelNumber, Channel] = {}
        self._recent = RecentOfAll()
        for channel, last, size in channels:
            by_name[channel.name] = self._channels[channel.number] = channel
            self._last[channel.number], self._bytes[channel.number] = last, size
        self.catalog = Catalog(by_name, {token.digest: token for token in tokens})
        feed.listen(EventsStored, self._stored)
        feed.listen(EventsRemoved, self._removed)
        feed.listen(ChannelChanged, self._channel_changed)
        feed.listen(ChannelGone, self._channel_gone)
        feed.listen(TokenMade, self._token_made)
        feed.listen(TokenRevoked, self._token_revoked)

    def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline] | None:
        """The next events after a sequence; None where the backend must be asked."""
        if after >= self._last.get(channel, 0):
            return ()
        recent = self._recent.of(channel)
        return recent.outlines(after, limit) if recent else None

    def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event] | None:
        """These events; None where the backend must be asked."""
        recent = self._recent.of(channel)
        return recent.fetch(sequences) if recent else None

    def usage(self, channel: ChannelNumber) -> int:
        """Bytes that a channel's events take."""
        return self._bytes.get(channel, 0)

    def refused(self, channel: ChannelNumber) -> int:
        """Bytes of the largest webhook that a channel had no room for, until some is made."""
        return self._refused.get(channel, 0)

    def dedupe_window_ms(self, channel: ChannelNumber) -> int:
        """How long after an event the same webhook is its duplicate; 0 for never."""
        known = self._channels.get(channel)
        return round(known.config.dedupe_window_s * 1_000) if known else 0

    def full_at(self, channel: ChannelNumber, weight: int) -> int | None:
        """The limit of a channel that so many bytes more would exceed; None where they fit."""
        known = self._channels.get(channel)
        limit = known.config.max_bytes if known else None
        if limit is None:
            return None
        taken = self._bytes.get(channel, 0) + self.arriving[channel]
        return limit if taken + weight > limit else None

    def refuse(self, channel: ChannelNumber, weight: int, limit: int) -> None:
        """Note that there was no room for so many bytes; what never fits needs none."""
        if weight <= limit and channel in self._channels:
            self._refused[channel] = max(weight, self._refused.get(channel, 0))

    def arrived(self, channel: ChannelNumber, weight: int) -> None:
        """Count so many bytes as on their way no more; the channel may be gone by now."""
        self.arriving[channel] -= weight
        if channel not in self._channels:
            del self.arriving[channel]

    def _stored(self, change: EventsStored) -> None:
        channel, last = change.channel, self._last.get(change.channel)
        if last is None:
            return  # it was deleted meanwhile
        for event, weight in zip(change.events, change.weights, strict=True):
            if event.head.sequence <= last:
                continue  # told before
            if event.head.sequence > last + 1:
                self._recent.drop(channel)
            self._recent.add(event, weight)
            self._bytes[channel] += weight
            last = event.head.sequence
        if change.up_to > last:
            self._recent.drop(channel)
        self._last[channel] = max(last, change.up_to)

    def _removed(self, change: EventsRemoved) -> None:
        if change.channel in self._bytes:
            self._bytes[change.channel] -= change.bytes
            self._recent.forget(change.channel, change.up_to)
        self._refused.pop(change.channel, None)

    def _channel_changed(self, change: ChannelChanged) -> None:
        channel = change.channel
        channels = {**self.catalog.channels, channel.name: channel}
        self.catalog = Catalog(channels, self.catalog.tokens)
        self._channels[channel.number] = channel
        self._last.setdefault(channel.number, 0)
        self._bytes.setdefault(channel.number, 0)

    def _channel_gone(self, change: ChannelGone) -> None:
        number = change.channel.number
        channels = {n: c for n, c in self.catalog.channels.items() if c.number != number}
        self.catalog = Catalog(channels, self.catalog.tokens)
        self._recent.drop(number)
        for by_number in (self._last, self._bytes, self._refused, self.arriving):
            by_number.pop(number, None)
        self._channels.pop(number, None)

    def _token_made(self, change: TokenMade) -> None:
        tokens = {**self.catalog.tokens, change.token.digest: change.token}
        self.catalog = Catalog(self.catalog.channels, tokens)

    def _token_revoked(self, change: TokenRevoked) -> None:
        tokens = {d: t for d, t in self.catalog.tokens.items() if t.name != change.name}
        self.catalog = Catalog(self.catalog.channels, tokens)


class Recent:
    """A run of events without gaps, up to the channel's last; older ones fall out."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()
        self._weights: deque[int] = deque()

    @property
    def events(self) -> int:
        """How many there are."""
        return len(self._events)

    @property
    def bytes(self) -> int:
        """What they take."""
        return self._bytes

    def add(self, event: Event, weight: int) -> None:
        """Add the channel's newest event; `weight` is the bytes of its body and head."""
        self._events.append(event)
        self._weights.append(weight)
        self._bytes += weight
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self._events.popleft()
            self._bytes -= self._weights.popleft()

    def forget(self, up_to: int) -> None:
        """Events up to a sequence were deleted, some or all of them."""
        while self._events and self._events[0].head.sequence <= up_to:
            self._events.popleft()
            self._bytes -= self._weights.popleft()

    def outlines(self, after: int, limit: int) -> Sequence[Outline] | None:
        """The next events after a sequence, or None when some of them fell out."""
        start = self._index(after + 1)
        if start is None:
            return None
        stop = min(start + limit, len(self._events))
        return [
            Outline(event.head.sequence, event.head.key, len(event.body))
            for event in (self._events[i] for i in range(start, stop))
        ]

    def fetch(self, sequences: Sequence[int]) -> Sequence[Event] | None:
        """These events, or None when one of them is not here."""
        found = []
        for sequence in sequences:
            index = self._index(sequence)
            if index is None or index == len(self._events):
                return None
            found.append(self._events[index])
        return found

    def _index(self, sequence: int) -> int | None:
        if not self._events:
            return None
        index = sequence - self._events[0].head.sequence
        return index if 0 <= index <= len(self._events) else None


class RecentOfAll:
    """The latest events of every channel; those of the channels that were used last stay."""

    def __init__(self, max_events: int = MAX_ALL_EVENTS, max_bytes: int = MAX_ALL_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events = 0
        self._bytes = 0
        self._channels: OrderedDict[ChannelNumber, Recent] = OrderedDict()  # used last: at the end

    def __contains__(self, channel: ChannelNumber) -> bool:
        """Whether anything is kept of a channel."""
        return channel in self._channels

    def of(self, channel: ChannelNumber) -> Recent | None:
        """Those of a channel, if any are kept; only to be read."""
        if channel not in self._channels:
            return None
        self._channels.move_to_end(channel)
        return self._channels[channel]

    def add(self, event: Event, weight: int) -> None:
        """Add a channel's newest event; `weight` is the bytes of its body and head."""
        recent = self.of(event.channel)
        if recent is None:
            recent = self._channels[event.channel] = Recent()
        events, size = recent.events, recent.bytes
        recent.add(event, weight)
        self._events += recent.events - events
        self._bytes += recent.bytes - size
        while self._events > self._max_events or self._bytes > self._max_bytes:
            self.drop(next(iter(self._channels)))

    def forget(self, channel: ChannelNumber, up_to: int) -> None:
        """Events of a channel up to a sequence were deleted, some or all of them."""
        recent = self._channels.get(channel)
        if recent is not None:
            events, size = recent.events, recent.bytes
            recent.forget(up_to)
            self._events += recent.events - events
            self._bytes += recent.bytes - size

    def drop(self, channel: ChannelNumber) -> None:
        """Keep nothing of a channel."""
        recent = self._channels.pop(channel, None)
        if recent is not None:
            self._events -= recent.events
            self._bytes -= recent.bytes
