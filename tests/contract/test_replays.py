"""What every store promises of replays: what they select, and what they change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from relay_server.errors import ReplayNotFound, SubscriptionNotFound, TooManyReplays
from relay_server.reported import DeadReason, ReplayProgress, RetryReason
from relay_server.store.interface import Store
from relay_server.store.rules import MAX_RUNNING_REPLAYS
from relay_server.values import (
    Channel,
    Claim,
    Mark,
    MarkState,
    Outline,
    Progress,
    Replay,
    ReplayState,
    Selection,
    Subscription,
)
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import (
    Stores,
    append_many,
    deliveries,
    make_replay,
    make_subscription,
    record,
    trim,
)

SEALED = ("sqlite",)  # the same of a store that seals bodies

DEAD = MarkState.DEAD
SAID = '{"content": "Olá João 🎉"}'
ESCAPED = rb'{"content": "Ol\u00e1 Jo\u00e3o \ud83c\udf89"}'
QUOTED = '{"content": "diz \\"João\\"\\n"}'


async def selected(store: Store, channel: Channel, replay: Replay, limit: int = 256) -> list[int]:
    """Every sequence that a replay is for."""
    found, after = list[Outline](), replay.start
    while after < replay.until:
        some = await store.select(channel.number, replay, after, limit)
        assert after < some.read_up_to <= replay.until
        assert len(some.outlines) <= limit
        found += some.outlines
        after = some.read_up_to
    return [outline.sequence for outline in found]


async def chosen(store: Store, channel: Channel, **selection: Any) -> list[int]:
    """What a selection comes to."""
    subscription, _ = await make_subscription(store)
    replay, _ = await make_replay(store, subscription, Selection(**selection))
    found = await selected(store, channel, replay)
    await store.end_replay(replay.number, ReplayState.DONE, START_MS)
    return found


async def marked(store: Store, floor: int, marks: Sequence[Mark]) -> tuple[Subscription, Claim]:
    """A subscription that has come so far with so many events."""
    subscription, claim = await make_subscription(store, since=0)
    await record(store, claim, Progress(floor, tuple(marks)))
    return subscription, claim


async def dead(store: Store, subscription: Subscription) -> list[int]:
    return [d.event.sequence for d in await store.dead(subscription.number, 0, 99)]


# Selecting


async def test_each_condition_chooses(store: Store, channel: Channel) -> None:
    for n in range(1, 7):
        event = new_event(b"%d" % n, key="ab"[n % 2], kind="xyz"[n % 3], received_at=START_MS + n)
        await store.append(channel.number, event)

    assert await chosen(store, channel) == [1, 2, 3, 4, 5, 6]
    assert await chosen(store, channel, sequences=(6, 2, 9, -1)) == [2, 6]
    assert await chosen(store, channel, first=3, last=4) == [3, 4]
    assert await chosen(store, channel, first=5) == [5, 6]
    assert await chosen(store, channel, received_from=START_MS + 3) == [3, 4, 5, 6]
    assert await chosen(store, channel, received_before=START_MS + 3) == [1, 2]
    assert await chosen(store, channel, key="a") == [2, 4, 6]
    assert await chosen(store, channel, kind="x") == [3, 6]
    assert await chosen(store, channel, text="5") == [5]
    assert await chosen(store, channel, dead=True) == []
    assert await chosen(store, channel, key="a", first=3, kind="x", text="6") == [6]
    assert await chosen(store, channel, key="a", kind="x", text="4") == []


async def test_a_filter_chooses_among_many_and_beside_conditions(
    store: Store, channel: Channel
) -> None:
    for n in range(1, 251):
        body = b'{"content": "N\xc3\xa3o chegou"}' if n % 50 == 0 else b"{}"
        await store.append(channel.number, new_event(body, key=str(n % 3)))

    assert await chosen(store, channel, q="nao chegou") == [50, 100, 150, 200, 250]
    assert await chosen(store, channel, q="chegou", first=60, last=200) == [100, 150, 200]
    assert await chosen(store, channel, q="chegou", key="1") == [100, 250]
    assert await chosen(store, channel, q="-chegou", last=2) == [1, 2]
    assert await chosen(store, channel, q="nobody") == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("318", ["318", "2/318", "31/318"]),
        ("2/318", ["2/318"]),
        ("8", ["8"]),
        ("18", []),
        ("/318", []),
        ("", [""]),
        ("%", ["%"]),
    ],
)
async def test_a_conversation_means_that_of_any_account(
    store: Store, channel: Channel, key: str, meant: list[str]
) -> None:
    """Also one whose key was stored before accounts were part of it."""
    keys = ["318", "2/318", "31/318", "x/318", "1/2/318", "2/3180", "8", "%", ""]
    for each in keys:
        await store.append(channel.number, new_event(key=each))

    assert [keys[n - 1] for n in await chosen(store, channel, key=key)] == meant


@pytest.mark.parametrize(
    ("selection", "start", "until"),
    [
        ({}, 0, 4),
        ({"first": 3}, 2, 4),
        ({"last": 2}, 0, 2),
        ({"first": 9}, 4, 4),
        ({"first": 4, "last": 2}, 2, 2),
        ({"first": -5, "last": 1 << 50}, 0, 4),
        ({"first": 1 << 50}, 4, 4),
        ({"sequences": (2, 3)}, 1, 3),
        ({"sequences": (-7,)}, 0, 0),
        ({"sequences": (1 << 50,)}, 4, 4),
        ({"received_from": START_MS + 90_000_000}, 4, 4),
        ({"dead": True}, 0, 4),
    ],
)
async def test_a_replay_knows_where_it_begins_and_ends(
    store: Store, channel: Channel, selection: dict[str, Any], start: int, until: int
) -> None:
    """What comes after it was asked for is none of its business."""
    subscription, _ = await make_subscription(store)
    await append_many(store, channel, 4)

    replay, claim = await make_replay(store, subscription, Selection(**selection))
    await append_many(store, channel, 1)

    assert (replay.start, replay.until, replay.floor) == (start, until, start)
    assert claim.progress == Progress(start)
    assert 5 not in await selected(store, channel, replay)


@pytest.mark.parametrize("text", ["João", "Olá", "🎉", "o 🎉"])
async def test_text_is_found_as_sent_and_as_json_writes_it(
    store: Store, channel: Channel, text: str
) -> None:
    for body in (SAID.encode(), ESCAPED, b"{}", SAID.encode("utf-16")):
        await store.append(channel.number, new_event(body))

    assert await chosen(store, channel, text=text) == [1, 2]


async def test_text_with_quotes_is_found_among_accents(store: Store, channel: Channel) -> None:
    """JSON that writes accents as they are escapes quotes and line ends; plain text does not."""
    await store.append(channel.number, new_event(QUOTED.encode()))
    await store.append(channel.number, new_event(b"\xff\x00 not text at all"))
    await store.append(channel.number, new_event('diz "João"\n'.encode()))

    assert await chosen(store, channel, text='"João"\n') == [1, 3]


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Tom & Jerry", r'{"a": "Tom \u0026 Jerry"}'),
        ("a/b", r'{"a": ["a\/b"]}'),
        ("<José>", r'{"a": {"b": "\u003cJos\u00E9\u003e"}}'),
        ("🎉!", r'"\uD83C\udf89!"'),
        ('"quoted"\\', r'{"a": "\u0022quoted\u0022\u005c"}'),
        ("key & name", r'{"key \u0026 name": 1}'),
    ],
)
async def test_text_is_compared_as_it_is_meant(
    store: Store, channel: Channel, text: str, spelled: str
) -> None:
    """However its sender spells it; a body that is no JSON is compared as it is."""
    for body in (spelled, json.dumps({"a": text}), "{}", spelled[:-1], r'"\u0041"'):
        await store.append(channel.number, new_event(body.encode()))

    assert await chosen(store, channel, text=text) == [1, 2]
    assert await chosen(store, channel, text="Tom & Jerry & Spike") == []


async def test_a_clock_that_jumped_hides_no_event(store: Store, channel: Channel) -> None:
    """Two hours ahead and back: what was received then lies between what was received before."""
    for minutes in (0, 120, 1, 2, 121):
        event = new_event(received_at=START_MS + minutes * 60_000)
        await store.append(channel.number, event)

    assert await chosen(store, channel, received_from=START_MS + 60 * 60_000) == [2, 5]


async def test_what_is_far_apart_is_found_look_by_look(store: Store, channel: Channel) -> None:
    """A look goes through a bounded number of events, and the next one goes on behind them."""
    events = [
        new_event(b"here" if n in (1, 5_556) else b"x", kind="k" if n == 5_557 else "o")
        for n in range(1, 5_601)
    ]
    for start in range(0, len(events), 700):
        some = events[start : start + 700]
        await asyncio.gather(*(store.append(channel.number, event) for event in some))

    assert await chosen(store, channel, text="here") == [1, 5_556]
    assert await chosen(store, channel, kind="k") == [5_557]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_it_is_read_in_parts(store: Store, channel: Channel, limit: int) -> None:
    subscription, _ = await make_subscription(store)
    for n in range(6):
        await store.append(channel.number, new_event(key="ab"[n % 2]))
    replay, _ = await make_replay(store, subscription, Selection(key="a"))

    assert await selected(store, channel, replay, limit) == [1, 3, 5]


async def test_events_that_went_meanwhile_are_left_out(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    await append_many(store, channel, 5)
    replay, _ = await make_replay(store, subscription)

    await store.drop_oldest(channel.number, 3)

    assert await selected(store, channel, replay) == [4, 5]


async def test_nothing_is_selected_for_a_subscription_that_is_gone(
    store: Store, channel: Channel
) -> None:
    subscription, _ = await make_subscription(store)
    await append_many(store, channel, 2)
    replay, _ = await make_replay(store, subscription, Selection(dead=True))

    await store.unsubscribe(subscription.number)

    assert await selected(store, channel, replay) == []
    with pytest.raises(SubscriptionNotFound):
        await make_replay(store, subscription)


# Progress


async def test_a_replay_is_where_its_last_reader_left_it(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Its number is below zero, and its progress is its own."""
    await append_many(store, channel, 4)
    subscription, _ = await marked(store, 4, ())
    replay, claim = await make_replay(store, subscription)
    waiting = Mark(3, MarkState.WAITING, 1, 1, START_MS + 9, START_MS, "x", START_MS)

    await record(
        store, claim, Progress(1, (waiting, mark(4)), (attempt(1), attempt(3, 1, 500), attempt(4)))
    )
    store = await stores.reopen(store)
    again = await store.claim(replay.number)
    [now] = await store.replays(subscription.number)

    assert replay.number < 0
    assert again is not None
    assert again.progress == Progress(1, (waiting, mark(4)))
    assert now == msgspec.structs.replace(replay, floor=1, delivered=2)
    assert (now.rate_per_s, now.made_by, now.state) == (20.0, "ana", ReplayState.RUNNING)
    store.record(claim, Progress(4))  # an older claim
    [unchanged] = await store.replays(subscription.number)
    assert unchanged.floor == 1
    [status] = await store.subscription_status()
    assert status.backlog == 0
    own, replayed = await deliveries(store, channel, 3)
    assert (own.state, own.replay) == ("delivered", 0)
    assert (replayed.state, replayed.replay, len(replayed.attempts)) == (
        "waiting",
        -replay.number,
        1,
    )


