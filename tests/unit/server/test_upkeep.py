"""Old events go once everybody has them, in every channel, however many there are."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from relay_server.configs import ChannelConfig
from relay_server.delivery import upkeep
from relay_server.delivery.upkeep import DAY_MS, Upkeep, is_worrying
from relay_server.errors import ChannelFull, StoreFull
from relay_server.metrics import Metrics
from relay_server.store.interface import Store
from relay_server.values import (
    Channel,
    MarkState,
    NewEdited,
    Progress,
    Removable,
    ReplayState,
)
from tests.support.clock import START_MS, VirtualClock
from tests.support.events import mark, new_event
from tests.support.stores import BACKENDS, make_subscription, open_test_store
from tests.support.waiting import until


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_test_store(request.param, tmp_path) as store:
        yield store


async def fill(store: Store, name: str, days: float, ages: list[float]) -> int:
    """A channel that keeps events for some days, with events of these ages in days."""
    channel = await store.create_channel(name, ChannelConfig(retention_days=days), START_MS)
    for age in ages:
        await store.append(channel.number, new_event(received_at=START_MS - round(age * DAY_MS)))
    return channel.number


async def left(store: Store, channel: int) -> list[int]:
    return sorted(event.sequence for event in await store.list_events(channel, None, 10_000))


async def test_each_channel_keeps_what_it_says(store: Store) -> None:
    week = await fill(store, "week", 7, [8, 7.001, 7, 6.9, 0])
    hour = await fill(store, "hour", 1 / 24, [1, 0.05, 0.04, -1])
    ever = await fill(store, "ever", 36_500, [9_000, 0])

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 4
    assert await left(store, week) == [3, 4, 5]
    assert await left(store, hour) == [3, 4]
    assert await left(store, ever) == [1, 2]
    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 0


async def test_a_day_is_a_day_to_the_millisecond(store: Store) -> None:
    channel = await store.create_channel("week", ChannelConfig(retention_days=7), START_MS)
    for age_ms in (7 * 86_400_000 + 1, 7 * 86_400_000):
        await store.append(channel.number, new_event(received_at=START_MS - age_ms))

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 1
    assert await left(store, channel.number) == [2]


async def test_people_are_told_of_dead_deliveries_that_are_let_go(store: Store) -> None:
    channel = await fill(store, "chatwoot", 7, [])
    _, claim = await make_subscription(store)
    await store.append(channel, new_event())
    store.record(claim, Progress(1, (mark(1, MarkState.DEAD),)))
    await store.flush()
    later = VirtualClock(start_ms=START_MS + 31 * DAY_MS)

    said = await tidied(store, Upkeep(store, later, Metrics()))

    assert said[0] == "dead deliveries let go: too old"
    assert await left(store, channel) == []


async def test_what_is_undelivered_or_dead_stays(store: Store) -> None:
    channel = await fill(store, "chatwoot", 7, [])
    _, claim = await make_subscription(store)
    for _ in range(4):
        await store.append(channel, new_event(received_at=START_MS - 8 * DAY_MS))
    store.record(claim, Progress(3, (mark(2, MarkState.DEAD),)))
    await store.flush()

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 2
    assert await left(store, channel) == [2, 4]


async def test_many_go_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that webhooks wait for few of them at once."""
    monkeypatch.setattr(upkeep, "BATCH", 10)
    channel = await fill(store, "chatwoot", 7, [8.0] * 35 + [1])
    batches, remove = list[int](), store.remove

    async def counting(number: int, sequences: Sequence[int], enough: int | None = None) -> int:
        batches.append(len(sequences))
        return await remove(number, sequences, enough)

    monkeypatch.setattr(store, "remove", counting)
    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 35
    assert await left(store, channel) == [36]
    assert batches == [10, 10, 10, 5]


async def filled(
    store: Store, count: int, waiting: bool = False, size: int = 1_000, **config: Any
) -> Channel:
    """A channel that is full, with events that a subscription waits for, or none does."""
    channel = await store.create_channel("chatwoot", ChannelConfig(), START_MS)
    if waiting:
        await make_subscription(store)
    for _ in range(count):
        await store.append(channel.number, new_event(b"x" * size))
    await until(
        lambda: store.newest(channel.number) == count
    )  # a spooled one counts a little later
    limit = store.usage(channel.number)
    limited = ChannelConfig(max_bytes=limit, **config)
    return await store.change_channel("chatwoot", lambda _: limited)


