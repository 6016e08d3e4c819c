"""Edited events beside live traffic and replays, on virtual time."""

from __future__ import annotations

from relay_protocol.values import Delivery, Outcome
from relay_server.delivery.reader import Reader
from relay_server.values import Edited, NewEdited, Progress
from tests.support.events import BROKEN, OK, new_event
from tests.support.sinks import FakeSink
from tests.support.stores import append_many
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until
from tests.unit.delivery.support import World, a_world, succeed


async def edit(world: World, reader: Reader, body: bytes, key: str = "7") -> Edited:
    """The subscription is to get an edited event."""
    new = NewEdited(new_event(body, key=key), "evt_0", "ana")
    edited = await world.store.create_edited(world.subscription, new)
    reader.replays_changed()
    return edited


def bodies(sink: FakeSink) -> list[bytes]:
    return [delivery.body for delivery in sink.got]


@virtual_time
async def test_it_is_an_ordinary_delivery_and_not_told_as_a_replay() -> None:
    world = await a_world(2)
    sink = FakeSink(succeed)

    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 2)
        edited = await edit(world, reader, b"edited")
        await until(lambda: len(sink.got) == 3)
        await settled()

    [got] = [d for d in sink.got if d.event.id == edited.event.id]
    assert (got.body, got.replay, got.attempt) == (b"edited", False, 1)
    assert got.channel == "chatwoot"
    [states] = await world.store.deliveries(-world.channel.number, [edited.event.sequence])
    assert [s.state for s in states] == ["delivered"]
    assert await world.store.replays(world.subscription.number, running=True) == []


@virtual_time
async def test_one_that_fails_does_not_hold_up_the_next_try() -> None:
    """That is mostly the one that mends it."""
    world = await a_world()

    def answer(delivery: Delivery) -> Outcome:
        return BROKEN if delivery.body == b"bad" else OK

    sink = FakeSink(answer)
    async with world.reader(sink) as reader:
        await edit(world, reader, b"bad")
        await until(lambda: len(sink.got) == 1)
        await edit(world, reader, b"good")
        await until(lambda: len(sink.got) == 2)
        assert bodies(sink) == [b"bad", b"good"]
        await until(lambda: len(sink.got) == 3, within_s=60)
        assert sink.got[-1].attempt == 2


@virtual_time
async def test_it_waits_for_its_key_and_for_a_reader() -> None:
    world = await a_world(1, key="7")
    sink = FakeSink()
    async with world.reader(sink) as reader:
        await until(lambda: len(sink.got) == 1)
        await edit(world, reader, b"edited")
        await settled()
        assert len(sink.got) == 1
    later = FakeSink(succeed)
    async with world.reader(later):
        await until(lambda: len(later.got) == 2)
    assert b"edited" in bodies(later)


@virtual_time
async def test_a_replay_of_everything_passes_it_over() -> None:
    world = await a_world(3)
    claim = await world.store.claim(world.subscription.number)
    assert claim is not None
    world.store.record(claim, Progress(3))
    sink = FakeSink(succeed)
    async with world.reader(sink) as reader:
        await edit(world, reader, b"edited")
        await until(lambda: len(sink.got) == 1)
        await world.replay(reader)
        await until(lambda: len(sink.got) == 4)
        await append_many(world.store, world.channel, 1)
        await until(lambda: len(sink.got) == 5)
        await settled()
    assert bodies(sink).count(b"edited") == 1
    assert sorted(sink.sequences[1:]) == [1, 2, 3, 4]