async def test_how_far_a_replay_is_counts_what_is_settled_above_its_floor(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 6)
    subscription, _ = await make_subscription(store)
    replay, claim = await make_replay(store, subscription)
    idle, _ = await make_replay(store, subscription)
    again = Mark(2, MarkState.WAITING, 1, 1, START_MS + 9, START_MS, "x", START_MS)
    marks = (again, mark(3), mark(4, DEAD), mark(5, MarkState.UNDER_WAY))
    tries = (attempt(1), attempt(2, 1, 500), attempt(3), attempt(4, 1, 500))
    await record(store, claim, Progress(1, marks, tries))

    known = await store.replay_progress([replay.number, idle.number], START_MS)
    later = await store.replay_progress([replay.number], START_MS + 60_000)
    await store.end_replay(replay.number, ReplayState.DONE, START_MS)
    ended = await store.replay_progress([replay.number], START_MS)

    about = ReplayProgress(2, 2, 5, 4, 1, 1, START_MS + 9, 4)
    assert known == {replay.number: about}
    assert later == {replay.number: msgspec.structs.replace(about, recent=0)}
    assert ended == {replay.number: ReplayProgress(furthest=4, tried=4, recent=4)}


@pytest.mark.parametrize("floor", [5, 1])
async def test_what_a_replay_delivers_is_dead_no_more(
    store: Store, channel: Channel, floor: int
) -> None:
    """Below the floor and above it, discarded or not."""
    await append_many(store, channel, 5)
    marks = (mark(2, DEAD, 10), mark(3, DEAD, 10), mark(4, DEAD, 10))
    subscription, _ = await marked(store, floor, marks)
    assert await store.discard(subscription.number, [4, 5], START_MS) == 1
    replay, claim = await make_replay(store, subscription, Selection(dead=True))
    assert replay.start == 1
    assert await selected(store, channel, replay) == [2, 3]

    await record(store, claim, Progress(2, (), (attempt(2), attempt(3, 1, 500))))

    assert await dead(store, subscription) == [3]
    assert (await deliveries(store, channel, 2))[0].state == "delivered"
    assert (await deliveries(store, channel, 2))[0].reason == ""
    assert (await deliveries(store, channel, 4))[0].state == "discarded"


