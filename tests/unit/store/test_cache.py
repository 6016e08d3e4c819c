"""The latest events in memory say what they know, or that they do not."""

from __future__ import annotations

import pytest

from relay_server.configs import ChannelConfig
from relay_server.store import cache as module
from relay_server.store.cache import (
    MAX_ALL_BYTES,
    MAX_ALL_EVENTS,
    MAX_BYTES,
    MAX_EVENTS,
    Cache,
)
from relay_server.store.feed import ChannelGone, EventsRemoved, EventsStored, Feed
from relay_server.store.sql.positions import channel_of, first, last, position, sequence_of
from relay_server.values import Channel, Event
from tests.support.events import event_head


class Fed:
    """A cache of empty channels, and the feed that it listens to."""

    def __init__(self, channels: int = 1) -> None:
        self.feed = Feed()
        known = [(channel(number), 0, 0) for number in range(1, channels + 1)]
        self.cache = Cache(known, (), self.feed)

    def add(self, start: int, stop: int, size: int = 1, number: int = 1) -> None:
        """Have events from one sequence up to another stored."""
        for sequence in range(start, stop):
            event = Event(number, event_head(sequence, key=str(sequence)), b"x")
            self.feed.tell(EventsStored(number, sequence, (event,), (size,)))

    def outlines(self, after: int, limit: int = 10, number: int = 1) -> list[int] | None:
        """The sequences of those that are known; None where the backend must be asked."""
        found = self.cache.outlines(number, after, limit)
        return None if found is None else [outline.sequence for outline in found]

    def fetch(self, *sequences: int) -> list[int] | None:
        """As `outlines`, of whole events."""
        found = self.cache.fetch(1, sequences)
        return None if found is None else [event.head.sequence for event in found]

    def kept(self) -> list[int]:
        """The channels of which anything is in memory."""
        return [n for n, held in sorted(self.cache._channels.items()) if held.events]


def channel(number: int) -> Channel:
    return Channel(number, f"c{number}", ChannelConfig(), 0)


