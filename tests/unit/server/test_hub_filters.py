"""Who reads a filtered subscription is sent and told of what it means alone, on virtual time."""

from __future__ import annotations

import pytest

from relay_server.delivery import queue
from tests.support.events import BROKEN, OK, new_event
from tests.support.virtual_time import virtual_time
from tests.support.waiting import settled, until, until_true
from tests.unit.server.support import FakePeer
from tests.unit.server.test_hub import World, world

# Each time that six are appended here, they are of the conversations 0 to 5.
FEW = "conv:2,5"


def answer_all(w: World, *peers: FakePeer) -> None:
    """Their targets take whatever they have."""
    for peer in peers:
        for delivery in peer.got:
            w.hub.readers._served[delivery.subscription].reader.finish(peer, delivery.id, OK)


async def got(count: int, *peers: FakePeer) -> None:
    """They got so many together."""
    await until(lambda: len(sequences(*peers)) == count)


def sequences(*peers: FakePeer) -> list[int]:
    """What they got, in order of sequence."""
    return sorted(delivery.event.sequence for peer in peers for delivery in peer.got)


async def backlog(w: World) -> int:
    [status] = await w.store.subscription_status()
    return status.backlog


@virtual_time
async def test_what_came_while_nobody_read_is_what_was_meant() -> None:
    async with world() as w:
        await w.join(ana := FakePeer(), only=FEW)
        await w.append(6)
        await got(2, ana)
        answer_all(w, ana)
        w.hub.remove(ana)
        await w.append(6)
        granted, _ = await w.join(again := FakePeer())
        await got(2, again)

        assert (granted.backlog, granted.filter) == (2, FEW)
        assert sequences(again) == [9, 12]


@virtual_time
@pytest.mark.parametrize("is_read", [True, False])
async def test_who_brings_another_filter_is_told_of_what_waits_by_that(is_read: bool) -> None:
    async with world() as w:
        await w.join(ana := FakePeer(), only=FEW)
        await w.append(6)
        await got(2, ana)
        if not is_read:
            w.hub.remove(ana)
        granted, _ = await w.join(bia := FakePeer(), only="conv:5,1")
        await w.append(6)
        await got(2, bia)

        assert granted.backlog == 1
        assert sequences(bia) == [6, 8]
        answer_all(w, bia)
        await got(3, bia)
        assert sequences(bia) == [6, 8, 12]


@virtual_time
async def test_who_asks_for_a_filter_is_granted_that_and_not_what_somebody_set_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks again for what it was granted, whenever it connects."""
    async with world() as w:
        granted, _ = await w.join(FakePeer())
        settle = w.hub._sifter.settle

        async def and_another(number: int) -> None:
            await settle(number)
            await w.store.change_subscription(number, lambda config: config.with_filter("conv:1"))

        monkeypatch.setattr(w.hub._sifter, "settle", and_another)
        granted, reader = await w.join(FakePeer(), only=FEW)

        assert granted.filter == FEW
        assert reader.subscription.config.filter == "conv:1", "who came last has it set"


@virtual_time
async def test_those_that_share_have_one_filter() -> None:
    async with world() as w:
        await w.join(ana := FakePeer(), only=FEW, share=True)
        await w.join(bia := FakePeer(), only="conv:1,2,3", share=True)
        for count in (3, 6, 9):
            await w.append(6)
            await got(count, ana, bia)
            answer_all(w, ana, bia)
            await settled()

        assert await backlog(w) == 0
        assert sequences(ana, bia) == [2, 3, 4, 8, 9, 10, 14, 15, 16]
        assert ana.got
        assert bia.got


@virtual_time
async def test_what_a_reader_has_no_room_for_is_asked_about_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "LOOK_AHEAD", 2)
    async with world() as w:
        _, reader = await w.join(ana := FakePeer(), only=FEW)
        for _ in range(6):
            await w.append(6)
        assert not reader.keeps_up
        await until(lambda: w.hub._sifter._due == {})
        assert await backlog(w) == 12
        for count in range(2, 14, 2):
            await got(count, ana)
            answer_all(w, ana)

        assert len(sequences(ana)) == 12
        await until(lambda: reader._live.floor == 36)


@virtual_time
async def test_what_waits_for_its_next_try_and_is_not_meant_holds_its_key_no_longer() -> None:
    async with world() as w:
        granted, reader = await w.join(ana := FakePeer())
        for kind in ("x", "y"):
            await w.store.append(reader.channel.number, new_event(kind=kind))
        for tries in (1, 2):  # the third is half a minute later
            await got(tries, ana)
            reader.finish(ana, ana.got[-1].id, BROKEN)
        await settled()
        await w.store.change_subscription(
            granted.subscription, lambda config: config.with_filter("kind:y")
        )
        await until(lambda: ana.sequences == [1, 1, 2], within_s=1)
        reader.finish(ana, ana.got[-1].id, OK)
        await settled()

        assert (reader._live.floor, reader._live.unsettled, await backlog(w)) == (2, 0, 0)


@virtual_time
async def test_a_reader_that_fails_leaves_nothing_waiting_that_is_not_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it left out, and had not recorded yet, is asked about while nobody reads."""
    async with world() as w:
        await w.join(ana := FakePeer(), only=FEW)
        monkeypatch.setattr(w.store, "record", None)
        await w.append(1)
        await until(lambda: ana.told)
        monkeypatch.undo()

        await until_true(lambda: is_backlog(w, 0))


async def is_backlog(w: World, count: int) -> bool:
    return await backlog(w) == count