async def tidied(store: Store, upkeep: Upkeep | None = None) -> list[str]:
    """What is logged while it runs once."""
    with capture_logs() as logs:
        await (upkeep or Upkeep(store, VirtualClock(), Metrics())).run_once()
    return [entry["event"] for entry in logs]


async def test_what_is_delivered_goes_when_room_is_short_and_no_more_than_that(
    store: Store,
) -> None:
    """From 90 % down to 80 %, the oldest first, however few and large they are."""
    channel = await filled(store, 20)
    limit = channel.config.max_bytes
    assert limit is not None
    upkeep = Upkeep(store, VirtualClock(), Metrics())
    assert upkeep.needed()

    assert await tidied(store, upkeep) == ["old events deleted"]

    assert await left(store, channel.number) == list(range(5, 21))
    assert store.usage(channel.number) <= limit * 0.8
    assert not upkeep.needed()
    await store.append(channel.number, new_event(b"x" * 1_000))  # 85 %
    assert await tidied(store, upkeep) == []  # what goes by itself worries nobody
    assert len(await left(store, channel.number)) == 17


async def test_one_event_that_can_go_worries_nobody(store: Store) -> None:
    assert not await is_worrying(store, await filled(store, 1))


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_webhook_that_found_no_room_gets_it_however_large_it_is(
    store: Store, waiting: bool
) -> None:
    """A channel that is half full has no room for what takes two thirds of it."""
    channel = await filled(store, 10, waiting=waiting, drop_oldest=waiting)
    config = msgspec.structs.replace(channel.config, max_bytes=2 * store.usage(channel.number))
    channel = await store.change_channel("chatwoot", lambda _: config)
    large = new_event(b"x" * (store.usage(channel.number) * 4 // 3))
    upkeep = Upkeep(store, VirtualClock(), Metrics())
    assert not upkeep.needed()
    with pytest.raises(ChannelFull):
        await store.append(channel.number, large)
    assert upkeep.needed()

    await tidied(store, upkeep)

    assert not upkeep.needed()
    await store.append(channel.number, large)
    assert 6 <= len(await left(store, channel.number)) <= 8, "no more than that"


async def test_what_takes_long_and_finds_nothing_is_not_done_again_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel of what is waited for is full for hours, and looked at every five seconds."""
    channel = await filled(store, 10, waiting=True)
    clock, looks = VirtualClock(), list[float]()
    upkeep, removable = Upkeep(store, clock, Metrics()), store.removable

    async def slowly(number: int, before: int | None, after: int, limit: int) -> Removable:
        if before is None and limit > 1:
            looks.append(clock.now)
            clock.advance(2.0)
        return await removable(number, before, after, limit)

    monkeypatch.setattr(store, "removable", slowly)
    began = clock.now
    while clock.now < began + 100:
        assert await upkeep.run_once() == 0
        clock.advance(5.0)
    assert 4 <= len(looks) <= 5

    await store.unsubscribe((await store.subscriptions())[0].number)
    clock.advance(20.0)
    assert await upkeep.run_once() == 2
    assert await upkeep.run_once() == 0
    await store.append(channel.number, new_event(b"x" * 1_000))
    await store.append(channel.number, new_event(b"x" * 1_000))
    assert await upkeep.run_once() == 2, "what found something is done again"


async def test_a_rest_is_no_longer_than_a_minute(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it took to find nothing: by then there may be something."""
    await filled(store, 10, waiting=True)
    clock, looks = VirtualClock(), list[float]()
    upkeep, removable = Upkeep(store, clock, Metrics()), store.removable

    async def very_slowly(number: int, before: int | None, after: int, limit: int) -> Removable:
        if before is None and limit > 1:
            looks.append(clock.now)
            clock.advance(20.0)
        return await removable(number, before, after, limit)

    monkeypatch.setattr(store, "removable", very_slowly)
    for _ in range(60):
        await upkeep.run_once()
        clock.advance(5.0)

    assert all(80 <= after - before <= 90 for before, after in itertools.pairwise(looks))
    assert len(looks) >= 4


@pytest.mark.parametrize(
    ("usage", "refused", "needed"),
    [(899, 0, False), (900, 0, True), (899, 101, False), (899, 102, True), (0, 1_001, True)],
)
async def test_a_channel_is_short_at_nine_tenths_or_once_a_webhook_found_no_room(
    store: Store, monkeypatch: pytest.MonkeyPatch, usage: int, refused: int, needed: bool
) -> None:
    await store.create_channel("empty", ChannelConfig(), START_MS)
    full = await store.create_channel("chatwoot", ChannelConfig(max_bytes=1_000), START_MS)
    used, found_none = {full.number: usage}, {full.number: refused}
    monkeypatch.setattr(store, "usage", lambda number: used.get(number, 0))
    monkeypatch.setattr(store, "refused", lambda number: found_none.get(number, 0))

    assert Upkeep(store, VirtualClock(), Metrics()).needed() is needed


async def test_a_channel_without_a_limit_is_never_short(store: Store) -> None:
    channel = await filled(store, 10, waiting=True, drop_oldest=True)
    unlimited = ChannelConfig(max_bytes=None, drop_oldest=True)
    await store.change_channel("chatwoot", lambda _: unlimited)
    upkeep = Upkeep(store, VirtualClock(), Metrics())

    assert not upkeep.needed()
    assert await tidied(store, upkeep) == []
    assert len(await left(store, channel.number)) == 10


@pytest.mark.parametrize(("usage", "said"), [(799, []), (800, [80]), (804, [80]), (899, [90])])
async def test_a_warning_says_how_full_a_channel_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, usage: int, said: list[int]
) -> None:
    await filled(store, 1, waiting=True)
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=1_000))
    monkeypatch.setattr(store, "usage", lambda _: usage)

    with capture_logs() as logs:
        await Upkeep(store, VirtualClock(), Metrics()).run_once()

    assert [entry["percent"] for entry in logs if "percent" in entry] == said


