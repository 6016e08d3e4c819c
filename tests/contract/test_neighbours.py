"""What every store promises of others: what happens to one changes nothing beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from relay_server.configs import ChannelConfig
from relay_server.store.interface import Store
from relay_server.values import (
    Channel,
    Claim,
    Mark,
    MarkState,
    Progress,
    Removable,
    ReplayState,
    Selection,
    Subscription,
)
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, waiting
from tests.support.stores import (
    Stores,
    aged,
    append_many,
    deliveries,
    make_channel,
    make_replay,
    make_subscription,
    progress_of,
    record,
    sequences,
)

DEAD = MarkState.DEAD


async def dead(store: Store, subscription: Subscription) -> list[int]:
    return [d.event.sequence for d in await store.dead(subscription.number, 0, 99)]


async def states(store: Store, channel: Channel, last: int) -> list[list[str]]:
    """What became of the first events, for each subscription and replay."""
    found = await store.deliveries(channel.number, range(1, last + 1))
    return [[state.state for state in of_event] for of_event in found]


async def neighbour(store: Store) -> tuple[Channel, Subscription, Claim]:
    """A channel beside, of six events, and how its one subscription has come so far.

    The first is dead and the second discarded below the floor; above it the fifth waits.
    """
    other = await make_channel(store, "other")
    subscription, claim = await make_subscription(store, "other", "bia", since=0)
    await append_many(store, other, 6)
    marks = (mark(1, DEAD), mark(2, DEAD), waiting(5))
    store.record(claim, Progress(4, marks, (attempt(1), attempt(2), attempt(5))))
    assert await store.discard(subscription.number, [2], START_MS) == 1
    return other, subscription, claim


async def is_as_it_was(store: Store, other: Channel, subscription: Subscription) -> None:
    """Nothing of `neighbour` is changed."""
    assert await sequences(store, other) == [1, 2, 3, 4, 5, 6]
    found = await store.deliveries(other.number, range(1, 7))
    assert [state.state for [state] in found] == [
        "dead",
        "discarded",
        "delivered",
        "delivered",
        "waiting",
        "pending",
    ]
    assert [len(state.attempts) for [state] in found] == [1, 1, 0, 0, 1, 0]
    [status] = await store.subscription_status([subscription.number])
    assert (status.backlog, status.dead) == (2, 1)
    assert await progress_of(store, subscription.number) == Progress(4, (waiting(5),))


async def test_a_channel_is_set_alone(stores: Stores, store: Store, channel: Channel) -> None:
    other = await store.create_channel("other", ChannelConfig(retention_days=3), START_MS)

    changed = await store.change_channel("chatwoot", lambda _: ChannelConfig(retention_days=9))
    store = await stores.reopen(store)

    assert dict(store.catalog.channels) == {"chatwoot": changed, "other": other}


async def test_a_subscription_is_found_in_its_own_channel_alone(
    store: Store, channel: Channel
) -> None:
    await make_channel(store, "other")
    first, _ = await make_subscription(store)
    second, created = await store.subscribe("other", "ana", None, START_MS)

    changed = await store.change_subscription(second.number, lambda config: config)

    assert created
    assert (first.channel, second.channel) == ("chatwoot", "other")
    assert changed == second
    assert await store.subscribe("chatwoot", "ana", None, START_MS) == (first, False)


async def test_events_are_listed_of_one_channel(store: Store) -> None:
    """However many are asked for."""
    channels = [await make_channel(store, name) for name in ("b", "c", "d")]
    ids = [await append_many(store, channel, 2) for channel in channels]

    listed = [await store.list_events(channel.number, None, 99) for channel in channels]

    assert [[event.id for event in events] for events in listed] == [of[::-1] for of in ids]


async def test_what_may_go_is_of_one_channel(store: Store) -> None:
    channels = [await make_channel(store, name) for name in ("b", "c", "d")]
    for channel, count in zip(channels, (4, 2, 5), strict=True):
        await append_many(store, channel, count)

    assert await store.removable(channels[1].number, None, 0, 9) == Removable((1, 2), None)
    assert await store.drop_oldest(channels[1].number, 9) == 2
    assert [len(await sequences(store, channel)) for channel in channels] == [4, 0, 5]


async def test_channels_are_deleted_at_once_and_wholly(stores: Stores, store: Store) -> None:
    """One that is done ends nothing for the other, and each that is kept is as it was."""
    small, large = [await make_channel(store, name) for name in ("small", "large")]
    other, subscription, _ = await neighbour(store)
    await append_many(store, small, 1)
    await append_many(store, large, 1_100)  # more than one sweep deletes

    await asyncio.gather(store.delete_channel("small"), store.delete_channel("large"))
    store = await stores.reopen(store)  # which refuses events of nobody

    assert set(store.catalog.channels) == {"other"}
    await is_as_it_was(store, other, subscription)


@pytest.mark.parametrize("whole", [True, False])
async def test_readers_of_another_keep_what_they_did(
    store: Store, channel: Channel, whole: bool
) -> None:
    """Where a channel is deleted, or one subscription of it."""
    other, subscription, _ = await neighbour(store)
    gone, _ = await make_subscription(store)
    replays = [
        await store.create_replay(reader, Selection(), 20.0, START_MS)
        for reader in (gone, subscription)
    ]
    claim = await store.claim(replays[1].number)
    assert claim is not None
    await record(store, claim, Progress(2, (waiting(4),), (attempt(1), attempt(4, 1, 500))))

    await (store.delete_channel("chatwoot") if whole else store.unsubscribe(gone.number))
    while await store.sweep(100):
        pass

    assert [(r.number, r.delivered) for r in await store.replays()] == [(replays[1].number, 1)]
    assert await progress_of(store, replays[1].number) == Progress(2, (waiting(4),))
    found = await deliveries(store, other, 4)
    assert [(s.state, len(s.attempts)) for s in found] == [("delivered", 0), ("waiting", 1)]


async def test_what_is_deleted_in_one_channel_is_kept_in_another(
    store: Store, channel: Channel
) -> None:
    """Events of the same sequences, and whatever became of them."""
    other, subscription, _ = await neighbour(store)
    await make_subscription(store, name="ana")
    await append_many(store, channel, 6)

    assert await store.drop_oldest(channel.number, 3) == 3
    assert await store.drop_oldest(channel.number, 2) == 2

    await is_as_it_was(store, other, subscription)


async def test_a_subscription_begins_where_its_own_channel_does(store: Store) -> None:
    """Behind what was deleted there, or what came before a time, whatever the others hold."""
    before, channel, behind = [await make_channel(store, name) for name in ("b", "c", "d")]
    for one, count in ((before, 3), (channel, 6), (behind, 1)):
        await aged(store, one, count)

    backlogs = []
    for name, since, drop in (
        ("davi", None, 0),
        ("ana", START_MS + 4, 0),
        ("bia", 0, 2),
        ("caio", 0, 9),
    ):
        await store.drop_oldest(channel.number, drop)
        made, _ = await make_subscription(store, "c", name, since)
        [status] = await store.subscription_status([made.number])
        backlogs.append(status.backlog)

    assert backlogs == [0, 2, 4, 0]


async def test_an_event_s_replays_are_those_that_came_to_it(store: Store, channel: Channel) -> None:
    """Not others of its channel, nor those of another; the first of them first."""
    tried = Progress(1, (), (attempt(1),))
    other = await make_channel(store, "other")
    made = []
    for one in (channel, other):
        await append_many(store, one, 2)
        subscription, own = await make_subscription(store, one.name, since=0)
        store.record(own, Progress(0, (waiting(1), waiting(2)), (attempt(1), attempt(2))))
        for progress in (tried, Progress(1, (waiting(2),)), Progress(0), tried):
            replay, claim = await make_replay(store, subscription)
            store.record(claim, progress)
            made.append(-replay.number)

    found = [await deliveries(store, one, n) for one in (channel, other) for n in (1, 2)]

    assert [[s.replay for s in states] for states in found] == [
        [0, made[0], made[3]],
        [0, made[1]],
        [0, made[4], made[7]],
        [0, made[5]],
    ]


async def test_what_is_forgotten_in_one_channel_is_kept_in_another(
    store: Store, channel: Channel
) -> None:
    other, subscription, _ = await neighbour(store)
    replay = await store.create_replay(subscription, Selection(), 20.0, START_MS)
    ended = await store.end_replay(replay.number, ReplayState.DONE, START_MS)

    assert await store.forget_dead(channel.number, START_MS * 2, 9, START_MS * 2) == 0

    assert await store.replays() == [ended]
    await is_as_it_was(store, other, subscription)


async def test_a_replay_has_delivered_what_was_answered_with_2xx(
    store: Store, channel: Channel
) -> None:
    """It, and neither its subscription nor another replay."""
    subscription, own = await make_subscription(store)
    await append_many(store, channel, 5)
    tried = tuple(attempt(n, 1, status) for n, status in enumerate((199, 200, 299, 300, None), 1))
    store.record(own, Progress(5, (), (*tried, attempt(4, 2))))
    counts = []
    for attempts in (tried, (attempt(1), *tried[1:])):
        replay, claim = await make_replay(store, subscription)
        store.record(claim, Progress(4, (), attempts))
        listed = await store.replays()
        ended = await store.end_replay(replay.number, ReplayState.DONE, START_MS)
        counts.append((listed[0].delivered, ended.delivered))

    assert counts == [(2, 2), (3, 3)]


async def test_what_was_discarded_is_only_settled_once_its_event_is_gone(
    store: Store, channel: Channel
) -> None:
    """Above the floor, where its mark stays."""
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 3)
    store.record(claim, Progress(0, (mark(2, DEAD), mark(3, DEAD))))
    assert await store.discard(subscription.number, [2, 3], START_MS) == 2

    assert await store.remove(channel.number, [2]) == 1

    again = await store.claim(subscription.number)
    assert again is not None
    assert [(m.sequence, m.state.name) for m in again.progress.marks] == [
        (2, "DELIVERED"),
        (3, "DISCARDED"),
    ]


async def test_what_is_deleted_above_a_floor_is_settled_still(
    store: Store, channel: Channel
) -> None:
    """What waits is counted without it."""
    _, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    await record(store, claim, Progress(1, (mark(2), waiting(3))))

    assert await store.remove(channel.number, [1, 2]) == 2

    [status] = await store.subscription_status()
    assert status.backlog == 2


async def test_dropping_says_nothing_of_what_is_kept_behind(store: Store, channel: Channel) -> None:
    """Below the floor it is dead or discarded as before, above it it waits as before."""
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 8)
    store.record(claim, Progress(6, (mark(4, DEAD), mark(5, DEAD), waiting(8))))
    assert await store.discard(subscription.number, [5], START_MS) == 1

    assert await store.drop_oldest(channel.number, 2) == 2

    assert (await states(store, channel, 8))[3:] == [
        ["dead"],
        ["discarded"],
        ["delivered"],
        ["pending"],
        ["waiting"],
    ]
    assert await progress_of(store, subscription.number) == Progress(6, (waiting(8),))


async def test_what_is_dropped_waits_and_is_dead_no_more(store: Store, channel: Channel) -> None:
    """The last of it, too; what another subscription waits for behind it is not touched."""
    _, ana = await make_subscription(store, name="ana")
    bia, its = await make_subscription(store, name="bia")
    await append_many(store, channel, 7)
    store.record(ana, Progress(6))
    await record(store, its, Progress(1, (waiting(2), mark(3, DEAD), waiting(5), mark(6))))

    assert await store.drop_oldest(channel.number, 3) == 3

    found = {s.subscription.name: (s.backlog, s.dead) for s in await store.subscription_status()}
    assert found == {"ana": (1, 0), "bia": (3, 0)}
    assert await progress_of(store, bia.number) == Progress(3, (waiting(5), mark(6)))


async def test_a_replay_is_for_what_is_dead_for_its_own_subscription(
    store: Store, channel: Channel
) -> None:
    starts, chosen = list[int](), list[Sequence[int]]()
    readers = [await make_subscription(store, name=name) for name in ("ana", "bia")]
    await append_many(store, channel, 5)
    for (_, claim), died in zip(readers, ((3,), (2, 4)), strict=True):
        store.record(claim, Progress(0, (mark(1), *(mark(n, DEAD) for n in died))))

    for reader, _ in readers:
        replay = await store.create_replay(reader, Selection(dead=True), 20.0, START_MS)
        found = await store.select(channel.number, replay, replay.start, 9)
        starts.append(replay.start)
        chosen.append([outline.sequence for outline in found.outlines])

    assert chosen == [[3], [2, 4]]
    assert starts == [2, 1]


async def test_what_a_replay_gives_up_is_dead_for_its_own_subscription_alone(
    store: Store, channel: Channel
) -> None:
    claims = []
    readers = [await make_subscription(store, name=name) for name in ("ana", "bia", "caio")]
    await append_many(store, channel, 4)
    for reader, claim in readers:
        store.record(claim, Progress(4))
        replay = await store.create_replay(reader, Selection(), 20.0, START_MS)
        claims.append(await store.claim(replay.number))
    assert claims[1] is not None

    await record(store, claims[1], Progress(4, (mark(2, DEAD),)))

    assert [await dead(store, reader) for reader, _ in readers] == [[], [2], []]


async def test_what_a_replay_gives_up_of_what_was_dropped_is_listed_nowhere(
    store: Store, channel: Channel
) -> None:
    """For whichever subscription the replay is."""
    claims = []
    readers = [await make_subscription(store, name=name) for name in ("ana", "bia", "caio")]
    await append_many(store, channel, 3)
    for reader, _ in readers:
        replay = await store.create_replay(reader, Selection(), 20.0, START_MS)
        claims.append(await store.claim(replay.number))
    await store.drop_oldest(channel.number, 2)

    for claim in claims:
        assert claim is not None
        store.record(claim, Progress(2, (mark(2, DEAD),)))

    assert [s.dead for s in await store.subscription_status()] == [0, 0, 0]


async def test_what_was_discarded_above_the_floor_dies_again_with_a_replay(
    store: Store, channel: Channel
) -> None:
    subscription, live = await make_subscription(store)
    await append_many(store, channel, 3)
    store.record(live, Progress(0, (mark(2, DEAD),)))
    assert await store.discard(subscription.number, [2], START_MS + 7) == 1
    again = await store.claim(subscription.number)
    assert again is not None
    discarded = Mark(2, MarkState.DISCARDED, 1, changed_at=START_MS + 7)
    assert again.progress == Progress(0, (discarded,))
    _, claim = await make_replay(store, subscription)

    gave_up = Mark(2, DEAD, 3, 3, START_MS + 5_000, START_MS, "in vain", START_MS + 9)
    await record(store, claim, Progress(2, (gave_up, mark(1, DEAD))))

    assert await dead(store, subscription) == [2]  # the first is on its way yet
    [own, _] = await deliveries(store, channel, 2)
    assert (own.state, own.reason) == ("dead", "in vain")


async def test_what_a_replay_gives_up_is_due_no_more(store: Store, channel: Channel) -> None:
    subscription, live = await make_subscription(store)
    await append_many(store, channel, 2)
    store.record(live, Progress(2))
    _, claim = await make_replay(store, subscription)

    await record(store, claim, Progress(1, (Mark(1, DEAD, 3, 3, reason="in vain", changed_at=9),)))

    [own, _] = await deliveries(store, channel, 1)
    assert (own.state, own.reason, own.due_at) == ("dead", "in vain", 0)
