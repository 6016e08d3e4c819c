"""When webhooks are taken, decided on figures alone."""

from __future__ import annotations

import pytest

from relay_server.store.space import Space
from relay_server.store.sqlite.space import (
    LOG_BYTES,
    MARGIN_BYTES,
    RESERVE_BYTES,
    Room,
    Step,
    can_fold,
    next_step,
)

MUCH = 1 << 40
ENOUGH = RESERVE_BYTES + MARGIN_BYTES


@pytest.mark.parametrize(
    ("room", "growth", "log_growth", "weight", "fits"),
    [
        (Room(10 + MARGIN_BYTES // 2, 0), 5, 2, 3, True),
        (Room(9 + MARGIN_BYTES // 2, 0), 5, 2, 3, False),
        (Room(7 + MARGIN_BYTES // 2, 3), 5, 2, 3, True),  # it finds its place inside
        (Room(6 + MARGIN_BYTES // 2, MUCH), 5, 2, 3, False),
    ],
)
def test_room_to_fold_the_log_counts_as_taken(
    room: Room, growth: int, log_growth: int, weight: int, fits: bool
) -> None:
    assert can_fold(room, growth, log_growth, weight, reserved=True) is fits
    held_none = Room(room.disk - MARGIN_BYTES // 2, room.spare)
    assert can_fold(held_none, growth, log_growth, weight, reserved=False) is fits


@pytest.mark.parametrize(
    ("room", "needed", "step"),
    [
        (Room(MUCH, 0), MARGIN_BYTES, Step.RESERVE),
        (Room(ENOUGH, 0), MARGIN_BYTES, Step.RESERVE),
        (Room(ENOUGH - 1, 0), MARGIN_BYTES, Step.WAIT),
        (Room(ENOUGH, 0), MARGIN_BYTES + 1, Step.WAIT),  # what did not fit was larger
        (Room(0, MUCH), MARGIN_BYTES, Step.WAIT),  # the log has no room
        (Room(LOG_BYTES, MARGIN_BYTES), MARGIN_BYTES, Step.TAKE),  # the database need not grow
        (Room(LOG_BYTES, MARGIN_BYTES - 1), MARGIN_BYTES, Step.WAIT),
        (Room(LOG_BYTES - 1, MARGIN_BYTES), MARGIN_BYTES, Step.WAIT),
        (Room(MUCH, 0, MARGIN_BYTES), MARGIN_BYTES, Step.RESERVE),
        (Room(MUCH, 0, MARGIN_BYTES - 1), MARGIN_BYTES, Step.WAIT),  # the cap
        (Room(MUCH, 1, MARGIN_BYTES - 1), MARGIN_BYTES, Step.RESERVE),
        (Room(MUCH, MARGIN_BYTES, -1), MARGIN_BYTES, Step.WAIT),  # it is above the cap already
        (Room(MUCH, MARGIN_BYTES + 1, -1), MARGIN_BYTES, Step.RESERVE),
    ],
)
def test_webhooks_are_taken_where_there_is_room(room: Room, needed: int, step: Step) -> None:
    assert next_step(room, needed) is step


def test_whoever_makes_room_hears_of_each_change() -> None:
    space, heard = Space(), list[tuple[bool, str]]()
    space.listen(lambda s: heard.append((s.taking, s.reason)))

    space.change("the disk is full")
    space.change("")

    assert heard == [(False, "the disk is full"), (True, "")]
