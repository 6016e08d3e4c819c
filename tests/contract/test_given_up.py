"""What every store promises where somebody lets a delivery die that fails and is tried again."""

from __future__ import annotations

import pytest

from relay_server.reported import DeadReason
from relay_server.store.feed import GivenUp, Progressed
from relay_server.store.interface import Store
from relay_server.values import Channel, Mark, MarkState, Progress, Selection
from tests.support.clock import START_MS
from tests.support.events import attempt, mark
from tests.support.stores import Stores, append_many, deliveries, make_subscription, record

WHY, NOW = "given up by ana", START_MS + 7
WAITING = Mark(2, MarkState.WAITING, 3, 2, START_MS + 9_000, START_MS, "the target answered 503")


async def test_what_is_given_up_is_dead_and_waits_for_nobody(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Only what was tried and is not settled; it is told, and comes through a restart."""
    ana, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    await record(store, claim, Progress(1, (WAITING, mark(3, MarkState.UNDER_WAY))))
    told = list[object]()
    for kind in (GivenUp, Progressed):
        store.feed.listen(kind, told.append)

    assert await store.give_up(ana.number, [1, 2, 3, 4, 9], WHY, NOW) == 2
    assert await store.give_up(ana.number, [2], WHY, NOW) == 0
    assert await store.give_up(4_711, [2], WHY, NOW) == 0

    assert [one.sequences for one in told if isinstance(one, GivenUp)] == [(2, 3)]
    assert sum(len(one.marks) for one in told if isinstance(one, Progressed)) == 2
    store = await stores.reopen(store)
    states = [(await deliveries(store, channel, s))[0].state for s in (1, 2, 3, 4)]
    assert states == ["delivered", "dead", "dead", "pending"]
    assert await store.dead_reasons(ana.number, 9) == [DeadReason(WHY, 2, NOW, NOW)]
    [status] = await store.subscription_status()
    assert (status.dead, status.backlog, status.retrying) == (2, 1, 0)
    again = await store.claim(ana.number)
    assert again is not None
    assert [(m.sequence, m.state, m.due_at) for m in again.progress.marks] == [
        (2, MarkState.DEAD, 0),
        (3, MarkState.DEAD, 0),
    ]


@pytest.mark.parametrize("floor", [1, 2], ids=["above", "below"])
async def test_what_its_target_takes_after_all_is_delivered(
    store: Store, channel: Channel, floor: int
) -> None:
    """Above the floor and below it; the result was recorded after it was given up."""
    ana, claim = await make_subscription(store)
    await append_many(store, channel, 3)
    await record(store, claim, Progress(1, (mark(2, MarkState.UNDER_WAY), mark(3))))
    assert await store.give_up(ana.number, [2], WHY, NOW) == 1
    assert (await deliveries(store, channel, 2))[0].state == "dead"

    floor = 3 if floor == 2 else 1
    await record(store, claim, Progress(floor, (mark(2),), (attempt(2),)))

    [found] = await deliveries(store, channel, 2)
    [status] = await store.subscription_status()
    assert (found.state, found.reason, status.dead) == ("delivered", "", 0)
    assert await store.dead(ana.number, 0, 9) == []


async def test_what_fails_after_it_was_given_up_stays_dead(store: Store, channel: Channel) -> None:
    ana, claim = await make_subscription(store)
    await append_many(store, channel, 2)
    await record(store, claim, Progress(0, (mark(1, MarkState.UNDER_WAY),)))
    await store.give_up(ana.number, [1], WHY, NOW)

    dead = Mark(1, MarkState.DEAD, 1, reason=WHY, changed_at=NOW)
    await record(store, claim, Progress(1, (dead,), (attempt(1, 1, 503),)))

    [found] = await deliveries(store, channel, 1)
    assert (found.state, found.reason, found.attempts) == ("dead", WHY, (attempt(1, 1, 503),))


async def test_an_older_claim_gives_nothing_back(store: Store, channel: Channel) -> None:
    """What a reader says that lost its claim before, says nothing of what was given up since."""
    ana, old = await make_subscription(store)
    await append_many(store, channel, 2)
    await record(store, old, Progress(0, (mark(1, MarkState.UNDER_WAY),)))
    assert await store.claim(ana.number) is not None
    await store.give_up(ana.number, [1], WHY, NOW)

    await record(store, old, Progress(2, (mark(1),)))

    assert (await deliveries(store, channel, 1))[0].state == "dead"


async def test_a_replay_brings_it_after_all(store: Store, channel: Channel) -> None:
    ana, claim = await make_subscription(store)
    await append_many(store, channel, 2)
    await record(store, claim, Progress(1, (WAITING,)))
    await store.give_up(ana.number, [2], WHY, NOW)
    [dead] = await store.dead(ana.number, 0, 9)

    replay = await store.create_replay(ana, Selection(dead=True, reason=WHY), 5.0, NOW)
    of_replay = await store.claim(replay.number)
    assert of_replay is not None
    await record(store, of_replay, Progress(2, (), (attempt(2),)))

    assert (dead.event.sequence, dead.reason, dead.attempts) == (2, WHY, 3)
    assert (await deliveries(store, channel, 2))[0].state == "delivered"
