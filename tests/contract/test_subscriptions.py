"""What every store promises of subscriptions."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from relay_server.configs import ForwardConfig, PolicyChanges, SubscriptionConfig
from relay_server.errors import ChannelNotFound, SubscriptionNotFound, TooManySubscriptions
from relay_server.reported import Came
from relay_server.spans import Span
from relay_server.store.interface import Store
from relay_server.values import Channel, Mark, MarkState, Progress, Selection
from tests.support.clock import START_MS
from tests.support.events import mark, new_event, waiting
from tests.support.stores import (
    UNICODE,
    Stores,
    aged,
    append_many,
    deliveries,
    make_channel,
    make_subscription,
    record,
    trim,
)


async def test_a_subscription_starts_with_the_next_event(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 3)

    subscription, created = await store.subscribe("chatwoot", UNICODE, None, START_MS + 5)
    store = await stores.reopen(store)
    again, created_again = await store.subscribe("chatwoot", UNICODE, 0, START_MS + 9)
    await append_many(store, channel, 1)
    claim = await store.claim(subscription.number)

    assert (created, created_again) == (True, False)
    assert again == subscription
    assert (subscription.channel, subscription.name) == ("chatwoot", UNICODE)
    assert subscription.created_at == START_MS + 5
    assert claim is not None
    assert claim.progress == Progress(3)
    assert list(await deliveries(store, channel, 3)) == []
    assert [d.subscription for d in await deliveries(store, channel, 4)] == [UNICODE]


@pytest.mark.parametrize(
    ("since", "floor"), [(0, 0), (START_MS, 0), (START_MS + 1, 1), (START_MS + 2, 2), (1 << 50, 3)]
)
async def test_a_subscription_starts_at_a_time(
    store: Store, channel: Channel, since: int, floor: int
) -> None:
    for n in range(3):
        await store.append(channel.number, new_event(received_at=START_MS + n))

    _, claim = await make_subscription(store, since=since)

    assert claim.progress.floor == floor


async def test_subscribing_to_no_channel_fails(store: Store) -> None:
    with pytest.raises(ChannelNotFound):
        await store.subscribe("nowhere", "ana", None, START_MS)


async def test_subscribing_at_once_makes_one(store: Store, channel: Channel) -> None:
    made = await asyncio.gather(
        *(store.subscribe("chatwoot", "ana", None, START_MS) for _ in range(10))
    )

    assert len({subscription.number for subscription, _ in made}) == 1
    assert [created for _, created in made].count(True) == 1


async def test_status_says_how_far_each_subscription_is(
    stores: Stores, store: Store, channel: Channel
) -> None:
    other = await make_channel(store, "a-channel")
    ana, claim = await make_subscription(store, name="ana")
    await make_subscription(store, name="bia")
    await make_subscription(store, "a-channel", "zoe")
    for n in range(5):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    await record(
        store, claim, Progress(1, (mark(2, MarkState.DEAD), mark(4), mark(3, MarkState.WAITING)))
    )
    store = await stores.reopen(store)

    status = await store.subscription_status()
    only = await store.subscription_status([ana.number, 4_711])
    channels = await store.channel_status()

    assert [(s.subscription.name, s.backlog, s.oldest_waiting_at, s.dead) for s in status] == [
        ("zoe", 0, None, 0),
        ("ana", 2, START_MS + 2, 1),
        ("bia", 5, START_MS, 0),
    ]
    assert list(only) == [status[1]]
    assert list(await store.subscription_status([])) == []
    assert [(c.channel, c.events, c.last_received_at) for c in channels] == [
        ("a-channel", 0, None),
        ("chatwoot", 5, START_MS + 4),
    ]
    assert other.name == "a-channel"


async def test_what_came_since_a_time_is_told_from_what_waits_for_its_next_attempt(
    store: Store, channel: Channel
) -> None:
    ana, claim = await make_subscription(store)
    for n in range(8):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    again = Mark(5, MarkState.WAITING, 1, 1, START_MS + 99, START_MS, "it answered 500", START_MS)
    marks = (waiting(2), mark(4), again, mark(6, MarkState.UNDER_WAY))
    await record(store, claim, Progress(1, marks, skipped=(Span(7, 7),)))

    [status] = await store.subscription_status()
    came = [await store.came(ana.number, START_MS + n) for n in (0, 2, 5, 7, 8)]

    assert (status.backlog, status.retrying, status.next_attempt_at) == (5, 2, START_MS + 99)
    assert came == [
        Came(3, START_MS + 2),
        Came(3, START_MS + 2),
        Came(2, START_MS + 5),
        Came(1, START_MS + 7),
        Came(),
    ]
    assert await store.came(4_711, START_MS) == Came()


async def test_what_was_left_out_waits_no_more_whatever_its_reader_says_later(
    store: Store, channel: Channel
) -> None:
    """Its reader had it under way when the filter changed, and does not know yet."""
    ana, claim = await make_subscription(store)
    await store.change_subscription(ana.number, lambda config: config.with_filter("kind:x"))
    for n in range(3):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    await record(store, claim, Progress(0, skipped=(Span(2, 2),)))
    await record(store, claim, Progress(0, (waiting(1), waiting(2), mark(3))))

    [status] = await store.subscription_status()
    assert (status.backlog, status.retrying) == (1, 1)
    states = await store.deliveries(channel.number, [1, 2, 3])
    assert [state.state for [state] in states] == ["waiting", "skipped", "delivered"]


async def test_who_left_when_is_kept(stores: Stores, store: Store, channel: Channel) -> None:
    """Until it is claimed again; of an older claim, it says nothing."""
    ana, first = await make_subscription(store, name="ana")
    bob, _ = await make_subscription(store, name="bob")
    await store.subscribe("chatwoot", "never read", None, START_MS)
    await store.leave(START_MS + 1, first)
    store = await stores.reopen(store)
    await store.leave(START_MS + 2)

    async def left() -> list[int | None]:
        return [s.left_at for s in await store.subscriptions("chatwoot")]

    assert await left() == [START_MS + 1, START_MS + 2, None]
    await store.claim(ana.number)
    await store.leave(START_MS + 3, first)
    assert await left() == [None, START_MS + 2, None]
    assert bob.left_at is None


async def test_what_waits_is_skipped_and_can_be_replayed(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """What was settled before stays so, and nothing of it is kept for the subscription."""
    await append_many(store, channel, 1)
    ana, claim = await make_subscription(store, since=0)
    await append_many(store, channel, 5)
    await record(store, claim, Progress(0, (mark(2), waiting(3), mark(4, MarkState.DEAD))))

    skipped = [await store.skip(ana.number, up_to) for up_to in (3, 99, 99)]
    store = await stores.reopen(store)
    await append_many(store, channel, 1)

    assert skipped == [2, 2, 0]
    states = [(await deliveries(store, channel, n))[0].state for n in range(1, 8)]
    assert states == ["skipped", "delivered", "skipped", "dead", "skipped", "skipped", "pending"]
    [status] = await store.subscription_status()
    assert (status.backlog, status.retrying, status.dead) == (1, 0, 1)
    assert await store.came(ana.number, 0) == Came(1, START_MS)
    replay = await store.create_replay(ana, Selection(last=3), 20.0, START_MS)
    found = await store.select(channel.number, replay, 0, 99)
    assert [outline.sequence for outline in found.outlines] == [1, 2, 3]
    with pytest.raises(SubscriptionNotFound):
        await store.skip(4_711, 1)


async def test_a_forgotten_subscription_keeps_nothing_back(store: Store) -> None:
    """What waited for it may be trimmed, and its name starts anew."""
    channel = await make_channel(store)
    subscription, claim = await make_subscription(store)
    await store.append(channel.number, new_event())
    assert await trim(store, channel, START_MS * 2, 10) == 0

    await store.unsubscribe(subscription.number)

    assert await store.subscription_status() == []
    assert await store.claim(subscription.number) is None
    store.record(claim, Progress(1))  # a late word of its last reader changes nothing
    await store.flush()
    assert await trim(store, channel, START_MS * 2, 10) == 1
    again, created = await store.subscribe(channel.name, subscription.name, None, 1)
    assert created
    assert again.number != subscription.number


async def test_a_subscription_is_set_up_as_asked_and_changed_later(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """What it was made with is not what a second subscriber asks for."""
    forward = ForwardConfig("http://bot:8001/hook", 5.0, 2, (("X-Key", b"\x00sealed"),))
    config = SubscriptionConfig(
        PolicyChanges(retry_delays_s=(1.0, 2.5), strict_order=True), forward
    )

    made, _ = await store.subscribe("chatwoot", "bot", None, START_MS, config)
    again, created = await store.subscribe("chatwoot", "bot", None, START_MS)
    plain, _ = await store.subscribe("chatwoot", "ana", None, START_MS)
    changed = await store.change_subscription(
        made.number, lambda c: msgspec.structs.replace(c, paused="the target answered 410")
    )
    store = await stores.reopen(store)

    assert (made.config, again, created) == (config, made, False)
    assert plain.config == SubscriptionConfig()
    assert changed.config == msgspec.structs.replace(config, paused="the target answered 410")
    assert list(await store.subscriptions()) == [plain, changed]
    assert list(await store.subscriptions("nowhere")) == []
    [status] = await store.subscription_status([made.number])
    assert status.subscription == changed


async def test_what_is_gone_cannot_be_changed(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    await store.unsubscribe(subscription.number)
    await store.unsubscribe(subscription.number)

    with pytest.raises(SubscriptionNotFound):
        await store.change_subscription(subscription.number, lambda config: config)


async def test_a_channel_has_so_many_subscriptions(
    store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_server.store.sql.catalogue.MAX_SUBSCRIPTIONS", 2)
    await make_channel(store, "other")
    ana, _ = await make_subscription(store, name="ana")
    await make_subscription(store, name="bia")

    with pytest.raises(TooManySubscriptions):
        await make_subscription(store, name="cid")
    assert (await store.subscribe("chatwoot", "bia", None, START_MS))[1] is False
    await make_subscription(store, "other", "cid")
    await store.unsubscribe(ana.number)
    await make_subscription(store, name="cid")


async def test_what_was_deleted_before_is_no_backlog(store: Store, channel: Channel) -> None:
    """Whoever starts at the beginning of an old channel starts at what is left."""
    await aged(store, channel, 6)
    assert await trim(store, channel, START_MS + 4, 99) == 4

    _, claim = await make_subscription(store, since=0)
    [status] = await store.subscription_status()
    assert (claim.progress.floor, status.backlog) == (4, 2)
    assert await trim(store, channel, START_MS * 2, 99) == 0
    await store.drop_oldest(channel.number, 99)
    _, empty = await make_subscription(store, name="bia", since=START_MS - 1)
    assert empty.progress.floor == 6
    assert [s.backlog for s in await store.subscription_status()] == [0, 0]


async def test_a_backlog_is_what_is_behind_the_floor_and_not_settled(
    store: Store, channel: Channel
) -> None:
    _, claim = await make_subscription(store)
    await aged(store, channel, 9)
    marks = (
        mark(4),
        mark(5, MarkState.WAITING),
        mark(6, MarkState.UNDER_WAY),
        mark(7, MarkState.DEAD),
    )

    backlogs = []
    for progress in (Progress(0), Progress(2), Progress(2, marks), Progress(4), Progress(9)):
        store.record(claim, progress)
        [status] = await store.subscription_status()
        backlogs.append((status.backlog, status.oldest_waiting_at, status.dead))

    assert backlogs == [
        (9, START_MS, 0),
        (7, START_MS + 2, 0),
        (5, START_MS + 2, 1),
        (4, START_MS + 4, 1),
        (0, None, 1),
    ]
