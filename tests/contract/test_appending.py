"""What every store promises of webhooks that arrive."""

from __future__ import annotations

import asyncio

import pytest

from relay_server.errors import ChannelNotFound
from relay_server.store.feed import EventsStored
from relay_server.store.interface import Store
from relay_server.values import Channel
from tests.support.clock import START_MS
from tests.support.events import new_event, request
from tests.support.stores import BACKENDS, UNICODE, Stores, make_channel, sequences
from tests.support.waiting import until

SEALED = BACKENDS  # the same of stores that seal bodies

BIG = bytes(range(256)) * 4 * 1_200  # 1.2 MiB of every byte value


async def test_an_appended_event_comes_back_as_it_was(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Bytes, header order and repeats, numbers and text, before and after a restart."""
    headers = ((b"X-A", b"\xff\x00"), (b"x-a", b"2"), (b"X-A", b"1"))
    event = new_event(BIG, key=UNICODE, kind=UNICODE, head=request("/c%2Fd?e=%C3", headers, "PUT"))

    appended = await store.append(channel.number, event)
    found = await store.find_event(event.id)
    again = await (await stores.reopen(store)).find_event(event.id)

    assert (appended.id, appended.sequence, appended.duplicate) == (event.id, 1, False)
    assert found == again
    assert found is not None
    assert (found.body, found.head.request, found.conflict) == (BIG, event.request, False)
    assert (found.head.key, found.head.kind, found.head.sequence) == (UNICODE, UNICODE, 1)
    assert (found.channel, found.head.received_at) == (channel.number, START_MS)


async def test_sequences_have_no_gaps_under_concurrent_appends(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Each channel counts for itself, and goes on counting after a restart."""
    other = await make_channel(store, "other")

    appended = await asyncio.gather(
        *(store.append(c.number, new_event()) for c in [channel, other] for _ in range(100))
    )
    store = await stores.reopen(store)
    later = await store.append(channel.number, new_event())

    assert sorted(a.sequence for a in appended[:100]) == list(range(1, 101))
    assert sorted(a.sequence for a in appended[100:]) == list(range(1, 101))
    assert later.sequence == 101
    assert await sequences(store, channel) == list(range(1, 102))


async def test_an_unknown_channel_stores_nothing(store: Store) -> None:
    with pytest.raises(ChannelNotFound):
        await store.append(4_711, new_event(id="evt_nowhere"))

    assert await store.find_event("evt_nowhere") is None


async def test_an_event_of_a_channel_that_is_not_meant_is_not_read(
    store: Store, channel: Channel
) -> None:
    """So that who may not see it learns nothing of it, also not by the time that reading takes."""
    event = await store.append(channel.number, new_event())
    assert await store.find_event(event.id, {channel.number + 1}) is None
    assert await store.find_event(event.id, {channel.number}) is not None


async def test_listeners_hear_of_new_events_until_they_stop(store: Store, channel: Channel) -> None:
    other = await make_channel(store, "other")
    heard: list[int] = []
    also: list[int] = []
    unlisten = store.feed.listen(EventsStored, lambda change: heard.append(change.channel))
    store.feed.listen(EventsStored, lambda change: also.append(change.channel))

    await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    await store.append(other.number, new_event())
    await until(lambda: len(also) == 2)
    await store.append(channel.number, new_event(b"a", sender_id="d-1"))  # a duplicate: no news
    unlisten()
    await store.append(other.number, new_event())
    await until(lambda: len(also) == 3)

    assert heard == [channel.number, other.number]
    assert also == [channel.number, other.number, other.number]
