"""Who is connected and who reads what, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, patch

import msgspec
import pytest
from structlog.testing import capture_logs

from relay_protocol.messages import Granted, Wanted
from relay_protocol.values import Response
from relay_server.configs import HmacAuth, SubscriptionConfig
from relay_server.delivery.absence import GRACE_S
from relay_server.delivery.backoff import STORE_RETRY_S
from relay_server.delivery.hub import AFTER_ERROR_S, TICK_S, Hub
from relay_server.delivery.reader import Reader
from relay_server.delivery.readers import ReaderState
from relay_server.errors import ChannelNotFound, Forbidden, InvalidValue, StoreFull
from relay_server.metrics import Metrics
from relay_server.reported import SubscriptionStatus
from relay_server.store.feed import TokenRevoked
from relay_server.values import (
    ChannelNumber,
    Claim,
    Outline,
    ReaderNumber,
    Subscription,
    SubscriptionNumber,
)
from tests.support.clock import START_MS
from tests.support.events import BROKEN, OK, new_event
from tests.support.stores import MemoryStore, append_many, deliveries, make_channel
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled, until
from tests.unit.server.support import FakePeer


class SlowStore(MemoryStore):
    """A store in memory whose steps a test can hold up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.found = asyncio.Event()
        self.found.set()
        self.broken = False
        self.full = False

    async def subscribe(self, *args: Any, **kwargs: Any) -> tuple[Subscription, bool]:
        found = await super().subscribe(*args, **kwargs)
        await self.found.wait()
        return found

    async def change_subscription(
        self,
        subscription: SubscriptionNumber,
        change: Callable[[SubscriptionConfig], SubscriptionConfig],
    ) -> Subscription:
        if self.full:
            raise StoreFull("no room")
        return await super().change_subscription(subscription, change)

    async def claim(self, peer: ReaderNumber, *, shared: bool = False) -> Claim | None:
        await self.gate.wait()
        return await super().claim(peer, shared=shared)

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        if self.broken:
            raise KeyError("a bug")
        return await super().outlines(channel, after, limit)

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        await self.gate.wait()
        return await super().subscription_status(only)


@dataclass
class World:
    """A hub that runs, over a store with two channels."""

    store: SlowStore
    hub: Hub
    metrics: Metrics

    async def join(
        self,
        peer: FakePeer,
        channel: str = "chatwoot",
        name: str = "ana",
        *,
        share: bool = False,
        only: str | None = None,
    ) -> tuple[Granted, Reader]:
        """Connect, subscribe and begin."""
        self.hub.add(peer)
        wanted = Wanted(channel, share=share, filter=only)
        granted, reader = await self.hub.join(peer, wanted, name)
        self.hub.start(reader, peer)
        return granted, reader

    async def append(self, count: int, channel: str = "chatwoot") -> None:
        await append_many(self.store, self.store.catalog.channels[channel], count)
        await settled()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    store, metrics = SlowStore(), Metrics()
    for name in ("chatwoot", "other"):
        await make_channel(store, name)
    hub = Hub(store, running_clock(), metrics)
    running = asyncio.create_task(hub.run())
    try:
        yield World(store, hub, metrics)
        assert not running.done()
    finally:
        running.cancel()
        store.gate.set()
        await hub.close()


@virtual_time
async def test_a_reader_gets_what_is_stored_from_then_on() -> None:
    async with world() as w:
        await w.append(2)
        peer = FakePeer()
        granted, _ = await w.join(peer)
        await w.append(3)
        assert (granted.created, granted.backlog, granted.oldest_waiting_at) == (True, 0, None)
        assert peer.sequences == [3, 4, 5]
        assert w.hub.readers.state(granted.subscription) == ReaderState(1, hosts=("laptop",))


@virtual_time
async def test_nothing_is_sent_before_the_reader_was_welcomed() -> None:
    async with world() as w:
        peer = FakePeer()
        w.hub.add(peer)
        _, reader = await w.hub.join(peer, Wanted("chatwoot"), "ana")
        await w.append(1)
        assert peer.got == []
        w.hub.start(reader, peer)
        await settled()
        assert peer.sequences == [1]


@virtual_time
async def test_readers_of_other_channels_and_names_are_apart() -> None:
    async with world() as w:
        ana, bob, other = FakePeer(), FakePeer("bob"), FakePeer("carla")
        await w.join(ana)
        await w.join(bob, name="bob")
        await w.join(other, "other", "carla")
        await w.append(2)
        assert (ana.sequences, bob.sequences, other.sequences) == ([1, 2], [1, 2], [])
        assert w.metrics.registry.get_sample_value("relay_connections") == 3


