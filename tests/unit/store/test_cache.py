"""The latest events in memory say what they know, or that they do not."""

from __future__ import annotations

import pytest

from relay_server.store.cache import (
    MAX_ALL_BYTES,
    MAX_ALL_EVENTS,
    MAX_BYTES,
    MAX_EVENTS,
    Recent,
    RecentOfAll,
)
from relay_server.store.sqlite.positions import channel_of, first, last, position, sequence_of
from relay_server.values import Event
from tests.support.events import event_head


def recent_with(start: int, stop: int, size: int = 1, **limits: int) -> Recent:
    """Events from one sequence up to another."""
    recent = Recent(**limits)
    for sequence in range(start, stop):
        recent.add(Event(1, event_head(sequence, key=str(sequence)), b"x" * size), size)
    return recent


def test_nothing_is_known_of_a_channel_at_first() -> None:
    recent = Recent()

    assert recent.outlines(0, 10) is None
    assert recent.fetch([1]) is None


def test_what_follows_a_sequence_is_known() -> None:
    recent = recent_with(5, 9)

    assert [(o.sequence, o.key, o.size) for o in recent.outlines(4, 2) or ()] == [
        (5, "5", 1),
        (6, "6", 1),
    ]
    assert [o.sequence for o in recent.outlines(6, 10) or ()] == [7, 8]
    assert list(recent.outlines(8, 10) or ()) == []


def test_what_fell_out_is_not_known() -> None:
    recent = recent_with(1, 9, max_events=4)

    assert recent.outlines(3, 10) is None
    assert [o.sequence for o in recent.outlines(4, 10) or ()] == [5, 6, 7, 8]
    assert recent.fetch([4]) is None


def test_what_is_still_to_come_is_not_known() -> None:
    recent = recent_with(1, 3)

    assert recent.outlines(3, 10) is None
    assert recent.fetch([3]) is None
    assert recent.fetch([-1]) is None


def test_bodies_and_header_fields_are_bounded_together() -> None:
    recent = recent_with(1, 9, size=10, max_bytes=25)

    assert [e.head.sequence for e in recent.fetch([8, 7]) or ()] == [8, 7]
    assert recent.fetch([6]) is None


def test_a_body_over_the_bound_is_not_kept_and_does_not_mislead() -> None:
    recent = recent_with(1, 4, size=10, max_bytes=35)
    recent.add(Event(1, event_head(4), b"x" * 100), 100)

    assert recent.outlines(0, 10) is None
    assert recent.outlines(3, 10) is None
    recent.add(Event(1, event_head(5), b"x"), 1)
    assert [o.sequence for o in recent.outlines(4, 10) or ()] == [5]
    assert recent.outlines(3, 10) is None


def test_positions_keep_channels_apart() -> None:
    at = position(3, 12)

    assert (channel_of(at), sequence_of(at)) == (3, 12)
    assert first(3) < at < last(3) < first(4)
    for sequence in (1 << 40, 1 << 90, -1, -(1 << 90)):
        assert first(3) <= position(3, sequence) <= last(3)


# Of all channels together


def of_all(*events: tuple[int, int], size: int = 1, **limits: int) -> RecentOfAll:
    """Events given by channel and sequence, in the order they came."""
    recent = RecentOfAll(**limits)
    for channel, sequence in events:
        recent.add(Event(channel, event_head(sequence), b"x" * size), size)
    return recent


def test_the_channel_that_was_used_longest_ago_makes_room() -> None:
    recent = of_all((1, 1), (2, 1), (3, 1), (1, 2), max_events=4)
    assert recent.of(2) is not None, "a reader uses it, too"

    recent.add(Event(4, event_head(1), b""), 0)

    assert [channel for channel in range(1, 5) if channel in recent] == [1, 2, 4]


def test_bodies_of_all_channels_are_bounded_together() -> None:
    recent = of_all(*((channel, 1) for channel in range(1, 100)), size=10, max_bytes=35)

    assert [channel for channel in range(1, 100) if channel in recent] == [97, 98, 99]


def test_what_was_deleted_leaves_room() -> None:
    recent = of_all((1, 1), (1, 2), (2, 1), (2, 2), max_events=4)
    recent.forget(1, 1)
    recent.drop(2)

    for sequence in (3, 4, 5):
        recent.add(Event(3, event_head(sequence), b""), 0)

    assert 1 in recent
    assert recent.of(2) is None
    recent.add(Event(3, event_head(6), b""), 0)
    assert 1 not in recent


def test_a_channel_that_made_room_begins_anew() -> None:
    recent = of_all((1, 1), (2, 1), (1, 2), max_events=1)

    mine = recent.of(1)
    assert mine is not None
    assert mine.outlines(0, 10) is None, "the first is not known any more"
    assert [o.sequence for o in mine.outlines(1, 10) or ()] == [2]


@pytest.mark.parametrize(("weight", "fits"), [(1, MAX_EVENTS), (MAX_BYTES // 8, 8)])
def test_what_is_kept_of_a_channel_is_bounded_in_number_and_bytes(weight: int, fits: int) -> None:
    recent = Recent()
    for sequence in range(1, fits + 2):
        recent.add(Event(1, event_head(sequence), b""), weight)

    assert recent.outlines(0, 1) is None, "the first fell out"
    assert len(recent.outlines(1, fits) or ()) == fits


@pytest.mark.parametrize(
    ("weight", "each", "fits"), [(1, MAX_EVENTS, MAX_ALL_EVENTS), (MAX_BYTES, 1, MAX_ALL_BYTES)]
)
def test_what_is_kept_of_all_channels_is_bounded(weight: int, each: int, fits: int) -> None:
    recent = RecentOfAll()
    channels = fits // (each * weight)
    for channel in range(1, channels + 1):
        for sequence in range(1, each + 1):
            recent.add(Event(channel, event_head(sequence), b""), weight)
    assert 1 in recent

    recent.add(Event(channels + 1, event_head(1), b""), weight)

    assert [channel in recent for channel in (1, 2, channels + 1)] == [False, True, True]
