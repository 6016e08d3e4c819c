"""Who may read a subscription beside whom, and what outlives its peers, on virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from relay_protocol.messages import Wanted
from relay_protocol.values import Response
from relay_server.configs import (
    ChannelConfig,
    ForwardConfig,
    Policy,
    PolicyChanges,
    SubscriptionConfig,
)
from relay_server.delivery.readers import ReaderState
from relay_server.errors import Forbidden
from relay_server.values import ReplayState, Selection, Subscription
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.server.support import FakePeer
from tests.unit.server.test_hub import World, world

GONE = Response(410)


async def stored(w: World) -> Subscription:
    [found] = await w.store.subscriptions("chatwoot")
    return found


@virtual_time
async def test_those_that_share_get_different_deliveries() -> None:
    async with world() as w:
        one, two = FakePeer(host="one", window=3), FakePeer(host="two", window=3)
        granted, first = await w.join(one, share=True)
        _, second = await w.join(two, share=True)
        await w.append(6)
        assert first is second
        assert w.hub.readers.state(granted.subscription) == ReaderState(2, hosts=("one", "two"))
        assert sorted(one.sequences + two.sequences) == [1, 2, 3, 4, 5, 6]
        assert len(one.got) == len(two.got) == 3
        assert one.told == two.told == []


@virtual_time
async def test_one_of_those_that_share_leaves_its_work_to_the_others() -> None:
    async with world() as w:
        one, two = FakePeer(window=2), FakePeer()
        granted, reader = await w.join(one, share=True)
        await w.append(2)
        await w.join(two, share=True)
        w.hub.remove(one)
        await settled()
        assert [(d.event.sequence, d.attempt) for d in two.got] == [(1, 2), (2, 2)]
        assert w.hub.readers._served[granted.subscription].reader is reader
        w.hub.remove(two)
        assert granted.subscription not in w.hub.readers


@virtual_time
@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (False, False)])
async def test_who_does_not_share_takes_over_from_all(before: bool, after: bool) -> None:
    """And so does one that would, from one that does not: they are all told."""
    async with world() as w:
        peers = [FakePeer(host="a"), FakePeer(host="b")]
        for peer in peers[: 2 if before else 1]:
            await w.join(peer, share=before)
        last = FakePeer(host="new")
        granted, _ = await w.join(last, share=after)
        await w.append(1)
        told = [peer.told for peer in peers[: 2 if before else 1]]
        assert told == [["ana taken over by new"]] * len(told)
        assert (last.sequences, last.told) == ([1], [])
        assert w.hub.readers.state(granted.subscription) == ReaderState(1, hosts=("new",))
        for peer in peers:
            w.hub.remove(peer)
        assert w.hub.readers.state(granted.subscription) == ReaderState(1, hosts=("new",))


@virtual_time
async def test_one_that_joins_a_share_twice_reads_once() -> None:
    async with world() as w:
        peer = FakePeer()
        granted, _ = await w.join(peer, share=True)
        await w.join(peer, share=True)
        await w.append(2)
        assert peer.sequences == [1, 2]
        assert w.hub.readers.state(granted.subscription) == ReaderState(1, hosts=("laptop",))
        w.hub.remove(peer)
        assert w.hub.readers.state(granted.subscription) == ReaderState(0)


@virtual_time
async def test_a_forward_is_read_by_the_server_alone() -> None:
    async with world() as w:
        config = SubscriptionConfig(forward=ForwardConfig("http://bot:8001"))
        bot, _ = await w.store.subscribe("chatwoot", "bot", None, 0, config)
        for share in (False, True):
            with pytest.raises(Forbidden):
                await w.hub.join(FakePeer(), Wanted("chatwoot", share=share), "bot")
        forward = FakePeer()
        reader = await w.hub.join_forward(forward, bot)
        w.hub.start(reader, forward)
        await w.append(1)
        with pytest.raises(Forbidden):
            await w.hub.join(FakePeer(), Wanted("chatwoot"), "bot")
        assert (forward.sequences, forward.told) == ([1], [])


@virtual_time
async def test_forwards_end_before_another_server_may_begin_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does once it has not heard of this one for a while; connections are their clients'."""
    async with world() as w:
        config = SubscriptionConfig(forward=ForwardConfig("http://bot:8001"))
        bot, _ = await w.store.subscribe("chatwoot", "bot", None, 0, config)
        forward, peer = FakePeer(), FakePeer()
        w.hub.start(await w.hub.join_forward(forward, bot), forward)
        await w.join(peer)
        monkeypatch.setattr(w.store, "is_heard", lambda: False)
        await asyncio.sleep(1.5)
        assert (len(forward.told), peer.told) == (1, [])