@virtual_time
async def test_a_reader_that_leaves_frees_what_it_had() -> None:
    async with world() as w:
        first, second = FakePeer(), FakePeer()
        granted, _ = await w.join(first)
        await w.append(2)
        w.hub.remove(first)
        w.hub.remove(first)
        assert w.hub.readers.state(granted.subscription) == ReaderState(0)
        again, _ = await w.join(second)
        await settled()
        assert (again.created, again.backlog) == (False, 2)
        assert [(d.event.sequence, d.attempt) for d in second.got] == [(1, 2), (2, 2)]
        assert first.told == []


@virtual_time
async def test_the_second_takes_over_and_the_first_is_told() -> None:
    async with world() as w:
        first, second = FakePeer(host="old"), FakePeer(host="new")
        await w.join(first)
        _, late = await w.join(first, "other")
        await w.append(1)
        _, reader = await w.join(second)
        await settled()
        assert first.told == ["ana taken over by new"]
        assert [(d.event.sequence, d.attempt) for d in second.got] == [(1, 2)]
        w.hub.remove(first)
        assert w.hub.readers.state(reader.subscription.number) == ReaderState(1, hosts=("new",))
        assert w.hub.readers.state(late.subscription.number) == ReaderState(0)


@virtual_time
async def test_a_result_of_the_first_changes_nothing_after_the_takeover() -> None:
    async with world() as w:
        first, second = FakePeer(), FakePeer()
        _, old = await w.join(first)
        await w.append(1)
        granted, new = await w.join(second)
        await settled()
        old.finish(first, first.got[0].id, OK)
        await w.store.flush()
        [status] = await w.store.subscription_status([granted.subscription])
        assert status.backlog == 1
        new.finish(second, second.got[0].id, OK)
        await settled()
        [status] = await w.store.subscription_status([granted.subscription])
        assert status.backlog == 0


@virtual_time
async def test_a_reader_that_joins_again_is_not_told_that_it_took_over() -> None:
    async with world() as w:
        peer = FakePeer()
        await w.join(peer)
        await w.join(peer)
        await w.append(1)
        assert peer.told == []
        assert peer.sequences == [1]


@virtual_time
async def test_of_many_that_join_at_once_the_last_reads_and_the_others_know() -> None:
    async with world() as w:
        peers = [FakePeer(host=str(number)) for number in range(5)]
        w.store.gate.clear()
        joining = [asyncio.create_task(w.join(peer)) for peer in peers]
        await settled()
        w.store.gate.set()
        await asyncio.gather(*joining)
        await w.append(1)
        assert [bool(peer.told) for peer in peers] == [True] * 4 + [False]
        assert [peer.sequences for peer in peers] == [[], [], [], [], [1]]


@virtual_time
async def test_a_channel_that_is_not_there() -> None:
    async with world() as w:
        peer = FakePeer()
        w.hub.add(peer)
        with pytest.raises(ChannelNotFound):
            await w.hub.join(peer, Wanted("unknown"), "ana")
        w.store.gate.clear()
        joining = asyncio.create_task(w.hub.join(peer, Wanted("other"), "ana"))
        await settled()
        await w.store.delete_channel("other")
        w.store.gate.set()
        with pytest.raises(ChannelNotFound):
            await joining
        assert not w.hub.readers
        await w.join(peer)
        await w.append(1)
        assert peer.sequences == [1]


@virtual_time
async def test_a_join_that_is_given_up_leaves_no_reader_and_no_lock() -> None:
    async with world() as w:
        peer, other = FakePeer(), FakePeer("bob")
        w.hub.add(peer)
        w.store.gate.clear()
        joining = asyncio.create_task(w.hub.join(peer, Wanted("chatwoot"), "ana"))
        await settled()
        w.hub.remove(peer)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        assert not w.hub.readers
        w.store.gate.set()
        await w.join(other)
        await w.append(1)
        assert other.sequences == [1]


@virtual_time
async def test_revoking_reaches_every_connection_of_the_token() -> None:
    async with world() as w:
        one, two, bob = FakePeer(), FakePeer(), FakePeer("bob")
        for peer in (one, two, bob):
            w.hub.add(peer)
        for name in ("ana", "nobody"):
            w.store.feed.tell(TokenRevoked(name))
        assert (one.told, two.told, bob.told) == (["revoked"], ["revoked"], [])