async def test_what_is_waited_for_stays_and_people_are_warned_once(store: Store) -> None:
    channel = await filled(store, 10, waiting=True)
    upkeep = Upkeep(store, VirtualClock(), Metrics())
    worry = "channel is nearly full: what waits for its subscriptions fills it"

    assert [await tidied(store, upkeep) for _ in range(3)] == [[worry], [], []]
    assert len(await left(store, channel.number)) == 10
    assert upkeep.needed()
    await store.drop_oldest(channel.number, 5)
    assert await tidied(store, upkeep) == []
    for _ in range(5):
        await store.append(channel.number, new_event(b"x" * 1_000))
    assert await tidied(store, upkeep) == [worry]


async def test_the_oldest_are_dropped_where_the_operator_said_so(store: Store) -> None:
    channel = await filled(store, 10, waiting=True, drop_oldest=True)
    metrics = Metrics()
    upkeep = Upkeep(store, VirtualClock(), metrics)

    assert "events dropped to make room" in await tidied(store, upkeep)

    assert await left(store, channel.number) == list(range(3, 11))
    [status] = await store.channel_status()
    [reader] = await store.subscription_status()
    assert (status.dropped, reader.backlog) == (2, 8)
    dropped = metrics.registry.get_sample_value(
        "relay_events_dropped_total", {"channel": "chatwoot"}
    )
    assert dropped == 2


async def test_the_dead_go_after_their_days_and_their_events_with_them(store: Store) -> None:
    channel = await filled(store, 4, waiting=True, dead_days=30.0, retention_days=7.0)
    [subscription] = await store.subscriptions()
    claim = await store.claim(subscription.number)
    assert claim is not None
    day = DAY_MS
    marks = (
        mark(1, MarkState.DEAD),
        msgspec.structs.replace(mark(2, MarkState.DEAD), changed_at=START_MS + day),
    )
    store.record(claim, Progress(4, marks))
    await store.flush()
    await store.change_channel("chatwoot", lambda _: ChannelConfig(max_bytes=None))

    async def after(days: float) -> tuple[int, list[int]]:
        clock = VirtualClock(start_ms=START_MS + round(days * day))
        await Upkeep(store, clock, Metrics()).run_once()
        [status] = await store.subscription_status()
        return status.dead, await left(store, channel.number)

    assert await after(29.9) == (2, [1, 2])
    assert await after(30.1) == (1, [2])
    assert await after(31.1) == (0, [])


async def test_a_full_disk_takes_what_is_delivered_whatever_its_age(store: Store) -> None:
    channel = await fill(store, "chatwoot", 7, [0, 0, 0])
    await make_subscription(store)
    await store.append(channel, new_event())

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 0
    assert await Upkeep(store, VirtualClock(), Metrics()).run_once(disk_is_full=True) == 3
    assert await left(store, channel) == [4]


