"""What every store promises of edited events: each is for one subscription, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from relay_server.errors import KeyReused, StoreFull, SubscriptionNotFound, TooManyEdited
from relay_server.store import rules
from relay_server.store.interface import Store
from relay_server.store.sql import edited as sqlite_edited
from relay_server.values import (
    Channel,
    Edited,
    Mark,
    MarkState,
    NewEdited,
    Progress,
    ReplayState,
    Selection,
    Subscription,
)
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import (
    Stores,
    append_many,
    make_channel,
    make_replay,
    make_subscription,
    record,
    sequences,
)

SEALED = ("sqlite",)  # the same of a store that seals bodies


async def edit(
    store: Store,
    subscription: Subscription,
    body: bytes = b"edited",
    received_at: int = START_MS,
    **more: Any,
) -> Edited:
    """Have a subscription get an event that is made of another."""
    event = new_event(body, received_at=received_at)
    return await store.create_edited(subscription, NewEdited(event, "evt_0", "ana", **more))


async def finish(store: Store, edited: Edited, *marks: Mark) -> None:
    """Its delivery is over: delivered, unless marks say otherwise."""
    claim = await store.claim(edited.replay)
    assert claim is not None
    tries = (attempt(edited.event.sequence, status=200 if not marks else 500),)
    floor = claim.progress.floor + 1
    await record(store, claim, Progress(floor, marks, tries))
    await store.end_replay(edited.replay, ReplayState.DONE, START_MS)


async def test_what_brings_it_reads_it_and_nothing_of_the_channel(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 3)
    subscription, _ = await make_subscription(store)
    made = await edit(store, subscription, b"\x00 not JSON")
    store = await stores.reopen(store)

    [replay] = await store.replays(subscription.number, running=True)
    found = await store.select(-channel.number, replay, replay.start, 9)
    [event] = await store.fetch(-channel.number, [o.sequence for o in found.outlines])

    assert (replay.number, replay.edited) == (made.replay, True)
    assert found.read_up_to == replay.until
    assert (event.head.id, event.body, event.edited) == (made.event.id, b"\x00 not JSON", True)
    assert not event.damaged
    assert await store.find_event(made.event.id) == event
    assert await store.edited(channel.number, made.event.sequence) == made
    assert await store.edited(channel.number, 2) is None


async def test_the_channel_is_as_if_it_were_not_there(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 2)
    ana, _ = await make_subscription(store, name="ana", since=0)
    bob, _ = await make_subscription(store, name="bob", since=0)
    replay, _ = await make_replay(store, bob, Selection())
    before = await store.channel_status(), await store.subscription_status()

    await edit(store, ana)
    store = await stores.reopen(store)
    later, _ = await make_subscription(store, name="later", since=0)
    everything, _ = await make_replay(store, later, Selection())

    assert (await store.channel_status(), (await store.subscription_status())[:2]) == before
    assert await sequences(store, channel) == [1, 2]
    assert [e.sequence for e in await store.list_events(channel.number, None, 9)] == [2, 1]
    for each in (replay, everything):
        found = await store.select(channel.number, each, 0, 9)
        assert [o.sequence for o in found.outlines] == [1, 2]
    [status] = await store.subscription_status([later.number])
    assert status.backlog == 2
    assert {r.edited for r in await store.replays()} == {False}
    assert await store.replays(bob.number) == [replay]
    assert (await store.append(channel.number, new_event())).sequence == 3


async def test_what_becomes_of_it_says_nothing_of_the_channel(
    store: Store, channel: Channel
) -> None:
    """Its sequence is one that an event of the channel has, too."""
    await append_many(store, channel, 2)
    subscription, claim = await make_subscription(store, since=0)
    await record(store, claim, Progress(2, (mark(1, MarkState.DEAD),)))
    good, bad = await edit(store, subscription), await edit(store, subscription)
    assert [good.event.sequence, bad.event.sequence] == [1, 2]
    stream = -channel.number
    assert [[d.state for d in s] for s in await store.deliveries(stream, [1, 2])] == [
        ["pending"],
        ["pending"],
    ]

    await finish(store, good)
    await finish(store, bad, mark(2, MarkState.DEAD))

    assert [[d.state for d in s] for s in await store.deliveries(stream, [1, 2])] == [
        ["delivered"],
        ["dead"],
    ]
    assert [d.event.sequence for d in await store.dead(subscription.number, 0, 9)] == [1]
    own = await store.deliveries(channel.number, [1, 2])
    assert [[d.state for d in states] for states in own] == [["dead"], ["delivered"]]


async def test_it_is_made_once_under_a_key(stores: Stores, store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    first = await edit(store, subscription, idempotency_key="k", asked=b"1")
    store = await stores.reopen(store)

    assert await edit(store, subscription, idempotency_key="k", asked=b"1") == first
    with pytest.raises(KeyReused):
        await edit(store, subscription, idempotency_key="k", asked=b"2")
    other = NewEdited(new_event(), "evt_0", "bob", "k", b"2")
    assert await store.create_edited(subscription, other) != first
    assert await edit(store, subscription) != await edit(store, subscription)


async def test_no_more_wait_for_a_subscription_than_may(
    store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_edited, "MAX_WAITING_EDITED", 2)
    ana, _ = await make_subscription(store, name="ana")
    bob, _ = await make_subscription(store, name="bob")
    first = await edit(store, ana)
    await edit(store, ana)

    with pytest.raises(TooManyEdited):
        await edit(store, ana)
    await make_replay(store, ana)  # these are counted apart
    await edit(store, bob)
    await finish(store, first)
    await edit(store, ana)


@pytest.mark.parametrize(("limit", "value"), [("MAX_EDITED", 3), ("MAX_EDITED_BYTES", 3 * 2_000)])
async def test_the_oldest_that_do_not_wait_make_room(
    store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(sqlite_edited, limit, value)
    subscription, _ = await make_subscription(store)
    body = b"x" * 1_800
    made = [await edit(store, subscription, body) for _ in range(3)]
    with pytest.raises(TooManyEdited):
        await edit(store, subscription, body)
    await finish(store, made[1])

    last = await edit(store, subscription, body)

    kept = await store.list_edited(channel.number, None, None, 9)
    assert kept == [last, made[2], made[0]]


async def test_it_goes_with_age_and_with_its_channel(
    stores: Stores, store: Store, channel: Channel
) -> None:
    subscription, _ = await make_subscription(store)
    old, waits = await edit(store, subscription), await edit(store, subscription)
    young = await edit(store, subscription, received_at=START_MS + 9)
    await finish(store, old)
    await finish(store, young)
    stream = -channel.number

    found = await store.removable(stream, START_MS + 5, 0, 9)
    assert await store.remove(stream, found.sequences) == 1
    assert await store.list_edited(channel.number, None, None, 9) == [young, waits]
    assert await store.forget_dead(channel.number, START_MS + 1, 9, START_MS) == 0
    assert await store.deliveries(stream, [young.event.sequence]) == [[]]

    await store.delete_channel("chatwoot")
    assert await store.find_event(waits.event.id) is None
    await make_channel(store)
    store = await stores.reopen(store)
    assert await store.list_edited(channel.number, None, None, 9) == []


async def test_a_subscription_that_is_gone_gets_none(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    made = await edit(store, subscription)
    await store.unsubscribe(subscription.number)

    with pytest.raises(SubscriptionNotFound):
        await edit(store, subscription)
    assert await store.deliveries(-channel.number, [made.event.sequence]) == [[]]
    found = await store.removable(-channel.number, None, 0, 9)
    assert list(found.sequences) == [made.event.sequence]


async def test_none_is_stored_where_no_webhook_is(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    store.space.change("the disk is full")
    with pytest.raises(StoreFull):
        await edit(store, subscription)


async def test_they_are_listed_by_subscription_and_page(store: Store, channel: Channel) -> None:
    ana, _ = await make_subscription(store, name="ana")
    bob, _ = await make_subscription(store, name="bob")
    made = [await edit(store, who) for who in (ana, bob, ana, ana)]

    async def listed(*asked: Any) -> list[int]:
        return [e.event.sequence for e in await store.list_edited(channel.number, *asked)]

    assert await listed(ana.number, None, 2) == [4, 3]
    assert await listed(ana.number, 3, 2) == [1]
    assert await listed(None, None, rules.MAX_EDITED) == [4, 3, 2, 1]
    assert [e.subscription for e in made] == [ana.number, bob.number, ana.number, ana.number]
