"""A subscription's filter: what it leaves out is never sent, and settled."""

from __future__ import annotations

import pytest

from relay_server.delivery import source
from relay_server.store.sql import events
from relay_server.values import MarkState, Progress
from tests.support.events import BROKEN, OK, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import append_many, progress_of
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed

# Of these worlds each event is of a conversation of its own, from 0 on, unless one is named.
FEW = "conv:2,5"  # sequences 3 and 6 of the first eight


async def filtered(count: int, wanted: str = FEW) -> World:
    """A world in which some of so many events are meant, and wait."""
    world = await a_world(count)
    await world.get_only(wanted)
    return world


@virtual_time
async def test_what_comes_is_asked_about_before_it_is_told_to_anybody() -> None:
    """The store is not asked; what is left out costs nothing but that, and the floor passes it."""
    world, sink = await filtered(0), FakeSink(succeed)
    async with world.reader(sink):
        await settled()
        world.store.asked.clear()
        for _ in range(2):
            await append_many(world.store, world.channel, 8)
        await until(lambda: len(sink.got) == 4)
        assert await world.backlog() == 0

    assert sink.sequences == [3, 6, 11, 14]
    assert world.store.asked["sift"] == 0
    assert await world.states(2, 3, 4) == ["skipped", "delivered", "skipped"]


@virtual_time
@pytest.mark.parametrize("bound", [1, 3, 100])
async def test_what_waits_is_asked_about_where_it_is_read(
    bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SIFT_AT_ONCE", bound)
    world, sink = await filtered(8), FakeSink(succeed)
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 2)
        await settled()
        assert await world.backlog() == 0
        await append_many(world.store, world.channel, 8)
        await until(lambda: len(sink.got) == 4 and not sink.under_way)

    assert sink.sequences == [3, 6, 11, 14]
    assert (await progress_of(world.store, world.subscription.number)).floor == 16


@virtual_time
@pytest.mark.parametrize(
    ("bound", "wanted"), [("SIFT_FED_BYTES", "larger:10"), ("SEARCH_FED_BYTES", "larger:10 xxx*")]
)
async def test_large_events_are_asked_about_in_a_thread(
    bound: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, bound, 20)
    world, sink = await filtered(0, wanted), FakeSink(succeed)
    async with world.reader(sink):
        await settled()
        world.store.asked.clear()
        for size in (11, 9, 30):
            assert world.store.asked["sift"] == 0
            await world.store.append(world.channel.number, new_event(b"x" * size))
            await settled()

    assert sink.sequences == [1, 3]
    assert world.store.asked["sift"] > 0


@virtual_time
async def test_behind_one_that_is_stuck_what_is_left_out_is_settled_for_good() -> None:
    """Another filter, and another reader, change nothing of that; a replay brings it."""
    world, sink = await filtered(8), FakeSink(lambda d: None if d.event.sequence == 3 else OK)
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 2)
        await until(lambda: not world.store._pending.waiting)
        assert await world.backlog() == 1
        assert await world.states(1, 3, 4, 6, 8) == [
            "skipped", "pending", "skipped", "delivered", "skipped",
        ]  # fmt: skip
    await world.get_only("")
    everything = FakeSink(succeed)
    async with world.reader(everything) as reader:
        await until(lambda: everything.got)
        await append_many(world.store, world.channel, 1)
        await until(lambda: len(everything.got) == 2)
        assert everything.sequences == [3, 9]
        await world.replay(reader, sequences=(4, 5))
        await until(lambda: len(everything.got) == 4)
        await settled()

    assert everything.sequences[2:] == [4, 5]
    assert await world.states(4, 9) == ["skipped", "delivered"]


@virtual_time
async def test_order_holds_within_what_is_delivered() -> None:
    world = await a_world()
    for number in range(30):
        event = new_event(b"%d" % number, key=str(number % 3), kind="x" if number % 4 else "y")
        await world.store.append(world.channel.number, event)
    await world.get_only("kind:x")
    sink = FakeSink(lambda d: BROKEN if d.attempt == 1 and d.event.sequence % 5 == 0 else OK)
    async with world.reader(sink):
        await until(lambda: len(set(sink.sequences)) == 22 and not sink.under_way)

    for key in "012":
        of_key = [s for s in dict.fromkeys(sink.sequences) if str((s - 1) % 3) == key]
        assert of_key == sorted(of_key)
    assert all((sequence - 1) % 4 for sequence in sink.sequences)


# Another filter


