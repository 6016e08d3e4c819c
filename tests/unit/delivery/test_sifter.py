"""Filters of subscriptions that nobody reads are asked, behind the store's feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay_server.configs import ORDINARY
from relay_server.delivery.sifter import SETTLE_S, Sifter
from relay_server.store.sql import events
from relay_server.values import Progress
from tests.support.events import OK, attempt, mark
from tests.support.sinks import FakeSink
from tests.support.stores import append_many, progress_of
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed

FEW = "conv:2,5"  # sequences 3 and 6 of the first eight


@asynccontextmanager
async def sifter(world: World, *read: int) -> AsyncIterator[Sifter]:
    """A running one, for which some subscriptions are read."""
    found = Sifter(world.store, running_clock(), lambda number: number in read)
    running = asyncio.create_task(found.run())
    try:
        yield found
        assert not running.done()
    finally:
        running.cancel()
        found.close()


async def is_settled(world: World, floor: int) -> None:
    """Nothing waits but what is meant, and the floor is where it can be."""
    await until(lambda: not world.store._pending.waiting)
    await settled()
    claim = await world.store.standing(world.subscription.number)
    assert claim is not None
    assert claim.progress.floor == floor


@virtual_time
async def test_what_comes_is_asked_about_though_nobody_reads() -> None:
    world = await a_world(0)
    await world.get_only(FEW)
    async with sifter(world):
        await append_many(world.store, world.channel, 2)
        await until(lambda: world.store.recorded)
        await is_settled(world, 2)
        for _ in range(3):
            await append_many(world.store, world.channel, 8)
        await until(lambda: len(world.store.recorded) == 2)
        await is_settled(world, 4)

        assert await world.backlog() == 6
        assert await world.states(1, 4, 5, 6, 26) == [
            "skipped", "skipped", "pending", "skipped", "skipped",
        ]  # fmt: skip


@virtual_time
async def test_it_goes_on_where_it_came_to_and_begins_anew_from_the_floor() -> None:
    """Of what is meant it is asked again after a restart, of what is not never."""
    world = await a_world(8)
    await world.get_only(FEW)
    asked: list[int] = []
    sift = world.store.sift

    async def noted(channel: int, subscription: int, after: int, *rest: object) -> object:
        asked.append(after)
        return await sift(channel, subscription, after, *rest)  # type: ignore[arg-type]

    world.store.sift = noted  # type: ignore[method-assign, assignment]
    async with sifter(world):
        await until(lambda: asked == [0, 8])
        await append_many(world.store, world.channel, 4)
        await until(lambda: asked == [0, 8, 8, 12])
    async with sifter(world):
        await until(lambda: len(asked) == 6)
        await is_settled(world, 2)

    assert asked[4:] == [2, 12]
    assert await world.backlog() == 3


@virtual_time
async def test_what_a_reader_asks_is_left_to_it_until_that_is_gone() -> None:
    world, read = await a_world(0), list[int]()
    await world.get_only(FEW)
    read.append(world.subscription.number)
    found = Sifter(world.store, running_clock(), lambda number: number in read)
    running = asyncio.create_task(found.run())
    await asyncio.sleep(1)
    world.store.asked.clear()
    await append_many(world.store, world.channel, 8)
    await asyncio.sleep(9)
    assert world.store.asked["sift"] == 0

    read.clear()
    found.left(world.subscription.number)
    await until(lambda: world.store.recorded)
    await is_settled(world, 2)
    running.cancel()
    found.close()


@virtual_time
async def test_it_takes_nothing_from_a_reader_that_comes_meanwhile() -> None:
    """What was found under the older claim is dropped; what the reader settles counts."""
    world, sink = await a_world(8), FakeSink(succeed)
    await world.get_only(FEW)
    gate, asked = asyncio.Event(), asyncio.Event()
    sift = world.store.sift

    async def slow(*question: object) -> object:
        if not asked.is_set():
            asked.set()
            await gate.wait()
        return await sift(*question)  # type: ignore[arg-type]

    world.store.sift = slow  # type: ignore[method-assign, assignment]
    async with sifter(world):
        await asked.wait()
        async with world.reader(sink):
            await until(lambda: len(sink.got) == 2)
            gate.set()
            await settled()
            assert await world.backlog() == 0
            await append_many(world.store, world.channel, 3)
            await until(lambda: len(sink.got) == 3 and not sink.under_way)

    assert sink.sequences == [3, 6, 11]
    assert (await progress_of(world.store, world.subscription.number)).floor == 11


@virtual_time
async def test_it_begins_anew_where_a_reader_came_to() -> None:
    """Though it had begun under that reader's claim, which is the newest still."""
    world, sink = await a_world(0), FakeSink()
    async with sifter(world) as found:
        await world.get_only(FEW)
        watched = found._watched[world.subscription.number]
        async with world.reader(sink):
            await append_many(world.store, world.channel, 8)
            await until(lambda: watched.asked_up_to == 8)
            sink.answer_all(OK)
            await settled()
        found.left(world.subscription.number)
        await append_many(world.store, world.channel, 2)
        await until(lambda: watched.asked_up_to == 10)
        await is_settled(world, 10)


