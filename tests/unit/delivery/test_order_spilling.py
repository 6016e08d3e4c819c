"""How much of a subscription is known at once, and what has spilled."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Self
from unittest.mock import patch

import pytest

from relay_server.configs import Policy
from relay_server.delivery import order as order_module
from relay_server.delivery.order import LANE_AHEAD, LOOK_AHEAD, MOST_KNOWN, Order
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK, outline
from tests.unit.delivery.support import HOLDER, STRICT, Line


class Effort:
    """Counts the lines of the order that run, its loops included."""

    def __init__(self) -> None:
        self.lines = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Effort | None:
        return self if frame.f_code.co_filename == order_module.__file__ else None

    def __call__(self, _frame: FrameType, event: str, _arg: object) -> Effort:
        self.lines += event == "line"
        return self


def effort(count: int, keys: int, marks: tuple[Mark, ...] = ()) -> int:
    """What it takes to load and finish so many deliveries."""
    order = Order(Claim(1, 1, Progress(0, marks)), Policy(), 0.0, START_MS)
    with Effort() as effort:
        for start in range(0, count, 500):
            piece = [outline(n, str(n % keys)) for n in range(start + 1, start + 501)]
            order.load(piece, 0.0, start, start + 500)
        while picked := order.pick(32):
            for entry in picked:
                order.begin(entry, HOLDER, 0.0)
            for entry in picked:
                order.finish(entry.sequence, HOLDER, OK, 0.0, 0.0)
            while (behind := order.behind) is not None:
                up_to = min(behind + 500, count)
                piece = [outline(n, str(n % keys)) for n in range(behind + 1, up_to + 1)]
                order.load(piece, 0.0, behind, up_to)
    assert (order.floor, order.unsettled) == (count, 0)
    return effort.lines


@pytest.mark.parametrize("one_key", [True, False])
def test_many_deliveries_cost_as_much_each_as_few(one_key: bool) -> None:
    few, many = (effort(count, 1 if one_key else count) for count in (1_000, 10_000))

    assert many < few * 10 * 1.5


def test_many_retries_that_became_due_cost_as_much_each_as_few() -> None:
    def due(count: int) -> tuple[Mark, ...]:
        sequences = range(1, count + 1)
        return tuple(Mark(s, MarkState.WAITING, 3, 3, START_MS - 1, START_MS) for s in sequences)

    few, many = (effort(count, 1, due(count)) for count in (500, 5_000))

    assert many < few * 10 * 2


def test_what_is_ready_is_counted_into_the_room_and_what_waits_is_not() -> None:
    """Neither what waits for its own retry, nor what waits in its key."""
    line = Line(*["a"] * 100, "b", policy=STRICT)
    assert (line.order.room, line.begin()) == (LOOK_AHEAD - 101, [1, 101])
    line.finish(1, BROKEN)
    assert (line.order.room, line.order.ahead) == (LOOK_AHEAD - 1, 1)

    line.load("a", "c")
    assert line.order.ahead == 2
    line.wait(5)
    assert line.order.ahead == 103
    for sequence in range(1, 101):
        assert sequence in line.begin()
        line.finish(sequence)
    assert line.order.ahead == 3


def test_little_room_is_none() -> None:
    """Each reading costs much the same, however little it brings."""
    line = Line(*(str(n) for n in range(LOOK_AHEAD // 2 + 1)))
    assert line.order.room == 0
    line.begin()
    line.finish(1)
    assert line.order.room == LOOK_AHEAD // 2


def test_one_that_waits_for_hours_makes_nothing_pile_up_behind_it() -> None:
    line = Line("a")
    line.fail(1, 5, 30, 0)
    for start in range(2, 5 * LOOK_AHEAD, 1_000):
        line.load(*(str(n) for n in range(start, start + 1_000)))
        while begun := line.begin():
            for sequence in begun:
                line.finish(sequence)
        line.marks()

    assert line.order.unsettled == 1
    assert len(line.order._unsettled) <= LOOK_AHEAD + 1_002
    assert line.order.floor == 0


# Lanes that spill


class Channel:
    """Events that a line reads in pieces.

    Attributes:
        line: Its reader.
        read: How many outlines were read, in all.
    """

    def __init__(self, keys: Sequence[str], line: Line) -> None:
        self.keys = keys
        self.line = line
        self.read = 0

    def load(self, size: int = 500) -> None:
        """Read on, and again what spilled, until the line knows enough."""
        order = self.line.order
        while order.read_up_to < len(self.keys) and order.room:
            self.piece(order.read_up_to, min(size, order.room))
        while (behind := order.behind) is not None:
            self.piece(behind, size)

    def piece(self, after: int, size: int) -> None:
        """Read all that there is of so many events."""
        up_to = min(after + size, len(self.keys))
        found = [outline(n, self.keys[n - 1]) for n in range(after + 1, up_to + 1)]
        self.read += len(found)
        self.line.order.load(found, self.line.now, after, up_to)

    def deliver(self) -> list[int]:
        """Deliver all that may go, until nothing may; in that order."""
        delivered = list[int]()
        while begun := self.line.begin():
            for sequence in begun:
                self.line.finish(sequence)
            delivered += begun
            self.load()
        return delivered


def a_stuck_conversation(count: int, others: int) -> Channel:
    """The first of so many events of a key fails; other keys come behind them all."""
    line = Line(policy=STRICT)
    channel = Channel(["stuck"] * count + [f"other {n}" for n in range(others)], line)
    channel.piece(0, 1)
    line.fail(1, 0)
    channel.load()
    return channel


def test_one_that_is_stuck_holds_up_no_other_however_long_it_is() -> None:
    channel = a_stuck_conversation(2 * MOST_KNOWN, others=3)
    order = channel.line.order

    assert order.unsettled <= LANE_AHEAD + 1 + 3
    assert channel.deliver() == [2 * MOST_KNOWN + n for n in (1, 2, 3)]
    assert (order.floor, order.read_up_to) == (0, 2 * MOST_KNOWN + 3)


def test_what_spilled_goes_in_order_once_its_key_goes_on() -> None:
    channel = a_stuck_conversation(5_000, others=50)
    assert len(channel.deliver()) == 50
    channel.line.wait(5)

    assert channel.deliver() == list(range(1, 5_001))
    assert (channel.line.order.floor, channel.line.order.unsettled) == (5_050, 0)
    assert channel.read <= 4 * 5_050, "once for the others, and again in large pieces"


def test_a_reader_that_takes_over_knows_what_had_spilled() -> None:
    channel = a_stuck_conversation(1_000, others=9)
    channel.deliver()
    marks = channel.line.marks().values()
    assert channel.line.order.floor == 0

    later = Channel(channel.keys, Line(policy=STRICT, marks=list(marks)))
    later.load()
    assert later.deliver() == []
    later.line.wait(5)
    assert later.deliver() == list(range(1, 1_001))
    assert later.line.order.floor == 1_009


def test_many_stuck_conversations_leave_room_for_another() -> None:
    """From half of what may be known on, a lane knows two deliveries and no more."""
    stuck = 2_000
    line = Line(policy=STRICT)
    keys = [str(n % stuck) for n in range(100 * stuck)]
    channel = Channel([*keys, "other"], line)
    for _ in range(1 + stuck // 99 + 1):
        channel.load()
        for sequence in line.begin():
            if sequence <= stuck:
                line.finish(sequence, BROKEN)
            else:
                assert sequence == len(channel.keys)
                line.finish(sequence)

    assert line.order.unsettled <= MOST_KNOWN
    assert line.order.read_up_to == len(channel.keys)
    assert line.marks()[len(channel.keys)].state is MarkState.DELIVERED


def test_when_very_many_wait_one_more_that_fails_blocks_its_key() -> None:
    """What waits is known, all of it: it must not fill the memory."""
    policy = Policy(hold_failures=0, hold_s=0.0)
    with patch.object(order_module, "MOST_KNOWN", 20):
        line = Line(*["a"] * 15, "b", policy=policy)
        for _ in range(30):
            for sequence in line.begin():
                line.finish(sequence, OK if sequence == 16 else BROKEN)

        waiting = [m for m in line.marks().values() if m.state is MarkState.WAITING]
        assert len(waiting) == 20 // 2 + 1
        line.wait(6)
        for _ in range(30):
            for sequence in line.begin():
                line.finish(sequence)
        assert line.order.floor == 16