async def test_what_a_replay_gives_up_is_dead_for_its_subscription(
    store: Store, channel: Channel
) -> None:
    """Below the floor, and above it what is settled; not what is still on its way."""
    await append_many(store, channel, 5)
    own = (mark(2), mark(3, MarkState.WAITING), mark(4, DEAD, 7))
    subscription, _ = await marked(store, 1, own)
    _, claim = await make_replay(store, subscription)
    gave_up = [Mark(s, DEAD, 3, 3, reason="replayed in vain", changed_at=9) for s in range(1, 6)]

    store.record(claim, Progress(5, tuple(gave_up)))
    found = await store.dead(subscription.number, 0, 9)

    assert [d.event.sequence for d in found] == [1, 2, 4]
    assert {d.reason for d in found} == {"replayed in vain"}
    assert [d.attempts for d in found] == [3, 1, 7]  # its own attempts, where it had any
    assert {d.ended_at for d in found} == {9}
    assert [d.event.sequence for d in await store.dead(subscription.number, 1, 1)] == [2]


async def test_what_is_dead_is_counted_listed_and_chosen_by_its_reason(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 5)
    reasons = {1: "503", 2: "timeout", 3: "503", 4: "503"}
    marks = [Mark(s, DEAD, 1, 1, reason=why, changed_at=s) for s, why in reasons.items()]
    subscription, _ = await marked(store, 4, marks)

    assert await store.dead_reasons(subscription.number, 9) == [
        DeadReason("503", 3, 1, 4),
        DeadReason("timeout", 1, 2, 2),
    ]
    assert [one.count for one in await store.dead_reasons(subscription.number, 1)] == [3]
    behind, of_one = [
        await store.dead_reasons(subscription.number, 9, *rest) for rest in ((1,), (0, "timeout"))
    ]
    assert behind == of_one == [DeadReason("timeout", 1, 2, 2)]
    listed = await store.dead(subscription.number, 1, 9, "503")
    assert [one.event.sequence for one in listed] == [3, 4]
    for why, meant in (("503", [1, 3, 4]), ("timeout", [2]), ("50", [])):
        selection = Selection(dead=True, reason=why)
        replay, _ = await make_replay(store, subscription, selection)
        assert await selected(store, channel, replay) == meant
        assert (await store.preview(subscription, selection)).at_most == len(meant)
        await store.end_replay(replay.number, ReplayState.DONE, START_MS)