@virtual_time
async def test_another_filter_settles_what_waits_and_is_not_meant_any_more() -> None:
    """What was left out by the first stays so, and what has been delivered, too."""
    world = await a_world(8)
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(1, (mark(4),), (attempt(4),)))
    async with sifter(world):
        await world.get_only("conv:1,5,6")
        await until(lambda: len(world.store.recorded) == 2)
        assert await world.backlog() == 3
        await world.get_only("conv:2,5,7")
        await until(lambda: len(world.store.recorded) == 3)

        assert await world.backlog() == 1
        assert await world.states(3, 4, 6, 7, 8) == [
            "skipped", "delivered", "pending", "skipped", "skipped",
        ]  # fmt: skip
        await is_settled(world, 5)


@virtual_time
async def test_what_comes_after_another_filter_was_set_is_asked_of_that_alone() -> None:
    """Also where a look with the one before it is under way, or has its turn yet."""
    world = await a_world(0)
    gates = [asyncio.Event(), asyncio.Event()]
    asked: list[int] = []
    sift = world.store.sift

    async def slow(*question: object) -> object:
        asked.append(question[1])  # type: ignore[arg-type]
        if len(asked) <= len(gates):
            await gates[len(asked) - 1].wait()
        return await sift(*question)  # type: ignore[arg-type]

    world.store.sift = slow  # type: ignore[method-assign, assignment]
    await world.get_only(FEW)
    first = world.subscription
    second, _ = await world.store.subscribe(
        world.channel.name, "second", None, 0, ORDINARY.with_filter(FEW)
    )
    async with sifter(world):
        await until(lambda: asked == [first.number])
        for number in (first.number, second.number):
            await world.store.change_subscription(number, lambda c: c.with_filter("conv:1"))
        await append_many(world.store, world.channel, 2)
        gates[0].set()
        gates[1].set()
        await until(lambda: len(asked) >= 4)
        await settled()
        await world.store.flush()

        statuses = await world.store.subscription_status([first.number, second.number])
        assert [status.backlog for status in statuses] == [1, 1]


@virtual_time
async def test_without_a_filter_nothing_is_asked() -> None:
    world = await a_world(8)
    async with sifter(world):
        await append_many(world.store, world.channel, 8)
        await asyncio.sleep(9)
        await world.get_only("conv:2")
        await world.get_only("")
        await asyncio.sleep(9)

    assert world.store.asked["sift"] == 0


@virtual_time
async def test_a_store_that_is_away_is_asked_again() -> None:
    world = await a_world(8)
    await world.get_only(FEW)
    world.store.away_for.add("sift")
    async with sifter(world):
        await until(lambda: world.store.asked["sift"] == 3)
        world.store.away_for.clear()
        await until(lambda: world.store.recorded)
        await is_settled(world, 2)


@virtual_time
@pytest.mark.parametrize("what", ["subscription", "channel"])
async def test_what_is_deleted_is_asked_about_no_more(what: str) -> None:
    world = await a_world(8)
    await world.get_only(FEW)
    async with sifter(world) as found:
        await until(lambda: world.store.recorded)
        if what == "channel":
            await world.store.delete_channel(world.channel.name)
        else:
            await world.store.unsubscribe(world.subscription.number)
        assert (found._watched, found._due, found._of_channel) == ({}, {}, {})
        await found.settle(world.subscription.number)


@virtual_time
async def test_who_connects_waits_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "SIFT_AT_ONCE", 1)
    world = await a_world(40)
    found = Sifter(world.store, running_clock(), lambda _: False)
    await world.get_only(FEW)
    sift = world.store.sift

    async def slow(*question: object) -> object:
        await asyncio.sleep(SETTLE_S / 20)
        return await sift(*question)  # type: ignore[arg-type]

    world.store.sift = slow  # type: ignore[method-assign, assignment]
    await found.settle(world.subscription.number)

    assert running_clock().monotonic() == pytest.approx(SETTLE_S, rel=0.1)
    assert 15 < await world.backlog() < 25
    found.close()