@virtual_time
async def test_another_filter_holds_for_what_waits_and_not_for_what_is_with_the_target() -> None:
    world = await a_world(6)
    sink = FakeSink(window=2)
    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 2)
        await world.get_only("conv:4")
        reader.configure(world.channel, world.subscription)
        sink.script = succeed
        sink.answer_all(OK)
        await until(lambda: len(sink.got) == 3)
        await settled()
        assert await world.backlog() == 0

    assert sink.sequences == [1, 2, 5]
    assert await world.states(1, 2, 3, 4, 5, 6) == [
        "delivered", "delivered", "skipped", "skipped", "delivered", "skipped",
    ]  # fmt: skip


@virtual_time
async def test_another_filter_while_the_store_is_asked_holds_for_the_answer() -> None:
    world, sink = await filtered(4, "conv:0,1"), FakeSink(succeed)
    sift = world.store.sift

    async def changing(*question: object) -> object:
        answer = await sift(*question)  # type: ignore[arg-type]
        if sink.reader is not None and world.subscription.config.filter != "conv:1":
            await world.get_only("conv:1")
            sink.reader.configure(world.channel, world.subscription)
        return answer

    world.store.sift = changing  # type: ignore[method-assign, assignment]
    async with world.reader(sink):
        await until(lambda: sink.got)
        await settled()

    assert sink.sequences == [2]


@virtual_time
async def test_one_that_waits_for_its_next_try_is_asked_about_when_that_comes() -> None:
    world, sink = await a_world(1), FakeSink(lambda _: BROKEN)
    async with world.reader(sink) as reader:
        await until(lambda: reader._live._waiting == 1)
        await world.get_only("conv:9")
        reader.configure(world.channel, world.subscription)
        await until(lambda: not reader._live.unsettled, within_s=60)
        await settled()
        assert await world.backlog() == 0

    assert len(sink.got) == 1
    progress = await progress_of(world.store, world.subscription.number)
    assert progress == Progress(1)


@virtual_time
async def test_a_damaged_event_is_told_whatever_the_filter_means() -> None:
    """Nobody knows what it was."""
    world, sink = await filtered(8), FakeSink(succeed)
    number = world.channel.number
    world.store.database.connection.execute(
        "UPDATE events SET body = x'00' WHERE position = ?", (number << 40 | 2,)
    )
    world.store._cache.of(number).drop()  # type: ignore[union-attr]
    async with world.reader(sink):
        await until(lambda: len(sink.got) == 2)
        await settled()

    assert sink.sequences == [3, 6]
    [dead] = await world.store.dead(world.subscription.number, 0, 9)
    assert dead.event.sequence == 2
    assert MarkState.DEAD.name.lower() in await world.states(2)


@virtual_time
async def test_what_a_gate_knows_nothing_of_waits_and_others_go_on() -> None:
    """What it says must not go is settled with the reason."""
    world, sink = await a_world(0), FakeSink(succeed)
    for key in "abab":
        await world.store.append(world.channel.number, new_event(key=key))
    said: dict[str, str | None] = {"a": None}
    async with world.reader(sink) as reader:
        reader._live.set_gate(lambda head: said.get(head.key, ""))
        await until(lambda: len(sink.got) == 2)
        await settled()
        assert (sink.sequences, await world.backlog()) == ([2, 4], 2)
        said["a"] = "people have it"
        reader.go_on("a")
        await settled()
        assert await world.backlog() == 0
        [[state]] = await world.store.deliveries(world.channel.number, [3])
        await world.replay(reader, sequences=(1,))
        await until(lambda: len(sink.got) == 3)

    assert (state.state, state.reason, state.attempts) == ("skipped", "people have it", ())
    assert await world.states(1, 2, 3, 4) == ["skipped", "delivered", "skipped", "delivered"]


@virtual_time
async def test_what_is_handed_along_is_asked_about_at_the_gate() -> None:
    world, sink = await a_world(0), FakeSink(succeed)
    said: dict[str, str | None] = {"a": None, "b": "people have it"}
    async with world.reader(sink) as reader:
        await settled()
        reader._live.set_gate(lambda head: said.get(head.key, ""))
        for key in "abc":
            await world.store.append(world.channel.number, new_event(key=key))
            await settled()
        assert (sink.sequences, await world.backlog()) == ([3], 1)
        del said["a"]
        reader.go_on("a")
        await until(lambda: len(sink.got) == 2)

    assert await world.states(1, 2, 3) == ["delivered", "skipped", "delivered"]