async def test_why_deliveries_are_tried_again_is_counted(store: Store, channel: Channel) -> None:
    """Only of what failed: what waits for a target that is away has no moment to come."""
    await append_many(store, channel, 5)
    why = {1: ("503", 30), 2: ("timeout", 20), 3: ("503", 10)}
    marks = [
        Mark(s, MarkState.WAITING, 1, 1, START_MS + 9, since, reason, START_MS)
        for s, (reason, since) in why.items()
    ]
    subscription, _ = await marked(store, 0, [*marks, Mark(4, DEAD, 1, 1, reason="503")])

    found = await store.retry_reasons(subscription.number, 9)
    assert found == [RetryReason("503", 2, 10), RetryReason("timeout", 1, 20)]
    assert await store.retry_reasons(subscription.number, 1) == found[:1]


async def test_what_died_while_its_event_was_dropped_is_not_listed(
    store: Store, channel: Channel
) -> None:
    """Nobody could replay it, and nothing would ever delete it."""
    await append_many(store, channel, 3)
    subscription, live = await marked(store, 0, ())
    _, claim = await make_replay(store, subscription)

    await store.drop_oldest(channel.number, 2)
    store.record(live, Progress(0, (mark(1, DEAD),)))
    store.record(claim, Progress(2, (mark(2, DEAD),)))
    [status] = await store.subscription_status()

    assert (status.dead, status.backlog) == (0, 1)
    assert await dead(store, subscription) == []


async def test_what_a_replay_gives_up_of_a_gone_event_stays_as_it_was_settled(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 2)
    subscription, claim = await make_subscription(store, since=0)
    await record(store, claim, Progress(0, (mark(1, MarkState.DELIVERED),)))
    await store.skip(subscription.number, 2)
    assert await trim(store, channel, START_MS * 2, 99) == 2
    _, replayed = await make_replay(store, subscription)
    await record(store, replayed, Progress(0, (mark(1, DEAD), mark(2, DEAD))))

    [status] = await store.subscription_status([subscription.number])
    assert (status.backlog, status.dead) == (0, 0)