@pytest.fixture
def fed() -> Fed:
    """A cache of one channel."""
    return Fed()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four events of all channels are kept."""
    monkeypatch.setattr(module, "MAX_ALL_EVENTS", 4)


def test_of_a_channel_that_is_not_there_nothing_is_known(fed: Fed) -> None:
    assert fed.outlines(0, number=2) == []
    assert fed.cache.fetch(2, [1]) is None


def test_what_follows_a_sequence_is_known(fed: Fed) -> None:
    fed.feed.tell(EventsStored(1, 4))  # by another replica
    assert fed.outlines(0) is None

    fed.add(5, 9)

    assert fed.outlines(4, 2) == [5, 6]
    assert fed.outlines(6) == [7, 8]
    assert [(o.key, o.size) for o in fed.cache.outlines(1, 7, 1) or ()] == [("8", 1)]
    assert (fed.outlines(8), fed.outlines(9)) == ([], [])
    assert fed.outlines(3) is None
    assert fed.fetch(4) is None


def test_a_gap_ends_what_is_known_before_it(fed: Fed) -> None:
    fed.add(1, 3)
    fed.add(5, 7)
    assert (fed.outlines(2), fed.outlines(4)) == (None, [5, 6])

    fed.feed.tell(EventsStored(1, 9))

    assert fed.outlines(4) is None
    assert fed.fetch(5) is None


def test_what_is_told_twice_is_kept_once(fed: Fed) -> None:
    fed.add(1, 4)
    fed.add(2, 4)

    assert fed.outlines(0) == [1, 2, 3]
    held = fed.cache.of(1)
    assert held is not None
    assert held.bytes == 3


def test_several_that_are_told_as_one_are_kept_as_they_follow(fed: Fed) -> None:
    """Those that were told before are not kept again; a gap before them ends what was known."""
    for sequences in ((1, 2), (2, 3, 4), (4,), (6, 7)):
        events = tuple(Event(1, event_head(n, key=str(n)), b"x") for n in sequences)
        fed.feed.tell(EventsStored(1, sequences[-1], events, (1,) * len(events)))
        if sequences[0] < 6:
            assert fed.outlines(0) == list(range(1, sequences[-1] + 1))

    assert (fed.outlines(4), fed.outlines(5)) == (None, [6, 7])
    held = fed.cache.of(1)
    assert held is not None
    assert held.bytes == 6


def test_what_fell_out_or_is_still_to_come_is_not_known(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 4)
    fed.add(1, 9)

    assert fed.outlines(3) is None
    assert fed.outlines(4) == [5, 6, 7, 8]
    assert fed.fetch(8, 5) == [8, 5]
    for sequence in (4, 9, -1):
        assert fed.fetch(sequence) is None


def test_a_body_over_the_bound_is_not_kept_and_does_not_mislead(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 35)
    fed.add(1, 4, size=10)
    fed.add(4, 5, size=100)

    assert fed.outlines(0) is None
    assert fed.outlines(3) is None
    fed.add(5, 6)
    assert fed.outlines(4) == [5]
    assert fed.outlines(3) is None


def test_positions_keep_channels_apart() -> None:
    at = position(3, 12)

    assert (channel_of(at), sequence_of(at)) == (3, 12)
    assert first(3) < at < last(3) < first(4)
    for sequence in (1 << 40, 1 << 90, -1, -(1 << 90)):
        assert first(3) <= position(3, sequence) <= last(3)


# Of all channels together


@pytest.mark.usefixtures("few")
def test_the_channel_that_was_used_longest_ago_makes_room() -> None:
    fed = Fed(4)
    for number, sequence in ((1, 1), (2, 1), (3, 1), (1, 2)):
        fed.add(sequence, sequence + 1, number=number)
    assert fed.outlines(0, number=2) == [1], "a reader uses it, too"

    fed.add(1, 2, number=4)

    assert fed.kept() == [1, 2, 4]


@pytest.mark.usefixtures("few")
def test_what_was_deleted_leaves_room() -> None:
    fed = Fed(3)
    for number in (1, 2):
        fed.add(1, 3, number=number)
    fed.feed.tell(EventsRemoved(1, 1, 1))
    fed.feed.tell(ChannelGone(channel(2)))

    fed.add(1, 4, number=3)
    assert fed.kept() == [1, 3]

    fed.add(4, 5, number=3)
    assert fed.kept() == [3]


@pytest.mark.usefixtures("few")
def test_a_channel_that_made_room_begins_anew() -> None:
    fed = Fed(2)
    fed.add(1, 2)
    fed.add(1, 5, number=2)

    fed.add(2, 3)

    assert fed.outlines(0) is None, "the first is not known any more"
    assert fed.outlines(1) == [2]


@pytest.mark.parametrize(("weight", "fits"), [(1, MAX_EVENTS), (MAX_BYTES // 8, 8)])
def test_what_is_kept_of_a_channel_is_bounded_in_number_and_bytes(
    fed: Fed, weight: int, fits: int
) -> None:
    fed.add(1, fits + 2, weight)

    assert fed.outlines(0) is None, "the first fell out"
    assert len(fed.outlines(1, fits) or ()) == fits


@pytest.mark.parametrize(
    ("weight", "each", "fits"), [(1, MAX_EVENTS, MAX_ALL_EVENTS), (MAX_BYTES, 1, MAX_ALL_BYTES)]
)
def test_what_is_kept_of_all_channels_is_bounded(weight: int, each: int, fits: int) -> None:
    channels = fits // (each * weight)
    fed = Fed(channels + 1)
    for number in range(1, channels + 1):
        fed.add(1, each + 1, weight, number)
    assert 1 in fed.kept()

    fed.add(1, 2, weight, channels + 1)

    assert fed.kept() == list(range(2, channels + 2))
