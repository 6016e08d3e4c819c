"""Two hubs over one store, as two replicas will be: the feed alone tells either of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from relay_protocol.messages import Granted, Wanted
from relay_protocol.values import Response
from relay_server.clock import SystemClock
from relay_server.configs import ChannelConfig, Policy, SubscriptionConfig
from relay_server.delivery.hub import SHARED_ELSEWHERE, Hub
from relay_server.delivery.promotion import REASON
from relay_server.delivery.reader import Reader
from relay_server.errors import StoreUnavailable
from relay_server.metrics import Metrics
from relay_server.store.feed import Claimed, Promoted
from relay_server.store.interface import Store
from relay_server.values import Claim, ReaderNumber, Scope, Selection
from tests.support.clock import START_MS
from tests.support.events import OK
from tests.support.stores import append_many, make_channel, open_test_store
from tests.support.waiting import settled, until
from tests.unit.server.support import FakePeer, add_token

TAKEN_OVER = "ana taken over by "


@dataclass
class Replicas:
    """A store with a channel, and a hub for each of two servers."""

    store: Store
    one: Hub
    two: Hub

    async def join(self, hub: Hub, peer: FakePeer, *, share: bool = False) -> Joined:
        """Connect to one of them, subscribe and begin."""
        hub.add(peer)
        granted, reader = await hub.join(peer, Wanted("chatwoot", share=share), "ana")
        hub.start(reader, peer)
        return Joined(granted, reader)

    async def append(self, count: int, key: str | None = None) -> None:
        await append_many(self.store, self.store.catalog.channels["chatwoot"], count, key)

    async def backlog(self) -> int:
        [status] = await self.store.subscription_status()
        return status.backlog


@dataclass
class Joined:
    """A subscription as one hub serves it."""

    granted: Granted
    reader: Reader


@asynccontextmanager
async def _running(store: Store) -> AsyncIterator[Hub]:
    hub = Hub(store, SystemClock(), Metrics())
    looking = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        looking.cancel()
        await hub.close()


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_test_store("sqlite", tmp_path))
        await make_channel(store)
        hubs = [await stack.enter_async_context(_running(store)) for _ in range(2)]
        yield Replicas(store, *hubs)


async def test_the_newest_claim_has_a_subscription(replicas: Replicas) -> None:
    """The first one's peer is told so, gets nothing more, and settles nothing any more."""
    first, second = FakePeer(), FakePeer()
    before = await replicas.join(replicas.one, first)
    await replicas.append(2)
    await until(lambda: first.sequences == [1, 2])

    after = await replicas.join(replicas.two, second)

    assert first.told == [TAKEN_OVER]
    assert replicas.one.readers.state(before.granted.subscription).readers == 0
    await until(lambda: second.sequences == [1, 2])
    before.reader.finish(first, first.got[0].id, OK)
    await replicas.append(1, key="another")
    await until(lambda: second.sequences == [1, 2, 3])
    await replicas.store.flush()
    assert await replicas.backlog() == 3, "a late result counts for nothing"
    for delivery in second.got:
        after.reader.finish(second, delivery.id, OK)
    await until(lambda: not after.reader.under_way)
    await settled()
    assert await replicas.backlog() == 0
    assert first.sequences == [1, 2]