async def test_the_end_of_a_replay_is_final(stores: Stores, store: Store, channel: Channel) -> None:
    await append_many(store, channel, 4)
    subscription, _ = await marked(store, 4, (mark(2, DEAD),))
    replay, claim = await make_replay(store, subscription)
    store.record(claim, Progress(1, (mark(3, MarkState.WAITING),), (attempt(1),)))

    ended = await store.end_replay(replay.number, ReplayState.STOPPED, START_MS + 5)
    store.record(claim, Progress(4, (mark(3, DEAD),), (attempt(2),)))
    again = await store.end_replay(replay.number, ReplayState.DONE, START_MS + 9)
    await store.flush()
    store = await stores.reopen(store)

    assert (ended.state, ended.ended_at, ended.floor) == (ReplayState.STOPPED, START_MS + 5, 1)
    assert again == ended
    assert await store.claim(replay.number) is None
    assert await store.replays(subscription.number) == [ended]
    assert await store.replays(running=True) == []
    assert await dead(store, subscription) == [2]


async def test_the_newest_replays_come_first(store: Store, channel: Channel) -> None:
    ana, _ = await make_subscription(store, name="ana")
    bia, _ = await make_subscription(store, name="bia")
    replays = [(await make_replay(store, s))[0] for s in (ana, bia, ana)]
    done = await store.end_replay(replays[2].number, ReplayState.DONE, START_MS)

    assert await store.replays() == [done, replays[1], replays[0]]
    assert await store.replays(ana.number) == [done, replays[0]]
    assert await store.replays(ana.number, running=True) == [replays[0]]


async def test_so_many_may_run_at_once(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)
    other, _ = await make_subscription(store, name="bia")
    running = [(await make_replay(store, subscription))[0] for _ in range(MAX_RUNNING_REPLAYS)]

    with pytest.raises(TooManyReplays):
        await make_replay(store, subscription)
    await make_replay(store, other)
    await store.end_replay(running[3].number, ReplayState.STOPPED, START_MS)
    await make_replay(store, subscription)


@pytest.mark.parametrize("number", [-4_711, 4_711, 0])
async def test_a_replay_that_is_not_there(store: Store, channel: Channel, number: int) -> None:
    assert await store.claim(-4_711) is None
    with pytest.raises(ReplayNotFound):
        await store.end_replay(number, ReplayState.DONE, START_MS)
    with pytest.raises(ReplayNotFound):
        await store.replay(number)


async def test_a_subscriptions_number_is_no_replays(store: Store, channel: Channel) -> None:
    subscription, _ = await make_subscription(store)

    with pytest.raises(ReplayNotFound):
        await store.end_replay(subscription.number, ReplayState.DONE, START_MS)


# Keeping house


async def test_a_running_replay_keeps_what_it_is_on_its_way_to(
    store: Store, channel: Channel
) -> None:
    await append_many(store, channel, 6)
    subscription, _ = await marked(store, 6, ())
    replay, claim = await make_replay(store, subscription, Selection(first=2, last=5))
    await record(store, claim, Progress(3))

    assert await trim(store, channel, START_MS * 2, 99) == 4
    assert await store.remove(channel.number, [4, 5]) == 0
    assert await selected(store, channel, replay) == [4, 5]
    await store.end_replay(replay.number, ReplayState.STOPPED, START_MS)
    assert await store.remove(channel.number, [4, 5]) == 2


async def test_ended_replays_go_with_the_dead(store: Store, channel: Channel) -> None:
    await append_many(store, channel, 3)
    subscription, _ = await marked(store, 3, (mark(1, DEAD), mark(2, DEAD)))
    old, _ = await make_replay(store, subscription)
    young, _ = await make_replay(store, subscription)
    running, _ = await make_replay(store, subscription)
    await store.end_replay(old.number, ReplayState.DONE, START_MS)
    await store.end_replay(young.number, ReplayState.DONE, START_MS + 1)

    counts = [await store.forget_dead(channel.number, START_MS + 1, 1, START_MS) for _ in range(3)]

    assert counts == [1, 1, 0]
    assert [r.number for r in await store.replays()] == [running.number, young.number]
    assert await dead(store, subscription) == []
    assert (await deliveries(store, channel, 1))[0].state == "discarded"
