"""What changed since it was told last: noted as the store tells it, and no more than noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from relay_server.refusals import Group, Refusals
from relay_server.spans import Span
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    EventsStored,
    Feed,
    Progressed,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
)
from relay_server.values import (
    Attempt,
    Channel,
    ChannelNumber,
    Mark,
    ReaderNumber,
    Subscription,
    SubscriptionNumber,
)

MAX_MOVED = 10_000  # deliveries that move between two looks; of more none is told of
MAX_SKIPPED = 500  # newest ones that a filter left out at once; of older ones none is told of
MAX_REFUSED = 20  # groups of refused requests that are told of at once


class Moved(NamedTuple):
    """A delivery that is further than before: its newest mark and attempt, where there are any.

    One that has neither was left out by a filter; one that expired has that for an attempt.
    """

    mark: Mark | None = None
    attempt: Attempt | None = None


@dataclass(eq=False)
class Changes:
    """Each change once, however often it came.

    Attributes:
        stored: Channels that have new events.
        replayed: Subscriptions of which a replay began or ended: perhaps that of an edited event.
        moved: Deliveries, by reader and sequence.
        too_many: More of them moved than can be told of.
        changed: Subscriptions that were made or set anew.
        gone: Subscriptions that were deleted.
        channels: Channels that were made, set anew or, where it is true, deleted.
        refused: Groups of refused requests of which there are more.
    """

    stored: set[ChannelNumber] = field(default_factory=set)
    replayed: set[SubscriptionNumber] = field(default_factory=set)
    moved: dict[tuple[ReaderNumber, int], Moved] = field(default_factory=dict)
    too_many: bool = False
    changed: dict[SubscriptionNumber, Subscription] = field(default_factory=dict)
    gone: list[SubscriptionNumber] = field(default_factory=list)
    channels: dict[ChannelNumber, tuple[Channel, bool]] = field(default_factory=dict)
    refused: dict[Group, None] = field(default_factory=dict)


class News:
    """Listens for as long as somebody watches."""

    def __init__(self, feed: Feed, refusals: Refusals, wake: Callable[[], None]) -> None:
        self._feed, self._wake = feed, wake
        self._unlisten = [
            feed.listen(EventsStored, self._stored),
            feed.listen(ReplaysChanged, self._replays_changed),
            feed.listen(ChannelChanged, self._channel_changed),
            feed.listen(ChannelGone, self._channel_gone),
            feed.listen(SubscriptionChanged, self._subscription_changed),
            feed.listen(SubscriptionGone, self._subscription_gone),
            refusals.listen(self._refused),
        ]
        self._unlisten_progress: Callable[[], None] | None = None
        self._changes = Changes()

    def take(self) -> Changes:
        """What changed since it was taken last."""
        changes, self._changes = self._changes, Changes()
        return changes

    def put_back(self, changes: Changes) -> None:
        """Have its events and deliveries taken again, with what came meanwhile."""
        self._changes.stored |= changes.stored
        self._changes.replayed |= changes.replayed
        self._changes.moved = changes.moved | self._changes.moved

    def want_progress(self, wanted: bool) -> None:
        """Hear of deliveries, or not: there is much of it."""
        if wanted and self._unlisten_progress is None:
            self._unlisten_progress = self._feed.listen(Progressed, self._progressed)
        elif not wanted and self._unlisten_progress is not None:
            self._unlisten_progress()
            self._unlisten_progress = None

    def close(self) -> None:
        """Hear of nothing any more."""
        self.want_progress(False)
        for unlisten in self._unlisten:
            unlisten()

    def _stored(self, change: EventsStored) -> None:
        self._changes.stored.add(change.channel)
        self._wake()

    def _replays_changed(self, change: ReplaysChanged) -> None:
        self._changes.replayed.add(change.subscription)
        self._wake()

    def _progressed(self, change: Progressed) -> None:
        moved, reader = self._changes.moved, change.reader
        for attempt in change.attempts:
            key = reader, attempt.sequence
            moved[key] = Moved(moved.get(key, Moved()).mark, attempt)
        for mark in change.marks:
            key = reader, mark.sequence
            moved[key] = Moved(mark, moved.get(key, Moved()).attempt)
        for sequence in _newest(change.skipped, min(MAX_SKIPPED, MAX_MOVED // 2 - len(moved))):
            noted = moved.get((reader, sequence), Moved()).attempt
            is_late = noted is not None and noted.is_note
            moved[reader, sequence] = Moved(None, noted if is_late else None)
        if len(moved) > MAX_MOVED:
            self._changes.too_many = True
            moved.clear()
        self._wake()

    def _channel_changed(self, change: ChannelChanged) -> None:
        self._changes.channels[change.channel.number] = change.channel, False
        self._wake()

    def _channel_gone(self, change: ChannelGone) -> None:
        self._changes.channels[change.channel.number] = change.channel, True
        self._wake()

    def _subscription_changed(self, change: SubscriptionChanged) -> None:
        self._changes.changed[change.subscription.number] = change.subscription
        self._wake()

    def _subscription_gone(self, change: SubscriptionGone) -> None:
        self._changes.changed.pop(change.subscription, None)
        self._changes.gone.append(change.subscription)
        self._wake()

    def _refused(self, group: Group) -> None:
        if len(self._changes.refused) < MAX_REFUSED:
            self._changes.refused[group] = None
            self._wake()


def _newest(spans: Sequence[Span], limit: int) -> Iterator[int]:
    """The last of the sequences in spans, of which the last one comes first."""
    each = (sequence for first, last in reversed(spans) for sequence in range(last, first - 1, -1))
    return islice(each, max(0, limit))