async def test_a_claim_that_nobody_told_of_is_met_with_the_next_progress(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas may lose a notification; a record that its epoch refuses says the same."""
    first, second = FakePeer(), FakePeer()
    before = await replicas.join(replicas.one, first)
    await replicas.append(1)
    await until(lambda: first.got)

    with monkeypatch.context() as notification:
        notification.setitem(replicas.store.feed._listeners, Claimed, [])
        await replicas.join(replicas.two, second)
    assert first.told == []
    before.reader.finish(first, first.got[0].id, OK)

    await until(lambda: first.told == [TAKEN_OVER])
    assert second.told == []
    assert await replicas.backlog() == 1


async def test_after_a_promotion_whoever_holds_the_newest_claim_comes_back(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who lost it without a word is told so: else it would take it over again."""
    first, second = FakePeer(), FakePeer()
    before = await replicas.join(replicas.one, first)
    with monkeypatch.context() as notification:
        notification.setitem(replicas.store.feed._listeners, Claimed, [])
        await replicas.join(replicas.two, second)

    replicas.store.feed.tell(Promoted())
    for hub in (replicas.one, replicas.two):
        assert hub.readers.state(before.granted.subscription).readers == 0
    await until(lambda: first.told and second.told)

    assert first.told == [TAKEN_OVER]
    [told] = second.told
    assert told.startswith(REASON)
    again = FakePeer()
    await replicas.join(replicas.two, again)
    await replicas.append(1)
    await until(lambda: again.sequences == [1])
    assert first.sequences == second.sequences == []


@pytest.mark.parametrize("share", [True, False])
async def test_those_that_share_come_back_for_one_that_does(
    replicas: Replicas, share: bool
) -> None:
    """Their server hands them on to the other; for one that does not share they are gone."""
    first = FakePeer()
    await replicas.join(replicas.one, first, share=True)
    [number] = replicas.one.readers._served
    replicas.store.feed.tell(Claimed(number, 2, share))

    [told] = first.told
    assert told == (f"{SHARED_ELSEWHERE}, 1" if share else TAKEN_OVER)
    assert replicas.one.readers.state(number).readers == 0


async def test_what_is_given_up_anywhere_is_passed_by_whoever_reads(replicas: Replicas) -> None:
    """Heard by the feed alone, it dies there: the conversation goes on."""
    peer = FakePeer()
    joined = await replicas.join(replicas.one, peer)
    await replicas.append(2, "k")
    await until(lambda: peer.got)
    joined.reader.finish(peer, peer.got[0].id, Response(503))
    await replicas.store.flush()

    number = joined.granted.subscription
    assert await replicas.store.give_up(number, [1], "given up by bob", START_MS) == 1

    await until(lambda: peer.sequences == [1, 2])


async def test_a_first_attempt_that_is_just_under_way_can_be_given_up(replicas: Replicas) -> None:
    """Where its reader is: only that knows of it. What waits behind it is still untried."""
    peer = FakePeer()
    joined = await replicas.join(replicas.one, peer)
    number = joined.granted.subscription
    await replicas.append(2, "k")
    await until(lambda: peer.got)

    for hub, sequence, given_up in (
        (replicas.two, 1, 0),
        (replicas.one, 2, 0),
        (replicas.one, 1, 1),
    ):
        hub.note_under_way(number, sequence)
        found = await replicas.store.give_up(number, [sequence], "given up by bob", START_MS)
        assert found == given_up

    joined.reader.finish(peer, peer.got[0].id, Response(503))
    await until(lambda: peer.sequences == [1, 2])


async def test_what_is_given_up_while_somebody_joins_is_heard(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the claim said that it waits, and before there is a reader to be told."""
    peer, claim = FakePeer(), replicas.store.claim
    joined = await replicas.join(replicas.one, peer)
    number = joined.granted.subscription
    await replicas.append(2, "k")
    await until(lambda: peer.got)
    joined.reader.finish(peer, peer.got[0].id, Response(503))
    replicas.one.remove(peer)

    async def given_up(reader: ReaderNumber, *, shared: bool = False) -> Claim | None:
        claimed = await claim(reader, shared=shared)
        assert await replicas.store.give_up(number, [1], "given up by bob", START_MS) == 1
        return claimed

    monkeypatch.setattr(replicas.store, "claim", given_up)
    again = FakePeer()
    await replicas.join(replicas.two, again)

    await until(lambda: again.sequences == [2])


async def test_what_is_claimed_while_another_database_takes_over_is_claimed_again(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = replicas.store.claim

    async def promoted(reader: ReaderNumber, *, shared: bool = False) -> Claim | None:
        claimed = await claim(reader, shared=shared)
        replicas.store.feed.tell(Promoted())
        return claimed

    monkeypatch.setattr(replicas.store, "claim", promoted)
    with pytest.raises(StoreUnavailable, match=REASON):
        await replicas.join(replicas.one, FakePeer())
    monkeypatch.setattr(replicas.store, "claim", claim)
    await replicas.join(replicas.one, FakePeer())


async def test_of_two_that_claim_at_once_the_last_has_it(replicas: Replicas) -> None:
    peers = [FakePeer(host=f"laptop {number}") for number in range(8)]
    hubs = [replicas.one, replicas.two] * 4
    await asyncio.gather(*(replicas.join(hub, peer) for hub, peer in zip(hubs, peers, strict=True)))
    await replicas.append(3)

    await until(lambda: any(peer.sequences == [1, 2, 3] for peer in peers))
    await until(lambda: sum(not peer.told for peer in peers) == 1)
    [winner] = [peer for peer in peers if not peer.told]
    assert winner.sequences == [1, 2, 3]
    assert all(not peer.got for peer in peers if peer is not winner)


async def test_what_is_changed_at_one_reaches_the_other(replicas: Replicas) -> None:
    """A channel's rules, a pause, a replay: told by nobody but the store."""
    peer = FakePeer()
    joined = await replicas.join(replicas.two, peer)
    await replicas.append(2)
    await until(lambda: len(peer.got) == 2)

    no_retries = ChannelConfig(policy=Policy(retry_delays_s=()))
    await replicas.store.change_channel("chatwoot", lambda _: no_retries)
    joined.reader.finish(peer, peer.got[0].id, Response(500))
    joined.reader.finish(peer, peer.got[1].id, OK)
    await settled()
    [status] = await replicas.store.subscription_status()
    assert (status.backlog, status.dead) == (0, 1)

    await replicas.store.create_replay(status.subscription, Selection(dead=True), 1_000.0, START_MS)
    await until(lambda: peer.sequences == [1, 2, 1])

    def paused(config: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(config, paused="by hand")

    await replicas.store.change_subscription(status.subscription.number, paused)
    assert joined.reader.paused == "by hand"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("token", "revoked"),
        ("channel", "a channel was deleted, 1"),
        ("subscription", "the subscription was deleted, 1"),
    ],
)
async def test_what_is_taken_away_at_one_sends_the_other_s_readers_away(
    replicas: Replicas, what: str, told: str
) -> None:
    peers = [FakePeer(), FakePeer("bob")]
    await add_token(replicas.store, "ana", Scope.SUBSCRIBE)
    joined = await replicas.join(replicas.one, peers[0])
    replicas.two.add(peers[1])

    match what:
        case "token":
            await replicas.store.revoke_token("ana")
        case "channel":
            await replicas.store.delete_channel("chatwoot")
        case _:
            await replicas.store.unsubscribe(joined.granted.subscription)

    assert [peer.told for peer in peers] == [[told], []]
