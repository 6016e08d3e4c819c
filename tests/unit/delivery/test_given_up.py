"""A delivery that somebody gives up while its reader lives: its conversation goes on at once."""

from __future__ import annotations

import pytest

from relay_protocol.values import Outcome, Response
from relay_server.store.feed import GivenUp
from relay_server.values import Mark, MarkState
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK
from tests.support.sinks import FakeSink
from tests.support.stores import append_many, deliveries
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import HOLDER, STRICT, Line, a_world

WHY = "given up by ana"
GONE = Response(410)


def test_the_key_goes_on_without_what_waits() -> None:
    """In strict order, too, where it would be held up until its attempts are used up."""
    line = Line("a", "a", "b", policy=STRICT)
    line.fail(1, 0)
    assert line.begin() == []

    line.order.give_up(1, WHY, line.now)

    assert line.begin() == [2]
    mark = line.marks()[1]
    assert (mark.state, mark.reason, mark.attempt) == (MarkState.DEAD, WHY, 1)
    line.wait(40_000)
    assert line.finish(2) is None  # its lease is over
    assert line.begin() == [2, 3]
    for sequence in (2, 3):
        line.finish(sequence)
    assert (line.order.floor, line.order.unsettled) == (3, 0)


@pytest.mark.parametrize(
    ("outcome", "ended"),
    [
        (OK, MarkState.DELIVERED),
        (BROKEN, MarkState.DEAD),
        (LOST, MarkState.DEAD),
        (DOWN, MarkState.DEAD),
        (GONE, MarkState.DEAD),
        (Response(404), MarkState.DEAD),
    ],
    ids=["taken", "broken", "lost", "down", "gone", "not-found"],
)
def test_what_is_under_way_ends_as_it_ends_and_is_tried_no_more(
    outcome: Outcome, ended: MarkState
) -> None:
    """A target that took it has it: that is said, also below the floor. All else stays dead."""
    line = Line("a", "a")
    line.fail(1, 5)
    assert line.begin() == [1]
    line.order.give_up(1, WHY, line.now)
    assert line.begin() == [], "one of a key at a time"
    assert line.marks()[1].state is MarkState.DEAD, "whoever takes over tries it no more"

    assert line.finish(1, outcome) is not None

    assert line.begin() == [2]
    mark = line.marks()[1]
    assert (mark.state, line.order.floor) == (ended, 1)
    assert (mark.reason == WHY) is (ended is MarkState.DEAD)


def test_what_was_picked_before_it_was_given_up_does_not_begin() -> None:
    line = Line("a", "a")
    line.fail(1, 5)
    [picked] = line.order.pick(9)
    line.order.give_up(1, WHY, line.now)

    assert not line.order.begin(picked, HOLDER, line.now)
    assert line.begin() == [2]


def test_one_that_was_never_read_since_is_passed() -> None:
    """Whoever claimed it before it was given up hears of it before its turn has come."""
    waiting = Mark(1, MarkState.WAITING, 2, 1, START_MS + 60_000)
    line = Line(marks=[waiting])
    line.order.give_up(1, WHY, line.now)

    line.load("a", "a")

    assert (line.begin(), line.order.floor) == ([2], 1)


def test_who_frees_it_says_when_it_died() -> None:
    """Whatever is recorded of it last has the reason and the time: it is listed by these."""
    line = Line("a")
    line.fail(1, 5)
    line.begin()
    line.order.give_up(1, WHY, line.now)
    line.order.close()

    mark = line.marks()[1]
    assert (mark.state, mark.reason, mark.changed_at) == (MarkState.DEAD, WHY, START_MS + 5_000)


@virtual_time
async def test_a_conversation_goes_on_at_once_for_a_live_reader() -> None:
    world = await a_world(3, "k")
    sink = FakeSink(lambda d: BROKEN if d.event.sequence == 1 else OK)

    async with world.reader(sink) as reader:
        world.store.feed.listen(GivenUp, reader.give_up)
        await until(lambda: sink.got and not sink.under_way)
        await settled()
        assert sink.attempts == [(1, 1)], "the others are held up"
        await world.store.flush()
        assert await world.store.give_up(world.subscription.number, [1], WHY, START_MS) == 1
        await until(lambda: len(sink.got) == 3, within_s=0.9)

    assert sink.sequences == [1, 2, 3]
    assert await world.states(1, 2, 3) == ["dead", "delivered", "delivered"]
    [first] = await deliveries(world.store, world.channel, 1)
    assert (first.reason, [a.status for a in first.attempts]) == (WHY, [500])
    assert await world.backlog() == 0


@virtual_time
async def test_what_its_target_took_meanwhile_is_delivered_in_the_store_too() -> None:
    """It is with the target for longer than a second, so that its mark is known; and then taken."""
    world = await a_world()
    await append_many(world.store, world.channel, 2, "k")
    sink = FakeSink()

    async with world.reader(sink) as reader:
        world.store.feed.listen(GivenUp, reader.give_up)
        number = world.subscription.number
        await until(lambda: any(p.marks for p in world.store.recorded))
        await world.store.flush()
        assert await world.store.give_up(number, [1], WHY, START_MS) == 1
        assert await world.states(1) == ["dead"]
        sink.script = lambda _: OK
        sink.answer_all(OK)
        await until(lambda: len(sink.got) == 2 and not sink.under_way)
        await settled()

    assert await world.states(1, 2) == ["delivered", "delivered"]
    assert await world.store.dead(number, 0, 9) == []
