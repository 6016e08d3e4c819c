"""Two replicas of one store: what one does, the other hears of, also where nobody tells it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import Mock

import psycopg
import pytest
from msgspec.structs import replace

from relay_server.configs import ChannelConfig
from relay_server.errors import TokenExists
from relay_server.people import LastUses
from relay_server.reported import Missed, Neighbour, Unreached
from relay_server.store.feed import (
    Change,
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsStored,
    Progressed,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.interface import Store
from relay_server.store.postgres import neighbours, telling
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.store import open_postgres
from relay_server.values import Appended, Progress, Scope, Selection, Token
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.postgres import database_of, need_postgres, patient
from tests.support.stores import (
    append_many,
    make_channel,
    make_subscription,
    open_test_store,
    sequences,
)
from tests.support.waiting import until

ANA = Token("ana", b"a" * 32, frozenset({Scope.SUBSCRIBE}), None, START_MS)


class Replicas:
    """Two of one store, and what the second was told."""

    def __init__(self, first: Store, second: Store) -> None:
        self.first, self.second = first, second
        self.told: list[Change] = []
        for kind in telling.KINDS.values():
            second.feed.listen(kind, self.told.append)

    async def hears(self, *wanted: Change) -> None:
        """Wait until the second was told these."""
        await until(lambda: all(change in self.told for change in wanted))


@pytest.fixture(params=["told", "lost"])
async def replicas(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Replicas]:
    """Two replicas, whose notifications come or are lost."""
    need_postgres()
    if request.param == "lost":
        monkeypatch.setattr(Link, "notify", lambda *_: None)
        monkeypatch.setattr(neighbours, "LOOK_S", 0.05)
    else:
        monkeypatch.setattr(neighbours, "LOOK_S", 60.0)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_test_store("postgres", tmp_path))
        yield Replicas(
            first, await stack.enter_async_context(open_test_store("postgres", tmp_path))
        )


async def test_events_are_read_in_order_wherever_they_came(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await replicas.hears(ChannelChanged(channel))

    await append_many(replicas.first, channel, 3)
    await replicas.hears(EventsStored(channel.number, 3))
    await append_many(replicas.second, channel, 2)

    assert await sequences(replicas.second, channel) == [1, 2, 3, 4, 5]
    events = await replicas.second.fetch(channel.number, [2, 5])
    assert [event.body for event in events] == [b"1", b"1"]
    assert replicas.second.newest(channel.number) == 5


async def test_what_came_to_one_is_a_duplicate_at_the_other(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await replicas.hears(ChannelChanged(channel))
    event = new_event(b"hello", sender_id="d-1")

    stored = await replicas.first.append(channel.number, event)
    again = await replicas.second.append(
        channel.number, replace(event, id="evt_other", received_at=START_MS + 1)
    )

    assert again == Appended(stored.id, stored.sequence, duplicate=True)


async def test_the_catalogue_is_one(replicas: Replicas) -> None:
    first, second = replicas.first, replicas.second
    channel = await make_channel(first)
    await first.create_token(ANA)
    await replicas.hears(ChannelChanged(channel), TokenMade(ANA))
    assert second.catalog.tokens == {ANA.digest: ANA}
    with pytest.raises(TokenExists):
        await second.create_token(ANA)

    changed = await first.change_channel(
        "chatwoot", lambda config: replace(config, max_bytes=1_000_000)
    )
    subscription, _ = await first.subscribe("chatwoot", "ana", None, START_MS)
    await replicas.hears(ChannelChanged(changed), SubscriptionChanged(subscription))

    await first.unsubscribe(subscription.number)
    await first.revoke_token("ana")
    await replicas.hears(SubscriptionGone(subscription.number), TokenRevoked("ana"))
    await first.delete_channel("chatwoot")
    await replicas.hears(ChannelGone(changed))
    assert (second.catalog.channels, second.catalog.tokens) == ({}, {})


async def test_when_a_token_was_used_last_is_the_same_at_both(replicas: Replicas) -> None:
    await replicas.first.create_token(ANA)
    await replicas.first.note_uses(LastUses({"ana": 7}, {}))
    await replicas.second.note_uses(LastUses({"ana": 5}, {}))
    for one in (replicas.first, replicas.second):
        assert (await one.last_uses()).tokens == {"ana": 7}


async def test_both_change_it_at_once_and_end_with_the_same(replicas: Replicas) -> None:
    for n in range(5):
        await replicas.first.create_channel(f"a{n}", ChannelConfig(), START_MS)
        await replicas.second.create_channel(f"b{n}", ChannelConfig(), START_MS)

    await until(lambda: replicas.first.catalog == replicas.second.catalog)
    assert len(replicas.first.catalog.channels) == 10


async def test_who_reads_hears_of_a_newer_claim_also_where_nothing_comes(
    replicas: Replicas,
) -> None:
    channel = await make_channel(replicas.first)
    subscription, old = await make_subscription(replicas.first)
    await replicas.hears(ChannelChanged(channel))
    heard = list[Change]()
    replicas.first.feed.listen(Claimed, heard.append)

    for epoch in (old.epoch + 1, old.epoch + 2):
        await replicas.second.claim(subscription.number)
        await until(functools.partial(heard.__contains__, Claimed(subscription.number, epoch)))


async def test_the_newest_claim_has_it_wherever_it_was_made(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await replicas.hears(ChannelChanged(channel))
    await append_many(replicas.first, channel, 3)
    subscription, old = await make_subscription(replicas.first, since=0)
    new = await replicas.second.claim(subscription.number)
    assert new is not None
    assert new.epoch == old.epoch + 1

    heard = list[Change]()
    replicas.first.feed.listen(Claimed, heard.append)
    replicas.first.record(old, Progress(3))
    await replicas.first.flush()

    assert Claimed(subscription.number, new.epoch) in heard
    claim = await replicas.first.standing(subscription.number)
    assert claim is not None
    assert claim.progress.floor == 0


@pytest.mark.parametrize("replicas", ["lost"], indirect=True)
async def test_who_reads_it_elsewhere_is_known_until_it_leaves(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await replicas.hears(ChannelChanged(channel))
    subscription, claim = await make_subscription(replicas.first)
    number = subscription.number

    await until(lambda: replicas.second.read_elsewhere(number))
    assert not replicas.first.read_elsewhere(number)

    await replicas.first.leave(START_MS, claim)
    await until(lambda: not replicas.second.read_elsewhere(number))


async def test_a_replay_begun_at_one_is_known_at_the_other(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await append_many(replicas.first, channel, 1)
    subscription, _ = await make_subscription(replicas.first, since=0)
    await replicas.hears(SubscriptionChanged(subscription))

    replay = await replicas.first.create_replay(subscription, Selection(), 5.0, START_MS)

    if neighbours.LOOK_S > 1:  # what looks for replays is woken; else it looks by itself
        await replicas.hears(ReplaysChanged(subscription.number))
    assert [r.number for r in await replicas.second.replays(running=True)] == [replay.number]


async def test_progress_is_seen_by_both(replicas: Replicas) -> None:
    channel = await make_channel(replicas.first)
    await append_many(replicas.first, channel, 2)
    subscription, claim = await make_subscription(replicas.first, since=0)
    replicas.second.feed.listen(Progressed, replicas.told.append)

    replicas.first.record(claim, Progress(2))
    await replicas.first.flush()

    [status] = await replicas.second.subscription_status([subscription.number])
    assert status.backlog == 0


async def test_what_a_stranger_tells_is_not_believed(replicas: Replicas, tmp_path: Path) -> None:
    """Each role that may connect may notify, also one that may read nothing."""
    made = TokenMade(replace(ANA, name="stranger", digest=b"s" * 32))
    [payload] = telling.payloads("stranger", [made], None)
    with psycopg.connect(database_of(tmp_path), autocommit=True) as connection:
        for told in (payload, "0" * 32 + payload):
            connection.execute("SELECT pg_notify(%s, %s)", (neighbours.TOPIC, told))
    await replicas.first.create_token(ANA)
    await replicas.hears(TokenMade(ANA))
    assert made not in replicas.told


@pytest.mark.parametrize(("count", "letter"), [(600, "c"), (300, "\N{SNOWMAN}")])
def test_changes_too_large_to_be_told_have_all_looked_at(count: int, letter: str) -> None:
    token = replace(ANA, channels=frozenset(f"{letter * 7}-{n:03}" for n in range(count)))
    [payload] = telling.payloads("a", [TokenMade(token)], 7)
    assert payload == '["a",7,null]'


def test_many_changes_are_told_in_parts() -> None:
    changes = [EventsStored(n, n) for n in range(1_000)]
    parts = telling.payloads("a", changes, None)
    assert len(parts) > 1
    assert max(map(len, parts)) <= telling.MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("address", ["", "sealed"])
async def test_those_that_share_are_handed_on_where_a_server_can_be_reached(
    tmp_path: Path, address: str
) -> None:
    """Else two servers would take the subscription from each other each second."""
    need_postgres()
    async with open_test_store("postgres", tmp_path) as other:
        with patient():
            place, folder = read_place(database_of(tmp_path)), tmp_path / "second"
            folder.mkdir()
            its_own = folder, 1 << 20, lambda _: None
            store = await open_postgres(place, Mock(), *its_own, address=address)
        try:
            channel = await make_channel(store)
            heard = list[Change]()
            other.feed.listen(Claimed, heard.append)
            subscription, _ = await make_subscription(store)
            claim = await store.claim(subscription.number, shared=True)
            assert claim is not None
            await until(lambda: len(heard) == 2)
            assert heard[1] == Claimed(subscription.number, claim.epoch, bool(address))
            owner = Neighbour(store.replica, address)
            assert await other.reading_server(channel.name, subscription.name) == owner
            assert await other.neighbours() == ([owner] if address else [])
        finally:
            await store.close()


async def test_who_is_not_heard_for_long_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before others take it for gone: what it runs by itself, it ends in time."""
    need_postgres()
    async with open_test_store("postgres", tmp_path) as store:
        assert store.is_heard()
        monkeypatch.setattr(neighbours, "ALIVE_S", neighbours.MARGIN_S)
        assert not store.is_heard()


async def test_who_cannot_reach_whom_is_known_to_both_until_one_is_gone(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that says nothing since, nothing is said either: it is gone, or about to be."""
    first, second = replicas.first, replicas.second

    async def unreached(store: Store) -> tuple[Unreached, ...]:
        status = await store.database_status()
        assert status is not None
        return status.unreached

    missed = {second.replica: Missed(3_600.0, "nothing answers", "look"), "gone": Missed(1, "", "")}
    await first.note_unreached(missed)
    [found] = await unreached(second)
    assert [found] == list(await unreached(first))
    assert (found.by, found.other) == (first.replica, second.replica)
    assert (found.why, found.fix) == ("nothing answers", "look")

    await first.note_unreached({second.replica: Missed(1.0, "another answers", "look again")})
    assert [replace(found, why="another answers", fix="look again")] == [*await unreached(second)]
    await first.note_unreached({})
    assert await unreached(second) == ()
    await first.note_unreached({second.replica: Missed(-3_600.0, "it ends", "")})
    assert await unreached(second) == (), "it was not seen since"
