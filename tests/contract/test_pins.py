"""What every store promises of pinned events: nothing but their channel's end deletes them."""

from __future__ import annotations

import pytest

from relay_server.errors import EventNotFound, PinExists, TooManyPins
from relay_server.store.interface import Store
from relay_server.store.sql import pins as sqlite_pins
from relay_server.values import Channel, Event, NewEdited, Progress
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.stores import (
    Stores,
    aged,
    make_channel,
    make_subscription,
    record,
    sequences,
    trim,
)

SEALED = ("sqlite",)  # the same of a store that seals bodies


async def event(store: Store, channel: Channel, sequence: int) -> Event:
    [found] = await store.fetch(channel.number, [sequence])
    return found


async def pin(store: Store, channel: Channel, sequence: int, name: str) -> None:
    await store.pin(await event(store, channel, sequence), name, "ana", START_MS)


async def test_a_pin_outlives_age_and_restarts_until_it_is_taken_off(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await aged(store, channel, 4)
    await pin(store, channel, 2, "audio")
    store = await stores.reopen(store)

    assert await store.pinned(channel.number) == {2: "audio"}
    [kept] = await store.pins(channel.number)
    assert (kept.name, kept.made_by, kept.event.sequence, kept.edited) == ("audio", "ana", 2, False)
    assert await trim(store, channel, START_MS + 9, 9) == 3
    assert await store.remove(channel.number, [2]) == 0
    assert await sequences(store, channel) == [2]

    assert await store.unpin(await event(store, channel, 2))
    assert not await store.unpin(await event(store, channel, 2))
    assert await trim(store, channel, START_MS + 9, 9) == 1
    assert await store.pins(channel.number) == []


async def test_dropping_the_oldest_passes_it_over_and_says_who_missed_it(
    store: Store, channel: Channel
) -> None:
    """A subscription goes on behind what was dropped, and so behind the pinned one."""
    await aged(store, channel, 4)
    subscription, claim = await make_subscription(store, since=0)
    await record(store, claim, Progress(1))
    await pin(store, channel, 1, "had")
    await pin(store, channel, 2, "missed")

    assert await store.drop_oldest(channel.number, 1) == 1
    assert await store.drop_oldest(channel.number, 1) == 1

    assert await sequences(store, channel) == [1, 2]
    [status] = await store.channel_status()
    assert (status.events, status.dropped) == (2, 3)
    [ana] = await store.subscription_status([subscription.number])
    assert ana.backlog == 0


async def test_a_name_is_one_events(store: Store, channel: Channel) -> None:
    other = await make_channel(store, "other")
    await aged(store, channel, 2)
    await aged(store, other, 1)
    await pin(store, channel, 1, "audio")
    with pytest.raises(PinExists):
        await pin(store, channel, 2, "audio")
    await pin(store, other, 1, "audio")

    await pin(store, channel, 1, "video")  # the same event, another name
    await pin(store, channel, 2, "audio")
    assert await store.pinned(channel.number) == {1: "video", 2: "audio"}
    assert [p.name for p in await store.pins(channel.number)] == ["audio", "video"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_PINNED", 2), ("MAX_PINNED_BYTES", 5_000)])
async def test_pins_are_bounded(
    store: Store,
    channel: Channel,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    monkeypatch.setattr(sqlite_pins, limit, value)
    for _ in range(3):
        await store.append(channel.number, new_event(b"x" * 2_000))
    await pin(store, channel, 1, "a")
    await pin(store, channel, 2, "b")
    with pytest.raises(TooManyPins):
        await pin(store, channel, 3, "c")
    await pin(store, channel, 2, "still there")


async def test_an_edited_event_is_pinned_as_any(store: Store, channel: Channel) -> None:
    await aged(store, channel, 1)
    subscription, _ = await make_subscription(store)
    made = await store.create_edited(subscription, NewEdited(new_event(), "evt_0", "ana"))
    edited = await store.find_event(made.event.id)
    assert edited is not None
    await store.pin(edited, "tried", "ana", START_MS)

    assert await store.pinned(channel.number) == {}
    assert await store.pinned(-channel.number) == {1: "tried"}
    assert [p.edited for p in await store.pins(channel.number)] == [True]


async def test_a_pin_goes_with_its_channel(store: Store, channel: Channel) -> None:
    await aged(store, channel, 1)
    found = await event(store, channel, 1)
    await pin(store, channel, 1, "audio")
    await store.delete_channel("chatwoot")

    assert await store.pins(channel.number) == []
    with pytest.raises(EventNotFound):
        await store.pin(found, "audio", "ana", START_MS)
