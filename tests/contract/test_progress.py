"""What every store promises of progress, and of who may record it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay_server.errors import EventNotFound, SubscriptionNotFound
from relay_server.store.interface import Store
from relay_server.values import HAND_OFF, Attempt, Channel, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import (
    Stores,
    append_many,
    deliveries,
    make_subscription,
    progress_of,
    record,
)


async def test_progress_is_where_the_last_reader_left_it(
    stores: Stores, store: Store, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 6)
    waiting = Mark(
        5, MarkState.WAITING, 3, 2, START_MS + 9, START_MS - 9, "the target answered 500"
    )
    marks = (mark(1), mark(2, MarkState.DEAD), mark(4), waiting, mark(6, MarkState.UNDER_WAY))

    await record(
        store, claim, Progress(2, marks, (attempt(4), attempt(5, 1, 500), attempt(5, 2, 500)))
    )
    store = await stores.reopen(store)
    again = await store.claim(subscription.number)

    assert again is not None
    assert again.epoch > claim.epoch
    assert again.progress.floor == 2
    assert again.progress.marks == marks[2:]
    assert [d.state for d in await deliveries(store, channel, 2)] == ["dead"]
    [fifth] = await deliveries(store, channel, 5)
    assert fifth.attempts == (attempt(5, 1, 500), attempt(5, 2, 500))


async def test_recording_twice_changes_nothing(store: Store, channel: Channel) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    progress = Progress(1, (mark(3),), (attempt(1), attempt(3)))

    for _ in range(2):
        await record(store, claim, progress)
    store.record(claim, Progress(0, (mark(1, MarkState.UNDER_WAY),)))  # of before: too late

    assert await progress_of(store, subscription.number) == Progress(1, (mark(3),))
    assert (await deliveries(store, channel, 3))[0].attempts == (attempt(3),)
    assert (await deliveries(store, channel, 1))[0].state == "delivered"


async def test_a_newer_mark_replaces_an_older_one(store: Store, channel: Channel) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 3)

    store.record(claim, Progress(0, (mark(2, MarkState.UNDER_WAY),)))
    await record(store, claim, Progress(0, (mark(2, MarkState.DEAD, 9),)))
    store.record(claim, Progress(3))

    [state] = await deliveries(store, channel, 2)
    [status] = await store.subscription_status()
    assert (state.state, status.dead, status.backlog) == ("dead", 1, 0)
    assert await progress_of(store, subscription.number) == Progress(3)


async def test_what_an_older_claim_records_is_dropped(store: Store, channel: Channel) -> None:
    subscription, old = await make_subscription(store)
    await append_many(store, channel, 3)
    new = await store.claim(subscription.number)
    assert new is not None

    store.record(old, Progress(3, (mark(3, MarkState.DEAD),), (attempt(1),)))
    store.record(new, Progress(1))
    await record(store, old, Progress(2))

    last = await store.claim(subscription.number)
    assert last is not None
    assert (last.progress, last.epoch > new.epoch > old.epoch) == (Progress(1), True)
    assert (await deliveries(store, channel, 1))[0].attempts == ()


async def test_what_was_recorded_before_a_claim_is_in_it(store: Store, channel: Channel) -> None:
    subscription, old = await make_subscription(store)
    await append_many(store, channel, 3)

    store.record(old, Progress(1, (mark(3),)))
    new = await store.claim(subscription.number)

    assert new is not None
    assert new.progress == Progress(1, (mark(3),))


async def test_nobody_can_claim_what_is_gone(store: Store, channel: Channel) -> None:
    assert await store.claim(4_711) is None


async def test_deliveries_say_what_became_of_an_event(store: Store, channel: Channel) -> None:
    _, bia = await make_subscription(store, name="bia")
    _, ana = await make_subscription(store, name="ana")
    await append_many(store, channel, 2)
    waiting = Mark(
        1, MarkState.WAITING, 1, 1, START_MS + 5_000, START_MS, "the target answered 500"
    )
    store.record(ana, Progress(0, (waiting,), (attempt(1, 2, 502), attempt(1, 1, 500))))
    store.record(bia, Progress(1, (), (attempt(1),)))

    [of_ana, of_bia] = await deliveries(store, channel, 1)
    pending = [d.state for d in await deliveries(store, channel, 2)]

    assert (of_ana.subscription, of_ana.state, of_ana.due_at) == (
        "ana",
        "waiting",
        START_MS + 5_000,
    )
    assert of_ana.reason == "the target answered 500"
    assert [a.attempt for a in of_ana.attempts] == [1, 2]
    assert (of_bia.subscription, of_bia.state) == ("bia", "delivered")
    assert pending == ["pending", "pending"]


async def test_steps_of_a_hand_off_are_written_at_once_and_are_no_attempts(
    stores: Stores, store: Store, channel: Channel
) -> None:
    ana, claim = await make_subscription(store)
    for key in ("2/318", "2/319"):
        await store.append(channel.number, new_event(key=key))
    begun = Attempt(1, -1, START_MS, 0, HAND_OFF, None, "after 7")
    done = replace(begun, status=200, text="note 8")
    later = Attempt(1, -2, START_MS + 1, 0, HAND_OFF, None)
    other = Attempt(2, -1, START_MS + 2, 0, HAND_OFF, None)
    for step in (begun, done, later, other):
        await store.note_step(ana.number, channel.number, step)
    await record(store, claim, Progress(1, (mark(1),), (attempt(1),)))
    store = await stores.reopen(store)

    steps = await store.steps(ana.number)
    assert list(steps) == [("2/318", done), ("2/318", later), ("2/319", other)]
    [first], [second] = [await deliveries(store, channel, n) for n in (1, 2)]
    assert (first.state, first.attempts, first.steps) == ("delivered", (attempt(1),), (done, later))
    assert (second.state, second.attempts) == ("pending", ())
    with pytest.raises(EventNotFound):
        await store.note_step(ana.number, channel.number, replace(begun, sequence=9))
    with pytest.raises(SubscriptionNotFound):
        await store.note_step(4_711, channel.number, begun)


async def test_what_is_known_of_an_answer_is_kept(store: Store, channel: Channel) -> None:
    _, claim = await make_subscription(store)
    await append_many(store, channel, 1)
    headers = "content-type: text/plain\nretry-after: 30"
    answer = Attempt(1, 1, START_MS, 5, "response", 503, "busy", 4, headers)
    expired = Attempt(1, 2, START_MS, 5, "network", None, "reset")

    await record(store, claim, Progress(0, (mark(1, MarkState.WAITING),), (answer, expired)))

    assert (await deliveries(store, channel, 1))[0].attempts == (answer, expired)
