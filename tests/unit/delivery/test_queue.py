"""Where a queue's events come from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from relay_server.delivery import order as order_module
from relay_server.delivery import queue as queue_module
from relay_server.values import Outline, Replay, Selected
from tests.support.events import BROKEN, OK
from tests.support.sinks import FakeSink
from tests.support.stores import append_many
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import Shelf, a_world, succeed


@virtual_time
@pytest.mark.parametrize("bound", ["READ_AHEAD", "REPLAY_LOOK_AHEAD"])
async def test_so_much_is_read_at_once(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest a look later, so that a long way behind is no long wait for others."""
    monkeypatch.setattr(queue_module, bound, 4)
    asked: dict[str, list[int]] = {"READ_AHEAD": [], "REPLAY_LOOK_AHEAD": []}
    outlines, select = Shelf.outlines, Shelf.select

    async def outlined(store: Shelf, channel: int, after: int, limit: int) -> Sequence[Outline]:
        asked["READ_AHEAD"].append(limit)
        return await outlines(store, channel, after, limit)

    async def selected(
        store: Shelf, channel: int, replay: Replay, after: int, limit: int
    ) -> Selected:
        asked["REPLAY_LOOK_AHEAD"].append(limit)
        return await select(store, channel, replay, after, limit)

    monkeypatch.setattr(Shelf, "outlines", outlined)
    monkeypatch.setattr(Shelf, "select", selected)
    world, sink = await a_world(20), FakeSink(succeed)
    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 20)
        await world.replay(reader)
        await until(lambda: len(sink.got) == 40)

    assert max(asked[bound]) == 4
    assert len(asked[bound]) >= 5


@virtual_time
async def test_the_store_is_asked_for_outlines_only_when_there_may_be_new_ones() -> None:
    """Not with each result: that would double what a delivery costs the store."""
    world, sink = await a_world(20, "k"), FakeSink(succeed)

    async with world.reader(sink):
        await until(lambda: len(sink.got) == 20)
        assert world.store.asked["outlines"] <= 2
        assert len(world.store.fetched) == 20


@virtual_time
@pytest.mark.parametrize("handed_along", [True, False])
async def test_who_has_read_all_is_given_new_events_with_the_change_that_tells_of_them(
    handed_along: bool,
) -> None:
    """They are lent before the change is told to anybody else, and the store is not asked.

    Those that another replica stored, and did not hand along, are read.
    """
    world, sink = await a_world(2), FakeSink(succeed)
    world.handed_along = handed_along
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 2)
        world.store.asked.clear()
        lent = []
        for _ in range(3):
            await append_many(world.store, world.channel, 1)
            lent.append(len(sink.got))
            await settled()

    assert lent == ([3, 4, 5] if handed_along else [2, 3, 4])
    assert sink.sequences == [1, 2, 3, 4, 5]
    asked = [world.store.asked[what] for what in ("outlines", "fetch")]
    assert asked == ([0, 0] if handed_along else [3, 3])


@virtual_time
async def test_what_is_fed_while_the_store_is_asked_is_neither_lost_nor_twice() -> None:
    """The answer may say that there is nothing more, and be older than what was fed."""
    world, sink = await a_world(3), FakeSink(succeed)
    outlines, asked = world.store.outlines, asyncio.Event()

    async def slow(*question: int) -> Sequence[Outline]:
        answer = await outlines(*question)
        asked.set()
        await asyncio.sleep(1)
        return answer

    world.store.outlines = slow  # type: ignore[method-assign, assignment]
    async with world.reader(sink):
        await asked.wait()
        await append_many(world.store, world.channel, 2)
        await until(lambda: len(sink.got) == 5)
        await settled()

    assert sink.sequences == [1, 2, 3, 4, 5]
    assert await world.backlog() == 0


@virtual_time
async def test_a_conversation_that_is_stuck_holds_up_no_other_however_long_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is known of a lane is little, and all comes in order in the end."""
    monkeypatch.setattr(order_module, "LANE_AHEAD", 4)
    monkeypatch.setattr(order_module, "MOST_KNOWN", 20)
    monkeypatch.setattr(queue_module, "READ_AHEAD", 8)
    world = await a_world(200, "stuck")
    await append_many(world.store, world.channel, 5, "other")
    sink = FakeSink(lambda d: BROKEN if d.event.key == "stuck" else OK)

    async with world.reader(sink) as reader:
        await until(lambda: sink.sequences.count(205) == 1, within_s=1)
        assert sink.sequences == [1, 201, 202, 203, 204, 205]
        assert reader._live.unsettled <= 4 + 1
        assert await world.backlog() == 200
    again = FakeSink(succeed)
    async with world.reader(again) as reader:
        await until(lambda: len(again.got) == 200, within_s=20)
        await settled()
        assert (reader._live.floor, reader._live.unsettled) == (205, 0)

    assert again.sequences == list(range(1, 201))
    assert await world.backlog() == 0


@virtual_time
async def test_what_spilled_of_a_replay_is_selected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "LANE_AHEAD", 4)
    world = await a_world(60, "k")
    sink = FakeSink(lambda d: None if d.replay else OK)

    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 60)
        await world.replay(reader, first=10, last=50)
        await until(lambda: len(sink.got) == 61)
        sink.script = succeed
        sink.answer_all(OK)
        await until(lambda: len(sink.got) == 60 + 41, within_s=60)
        await settled()
        assert await world.store.replays(running=True) == []

    assert sink.sequences[60:] == list(range(10, 51))