@virtual_time
async def test_a_deleted_channel_sends_its_readers_away() -> None:
    async with world() as w:
        ana, bob, carla = FakePeer(), FakePeer("bob"), FakePeer("carla")
        await w.join(ana)
        await w.join(bob, name="bob")
        await w.join(carla, "other")
        await w.store.delete_channel("chatwoot")
        assert (ana.told, bob.told, carla.told) == (
            ["a channel was deleted, 1"],
            ["a channel was deleted, 1"],
            [],
        )


@virtual_time
async def test_who_comes_back_is_told_what_came_meanwhile() -> None:
    """Not what waited before, nor what is tried again later."""
    async with world() as w:
        peer = FakePeer(window=2)
        first, reader = await w.join(peer)
        await w.append(3)
        reader.finish(peer, peer.got[0].id, Response(500))
        await asyncio.sleep(2)
        w.hub.remove(peer)
        await asyncio.sleep(60)
        channel, now = w.store.catalog.channels["chatwoot"].number, running_clock().unix_ms()
        for key in ("8", "9"):
            await w.store.append(channel, new_event(key=key, received_at=now))
        again, _ = await w.join(FakePeer())
        taken_over, _ = await w.join(FakePeer())
        w.hub.remove(peer)
        late, _ = await w.hub.join(FakePeer(), Wanted("chatwoot"), "ana", 30_000)

    assert (first.came, first.created) == (0, True)
    assert (again.backlog, again.came, again.retrying) == (5, 2, 1)
    assert again.next_attempt_in_ms is not None
    assert taken_over.came == 0, "somebody read it all the while"
    assert late.came == 2, "it says that it has heard nothing for 30 s"


@virtual_time
async def test_what_is_skipped_is_not_sent_and_what_is_under_way_ends() -> None:
    """Also what waits for its next attempt, and what fails after that."""
    async with world() as w:
        peer = FakePeer(window=2)
        granted, reader = await w.join(peer)
        await w.append(6)
        peer.window = 3
        reader.finish(peer, peer.got[0].id, Response(500))
        await settled()
        assert [d.event.sequence for d in peer.got] == [1, 2, 3]
        # Of 4 to 6 nothing is lent, 1 is to be tried again, and 2 and 3 are under way.
        assert await w.store.skip(granted.subscription, 6) == 6
        peer.window = 99
        reader.finish(peer, peer.got[1].id, OK)
        reader.finish(peer, peer.got[2].id, Response(500))
        await w.append(1)
        reader.finish(peer, peer.got[3].id, OK)
        await asyncio.sleep(3_600)

        assert [d.event.sequence for d in peer.got] == [1, 2, 3, 7]
        channel = w.store.catalog.channels["chatwoot"]
        states = [(await deliveries(w.store, channel, n))[0].state for n in range(1, 7)]
        assert states == ["skipped", "delivered", "skipped", "skipped", "skipped", "skipped"]
        [status] = await w.store.subscription_status()
        assert (status.backlog, status.retrying) == (0, 0)


@virtual_time
async def test_a_temporary_subscription_goes_soon_after_its_last_client() -> None:
    async with world() as w:
        peers = [FakePeer(), FakePeer()]
        granted, _ = await w.hub.join(peers[0], Wanted("chatwoot", temporary=True), "brief")
        w.hub.add(peers[0])
        await asyncio.sleep(10 * GRACE_S)
        w.hub.remove(peers[0])
        await asyncio.sleep(GRACE_S / 2)
        again, _ = await w.hub.join(peers[1], Wanted("chatwoot", temporary=True), "brief")
        await asyncio.sleep(2 * GRACE_S)
        kept = await w.store.subscriptions()
        w.hub.remove(peers[1])
        await asyncio.sleep(GRACE_S + 2)

        assert (granted.temporary, again.created) == (True, False)
        assert [s.name for s in kept] == ["brief"]
        assert await w.store.subscriptions() == []


@virtual_time
async def test_a_temporary_subscription_goes_whose_client_could_not_begin() -> None:
    """Else it holds every event that comes from then on, and nobody reads it."""
    async with world() as w:
        await asyncio.sleep(1)
        full = AsyncMock(side_effect=StoreFull("no room"))
        with patch.object(w.store, "claim", full), pytest.raises(StoreFull):
            await w.hub.join(FakePeer(), Wanted("chatwoot", temporary=True), "brief")
        assert len(await w.store.subscriptions()) == 1
        await asyncio.sleep(GRACE_S + 2)
        assert await w.store.subscriptions() == []