@virtual_time
async def test_a_target_that_wants_no_more_pauses_for_good() -> None:
    """For the next peer, too; until somebody resumes it."""
    async with world() as w:
        peer, again = FakePeer(), FakePeer()
        granted, reader = await w.join(peer)
        await w.append(2)
        with capture_logs() as logs:
            reader.finish(peer, peer.got[0].id, GONE)
            await settled()
        assert [(e["event"], e["log_level"]) for e in logs] == [
            ("subscription paused until somebody resumes it", "warning")
        ]
        assert (await stored(w)).config.paused == "the target answered 410"

        granted, new = await w.join(again)
        await asyncio.sleep(3_600)
        assert (granted.paused, again.got) == ("the target answered 410", [])

        await w.store.change_subscription(
            granted.subscription, lambda c: msgspec.structs.replace(c, paused="")
        )
        await settled()
        assert (again.sequences, new.paused) == ([1, 2], "")


@virtual_time
async def test_rules_that_are_changed_hold_at_once() -> None:
    async with world() as w:
        peer = FakePeer()
        granted, reader = await w.join(peer)
        await w.append(3)
        strict = ChannelConfig(policy=Policy(retry_delays_s=()))
        await w.store.change_channel("chatwoot", lambda _: strict)
        reader.finish(peer, peer.got[0].id, BROKEN)

        def patient(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, policy=PolicyChanges(retry_delays_s=(9.0,)))

        await w.store.change_subscription(granted.subscription, patient)
        reader.finish(peer, peer.got[1].id, BROKEN)
        reader.finish(peer, peer.got[2].id, OK)
        await settled()
        [status] = await w.store.subscription_status()
        assert (status.dead, status.backlog) == (1, 1)
        await asyncio.sleep(12)
        assert peer.sequences == [1, 2, 3, 2]


@virtual_time
async def test_a_replay_waits_for_a_reader() -> None:
    async with world() as w:
        await w.append(2)
        subscription, _ = await w.store.subscribe("chatwoot", "ana", None, 0)
        replay = await w.store.create_replay(subscription, Selection(), 100.0, START_MS)
        await asyncio.sleep(60)
        peer = FakePeer()
        _, reader = await w.join(peer)
        await until(lambda: len(peer.got) == 2)
        for delivery in peer.got:
            reader.finish(peer, delivery.id, OK)
        await settled()
        [found] = await w.store.replays()
        assert (found.number, found.state) == (replay.number, ReplayState.DONE)


@virtual_time
async def test_draining_waits_for_what_is_under_way_and_no_longer_than_it_may() -> None:
    async with world() as w:
        peer, late = FakePeer(window=2), FakePeer("bob")
        _, reader = await w.join(peer)
        await w.append(3)
        draining = asyncio.create_task(w.hub.drain(10))
        await asyncio.sleep(1)
        reader.finish(peer, peer.got[0].id, OK)
        await asyncio.sleep(1)
        assert not draining.done()
        reader.finish(peer, peer.got[1].id, OK)
        await asyncio.sleep(0.1)
        assert draining.done()
        await w.join(late, name="bob")
        await w.append(1)
        assert (peer.sequences, late.sequences) == ([1, 2], [])

    async with world() as w:
        peer = FakePeer()
        await w.join(peer)
        await w.append(1)
        before = running_clock().now
        await w.hub.drain(10)
        assert 10 <= running_clock().now - before < 10.1


@virtual_time
async def test_who_joins_a_share_whose_reader_failed_gets_a_new_one() -> None:
    """Those who had it are on their way out."""
    async with world() as w:
        one, two = FakePeer(), FakePeer()
        _, failed = await w.join(one, share=True)
        w.store.broken = True
        await w.append(1)
        await until(lambda: one.told)
        w.store.broken = False
        _, reader = await w.join(two, share=True)
        assert reader is not failed
        await until(lambda: two.sequences == [1])


@pytest.mark.parametrize("step", ["found", "gate"])
@virtual_time
async def test_a_subscription_that_is_paused_while_somebody_joins_is_paused(step: str) -> None:
    """After it was read, or while it is claimed: the feed tells of it once."""
    async with world() as w:
        await w.join(FakePeer())
        subscription, gate = await stored(w), getattr(w.store, step)
        gate.clear()
        peer = FakePeer()
        joining = asyncio.create_task(w.join(peer))
        await settled()
        await w.store.change_subscription(
            subscription.number, lambda c: msgspec.structs.replace(c, paused="by hand")
        )
        gate.set()
        granted, reader = await joining
        assert (granted.paused, reader.paused) == ("by hand", "by hand")
        await w.append(1)
        await settled()
        assert peer.got == []


@virtual_time
async def test_a_channel_that_nobody_reads_is_not_remembered() -> None:
    async with world() as w:
        peer = FakePeer()
        await w.join(peer)
        w.hub.remove(peer)
        await w.append(1)
        assert not w.hub.readers._by_channel