def leave_room_for(store: Store, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have it delete no more than so many rows at once; returns how many each call is of."""
    calls, remove, drop_oldest = list[int](), store.remove, store.drop_oldest

    def check(count: int) -> None:
        calls.append(count)
        if count > rows:
            raise StoreFull("the disk is full")

    async def remove_few(channel: int, sequences: Sequence[int], enough: int | None = None) -> int:
        check(len(sequences))
        return await remove(channel, sequences, enough)

    async def drop_few(channel: int, limit: int, enough: int | None = None) -> int:
        check(limit)
        return await drop_oldest(channel, limit, enough)

    monkeypatch.setattr(store, "remove", remove_few)
    monkeypatch.setattr(store, "drop_oldest", drop_few)
    return calls


async def test_a_deletion_that_finds_no_room_is_done_in_smaller_pieces(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = await fill(store, "chatwoot", 7, [8.0] * 35 + [1])
    monkeypatch.setattr(upkeep, "BATCH", 32)
    calls = leave_room_for(store, 9, monkeypatch)

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 35

    assert await left(store, channel) == [36]
    assert calls == [32, 16, 8, 8, 8, 8, 3]


async def test_what_is_dropped_goes_in_smaller_pieces_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = await filled(store, 10, waiting=True, drop_oldest=True)
    leave_room_for(store, 1, monkeypatch)
    await tidied(store)
    assert await left(store, channel.number) == list(range(3, 11))


async def test_where_not_even_one_event_can_be_deleted_it_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, "chatwoot", 7, [8.0] * 35)
    calls = leave_room_for(store, 0, monkeypatch)
    with pytest.raises(StoreFull):
        await Upkeep(store, VirtualClock(), Metrics()).run_once()
    assert len(calls) <= 10


async def test_what_is_left_of_a_deleted_subscription_is_swept(store: Store) -> None:
    await filled(store, 3, waiting=True)
    [subscription] = await store.subscriptions()
    await store.unsubscribe(subscription.number)

    await tidied(store)

    assert await store.sweep(1) is False


async def test_edited_events_go_with_the_age_of_their_channels_events(store: Store) -> None:
    number = await fill(store, "week", 7, [])
    subscription, _ = await make_subscription(store, "week")
    for age in (8, 6):
        event = new_event(received_at=START_MS - round(age * DAY_MS))
        made = await store.create_edited(subscription, NewEdited(event, "evt_0", "ana"))
        await store.end_replay(made.replay, ReplayState.DONE, START_MS)
    waits = await store.create_edited(
        subscription, NewEdited(new_event(received_at=0), "evt_0", "ana")
    )

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 1
    kept = await store.list_edited(number, None, None, 9)
    assert [e.event.sequence for e in kept] == [waits.event.sequence, 2]


async def test_bodies_go_once_everybody_has_them_where_none_are_kept(store: Store) -> None:
    """Not what is dead, waits, is pinned, or may come again as a duplicate; all else stays."""
    number = await fill(store, "brief", 7, [1.0] * 5 + [0.0])
    channel = store.catalog.channels["brief"]
    config = msgspec.structs.replace(channel.config, keep_bodies=False)
    await store.change_channel("brief", lambda _: config)
    upkeep_, before = Upkeep(store, VirtualClock(), Metrics()), store.usage(number)

    async def kept() -> list[bool]:
        await upkeep_.run_once()
        return [event.kept for event in await store.fetch(number, range(1, 7))]

    assert all(await kept()), "nobody reads it yet, so nobody has had them"
    subscription, claim = await make_subscription(store, "brief", since=0)
    [pinned] = await store.fetch(number, [4])
    await store.pin(pinned, "an example", "", START_MS)
    marks = (mark(2, MarkState.DEAD), mark(5, MarkState.WAITING))
    store.record(claim, Progress(4, marks))
    await store.flush()
    assert await kept() == [False, True, False, True, True, True]
    gone, *_ = await store.fetch(number, [1])
    assert (gone.body, gone.damaged, gone.head.kind) == (b"", False, "message_created")
    assert store.usage(number) == before - 2 * len(pinned.body)

    await store.discard(subscription.number, [2], START_MS)
    store.record(claim, Progress(6))
    await store.flush()
    assert await kept() == [False, False, False, True, False, True]
    assert await left(store, number) == [1, 2, 3, 4, 5, 6]