@virtual_time
async def test_a_temporary_subscription_goes_whose_reader_failed() -> None:
    async with world() as w:
        peer = FakePeer()
        w.store.broken = True
        w.hub.add(peer)
        _, reader = await w.hub.join(peer, Wanted("chatwoot", temporary=True), "brief")
        w.hub.start(reader, peer)
        await until(lambda: peer.told)
        w.hub.remove(peer)
        await settled()
        [left] = await w.store.subscriptions()
        await asyncio.sleep(GRACE_S + 2)
        assert left.left_at is not None
        assert await w.store.subscriptions() == []


@virtual_time
async def test_a_server_that_starts_deletes_what_is_temporary_and_nobody_takes_up() -> None:
    async with world() as w:
        for name, temporary in (("brief", True), ("back", True), ("ana", False)):
            config = SubscriptionConfig(temporary=temporary)
            await w.store.subscribe("chatwoot", name, None, START_MS, config)
        hub = Hub(w.store, running_clock(), Metrics())
        running = asyncio.create_task(hub.run())
        await asyncio.sleep(1)
        await hub.join(FakePeer(), Wanted("chatwoot", temporary=True), "back")
        await asyncio.sleep(GRACE_S + 2)
        assert [s.name for s in await w.store.subscriptions()] == ["ana", "back"]
        running.cancel()
        await hub.close()


@virtual_time
@pytest.mark.parametrize("temporary", [True, False])
async def test_a_temporary_and_a_lasting_subscription_are_never_one(*, temporary: bool) -> None:
    async with world() as w:
        await w.hub.join(FakePeer(), Wanted("chatwoot", temporary=temporary), "ana")
        with pytest.raises(Forbidden, match="takes another name"):
            await w.hub.join(FakePeer(), Wanted("chatwoot", temporary=not temporary), "ana")
        assert len(await w.store.subscriptions()) == 1


@virtual_time
async def test_all_are_asked_to_come_back() -> None:
    async with world() as w:
        peers = [FakePeer(str(number)) for number in range(3)]
        for peer in peers:
            w.hub.add(peer)
        w.hub.go_away("the server restarts", 2.0)
        assert [peer.told for peer in peers] == [["the server restarts, 2"]] * 3


@virtual_time
async def test_connections_look_at_the_clock_once_a_second() -> None:
    async with world() as w:
        peer = FakePeer()
        await w.join(peer)
        await asyncio.sleep(TICK_S * 3.5)
        assert peer.ticks == pytest.approx([TICK_S, 2 * TICK_S, 3 * TICK_S])
        w.hub.remove(peer)
        await asyncio.sleep(TICK_S * 2)
        assert len(peer.ticks) == 3


@virtual_time
async def test_a_reader_that_fails_does_not_leave_its_peers_waiting() -> None:
    async with world() as w:
        peer = FakePeer()
        w.store.broken = True
        with capture_logs() as logs:
            await w.join(peer)
            await until(lambda: peer.told)
        assert peer.told == [f"the server met an error, {AFTER_ERROR_S:g}"]
        assert [entry["event"] for entry in logs] == ["a reader failed"]


@virtual_time
async def test_closing_stops_every_reader() -> None:
    async with world() as w:
        peer = FakePeer()
        granted, _ = await w.join(peer)
    assert w.hub.readers.state(granted.subscription) == ReaderState(0)
    assert w.hub._tasks == set()
    await w.append(1)
    assert peer.got == []


@virtual_time
async def test_a_pause_that_finds_no_room_is_stored_later() -> None:
    """Else nobody sees why nothing is delivered, and a restart forgets what the target said."""
    async with world() as w:
        peer = FakePeer()
        _, reader = await w.join(peer)
        await w.append(1)
        w.store.full = True
        paused_at = running_clock().unix_ms()
        reader.finish(peer, peer.got[0].id, Response(410))
        await asyncio.sleep(5)
        w.store.full = False
        await asyncio.sleep(2 * STORE_RETRY_S)
        [stored] = await w.store.subscriptions("chatwoot")
        assert stored.config.paused == "the target answered 410"
        assert (stored.config.paused_by, stored.config.paused_at) == ("", paused_at)


