"""The latest events, kept in memory so that a live reader costs no second read."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from relay_server.values import ChannelNumber, Event, Outline

MAX_EVENTS = 2_048  # of a channel
MAX_BYTES = 8_388_608  # their bodies and header fields together
MAX_ALL_EVENTS = 16_384  # of all channels: some 50 MB beside bodies and header fields
MAX_ALL_BYTES = 67_108_864


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
