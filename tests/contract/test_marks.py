"""What every store promises of deliveries around the floor: above it, at it and below it."""

from __future__ import annotations

from relay_server.store.interface import Store
from relay_server.values import Channel, Mark, MarkState, Progress, Selection
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
)

DEAD = MarkState.DEAD


async def states(store: Store, channel: Channel, last: int) -> list[str]:
    """What became of the first events, for the one subscription."""
    return [(await deliveries(store, channel, n))[0].state for n in range(1, last + 1)]


async def test_what_is_above_the_floor_stays_known_as_the_floor_rises(
    stores: Stores, store: Store, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 6)
    await record(store, claim, Progress(0, (mark(3), waiting(5))))

    await record(store, claim, Progress(1))
    store = await stores.reopen(store)

    assert await progress_of(store, subscription.number) == Progress(1, (mark(3), waiting(5)))


async def test_the_newest_mark_of_a_delivery_counts_whole(
    stores: Stores, store: Store, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 3)
    newer = Mark(2, MarkState.UNDER_WAY, 7, 6, START_MS + 1, START_MS + 2, "new", START_MS + 3)
    await record(store, claim, Progress(0, (waiting(2),)))

    await record(store, claim, Progress(0, (newer,)))
    store = await stores.reopen(store)

    assert await progress_of(store, subscription.number) == Progress(0, (newer,))


async def test_what_a_replay_delivered_above_the_floor_has_no_reason_left(
    store: Store, channel: Channel
) -> None:
    subscription, live = await make_subscription(store)
    await append_many(store, channel, 3)
    store.record(live, Progress(0, (Mark(2, DEAD, 9, 9, reason="it answered 500"),)))
    _, claim = await make_replay(store, subscription)

    await record(store, claim, Progress(2, (), (attempt(2),)))

    own, _ = await deliveries(store, channel, 2)
    assert (own.state, own.reason) == ("delivered", "")


async def test_what_the_floor_reaches_is_delivered(store: Store, channel: Channel) -> None:
    """The event at the floor itself, too, whatever was known of it before."""
    _, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    await record(store, claim, Progress(0, (waiting(1), waiting(2), waiting(3))))

    await record(store, claim, Progress(2))

    assert await states(store, channel, 4) == ["delivered", "delivered", "waiting", "pending"]


async def test_the_floor_of_one_subscription_forgets_nothing_of_another(
    store: Store, channel: Channel
) -> None:
    _, ana = await make_subscription(store, name="ana")
    bia, its = await make_subscription(store, name="bia")
    await append_many(store, channel, 3)
    store.record(its, Progress(0, (waiting(2),)))
    await record(store, ana, Progress(0, (waiting(2),)))

    await record(store, ana, Progress(3))

    assert await progress_of(store, bia.number) == Progress(0, (waiting(2),))


async def test_what_is_dead_or_discarded_is_said_so_below_the_floor(
    store: Store, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    await record(store, claim, Progress(0, (mark(1, DEAD), mark(2, DEAD))))
    assert await store.discard(subscription.number, [2], START_MS) == 1

    await record(store, claim, Progress(3))

    assert await states(store, channel, 4) == ["dead", "discarded", "delivered", "pending"]


async def test_a_dead_delivery_at_the_floor_makes_the_backlog_no_smaller(
    store: Store, channel: Channel
) -> None:
    _, claim = await make_subscription(store)
    await append_many(store, channel, 5)

    await record(store, claim, Progress(2, (mark(2, DEAD), mark(4))))

    [status] = await store.subscription_status()
    assert (status.backlog, status.dead) == (2, 1)


async def test_a_replay_s_progress_is_its_own(store: Store, channel: Channel) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    store.record(claim, Progress(4))
    first, second = [
        await store.create_replay(subscription, Selection(), 20.0, START_MS, "ana")
        for _ in range(2)
    ]
    of_first, of_second = await store.claim(first.number), await store.claim(second.number)
    assert of_first is not None
    assert of_second is not None

    await record(store, of_first, Progress(3, (), (attempt(1), attempt(2), attempt(3))))

    by_number = {replay.number: replay for replay in await store.replays()}
    assert (by_number[first.number].floor, by_number[second.number].floor) == (3, 0)
    assert (by_number[first.number].delivered, by_number[second.number].delivered) == (3, 0)


async def test_the_oldest_that_waits_is_each_subscription_s_own(
    store: Store, channel: Channel
) -> None:
    """What is settled above the floor does not wait, nor does anything of another channel."""
    other = await make_channel(store, "other")
    _, ana = await make_subscription(store, name="ana")
    _, bia = await make_subscription(store, name="bia")
    _, caio = await make_subscription(store, name="caio")
    await aged(store, channel, 4)
    await aged(store, other, 2)

    store.record(ana, Progress(0, (mark(1), waiting(2))))
    store.record(bia, Progress(0, (mark(1), mark(2), mark(3))))
    await record(store, caio, Progress(4))

    found = {s.subscription.name: s.oldest_waiting_at for s in await store.subscription_status()}
    assert found == {"ana": START_MS + 1, "bia": START_MS + 3, "caio": None}


async def test_a_replay_settles_nothing_for_another_subscription(
    store: Store, channel: Channel
) -> None:
    bia, its = await make_subscription(store, name="bia")
    ana, hers = await make_subscription(store, name="ana")
    await append_many(store, channel, 4)
    for claim in (hers, its):
        store.record(claim, Progress(3, (mark(2, DEAD),)))
    await store.create_replay(bia, Selection(), 20.0, START_MS)
    _, claimed = await make_replay(store, ana)

    await record(store, claimed, Progress(2, (), (attempt(2),)))

    assert [d.event.sequence for d in await store.dead(ana.number, 0, 9)] == []
    assert [d.event.sequence for d in await store.dead(bia.number, 0, 9)] == [2]


async def test_a_replay_ends_what_is_dead_or_discarded_and_not_what_waits(
    store: Store, channel: Channel
) -> None:
    ana, live = await make_subscription(store)
    await append_many(store, channel, 4)
    await record(store, live, Progress(2, (mark(1, DEAD), mark(2, DEAD), waiting(3))))
    assert await store.discard(ana.number, [2], START_MS) == 1
    _, claimed = await make_replay(store, ana)

    await record(store, claimed, Progress(3, (), (attempt(1), attempt(2), attempt(3))))

    assert await states(store, channel, 3) == ["delivered", "delivered", "waiting"]


async def test_what_died_is_listed_in_a_channel_of_its_own(store: Store, channel: Channel) -> None:
    """The first channel has no event of that number: it has nothing to do with it."""
    await make_subscription(store)
    ana, _ = await make_subscription(store)
    await store.create_replay(ana, Selection(), 20.0, START_MS)
    other = await make_channel(store, "other")
    bia, its = await make_subscription(store, "other", "bia")
    await append_many(store, other, 3)
    store.record(its, Progress(1, (mark(1, DEAD),)))
    replay, claimed = await make_replay(store, bia)
    await record(store, claimed, Progress(0, (mark(2, DEAD),)))

    assert [d.event.sequence for d in await store.dead(bia.number, 0, 9)] == [1]
    _, replayed = await deliveries(store, other, 2)
    assert (replayed.replay, replayed.state) == (-replay.number, "dead")