@virtual_time
async def test_a_pause_that_somebody_ended_is_not_stored_after_all() -> None:
    async with world() as w:
        peer = FakePeer()
        granted, reader = await w.join(peer)
        await w.append(1)
        w.store.full = True
        reader.finish(peer, peer.got[0].id, Response(410))
        await settled()
        w.store.full = False
        await w.store.change_subscription(granted.subscription, lambda config: config)
        await asyncio.sleep(2 * STORE_RETRY_S)
        [stored] = await w.store.subscriptions("chatwoot")
        assert not stored.config.paused
        assert len(peer.got) == 2


@virtual_time
async def test_who_connects_has_it_signed_anew_where_that_gives_no_secret_away() -> None:
    """As it is set, where nothing is said; a secret that would be sent bare is nobody's to have."""
    async with world() as w:
        w.hub.open_sealed = bytes
        wanted = Wanted("chatwoot", resign=True)

        async def sign(hmac: HmacAuth | None) -> None:
            await w.store.change_channel(
                "chatwoot", lambda config: msgspec.structs.replace(config, hmac=hmac)
            )

        for hmac in (None, HmacAuth("gitlab", (b"bare",))):
            await sign(hmac)
            with pytest.raises(InvalidValue, match=r"secret|signature"):
                await w.hub.join(FakePeer(), wanted, "ana")
        await sign(HmacAuth("chatwoot", (b"first",)))
        granted = [(await w.join(FakePeer()))[0]]
        for resign in (True, None, False):
            peer = FakePeer()
            granted.append((await w.hub.join(peer, Wanted("chatwoot", resign=resign), "ana"))[0])
        assert [one.resign for one in granted] == [False, True, True, False]


@virtual_time
async def test_for_how_long_nothing_could_go_out_is_known_of_each_channel() -> None:
    """Whoever takes something counts; a target that is not there, and a pause, do not."""
    async with world() as w:
        chatwoot, other = (w.store.catalog.channels[n].number for n in ("chatwoot", "other"))
        await asyncio.sleep(5)
        assert w.hub.readers.idle_s(chatwoot) == pytest.approx(5)
        granted, reader = await w.join(peer := FakePeer())
        await asyncio.sleep(20)
        assert w.hub.readers.idle_s(chatwoot) == 0
        assert w.hub.readers.idle_s(other) == pytest.approx(25)
        reader.hold(peer)
        await asyncio.sleep(10)
        assert 10 <= w.hub.readers.idle_s(chatwoot) <= 11
        reader.let_go(peer)
        assert w.hub.readers.idle_s(chatwoot) == 0
        await w.store.change_subscription(
            granted.subscription, lambda c: msgspec.structs.replace(c, paused="by hand")
        )
        await asyncio.sleep(3)
        assert 3 <= w.hub.readers.idle_s(chatwoot) <= 14
        w.hub.remove(peer)
        await asyncio.sleep(10)
        assert w.hub.readers.idle_s(chatwoot) >= 13


@virtual_time
async def test_for_how_long_a_bot_was_silent_counts_from_whatever_it_did_last() -> None:
    """That it took something, came or went; an answer that is no 2xx is none."""
    async with world() as w:
        granted, reader = await w.join(peer := FakePeer())
        number = granted.subscription
        await asyncio.sleep(50)
        assert w.hub.readers.silent_s(number) == pytest.approx(50)
        await w.append(2)
        reader.finish(peer, peer.got[0].id, BROKEN)
        await asyncio.sleep(20)
        assert w.hub.readers.silent_s(number) == pytest.approx(20)
        reader.finish(peer, peer.got[1].id, OK)
        assert w.hub.readers.silent_s(number) == 0
        await asyncio.sleep(20)
        reader.hold(peer)
        assert w.hub.readers.silent_s(number) == 0
        await asyncio.sleep(30)
        w.hub.remove(peer)
        assert w.hub.readers.silent_s(number) == 0
        await asyncio.sleep(40)
        assert w.hub.readers.silent_s(number) == pytest.approx(40)
        await w.join(FakePeer())
        assert w.hub.readers.silent_s(number) == 0


@virtual_time
async def test_a_bot_that_thinks_is_not_silent_until_an_attempt_fails() -> None:
    async with world() as w:
        granted, reader = await w.join(peer := FakePeer())
        await w.append(2)

        async def think(seconds: int) -> None:
            for _ in range(seconds // 10):
                await asyncio.sleep(10)
                reader.extend(peer, [d.id for d in peer.got])

        await think(300)
        assert w.hub.readers.silent_s(granted.subscription) <= 1
        reader.finish(peer, peer.got[0].id, BROKEN)
        await think(60)
        assert 59 <= w.hub.readers.silent_s(granted.subscription) <= 61
