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
from tests.support.stores import UNICODE, Stores, append_many, make_channel, sequences
from tests.support.waiting import until

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


async def test_a_duplicate_is_the_first_event(
    stores: Stores, store: Store, channel: Channel
) -> None:
    first = await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    store = await stores.reopen(store)

    second = await store.append(channel.number, new_event(b"a", sender_id="d-1"))

    assert (second.id, second.sequence, second.duplicate) == (first.id, first.sequence, True)
    assert await sequences(store, channel) == [1]


async def test_twenty_equal_posts_at_once_are_stored_once(store: Store, channel: Channel) -> None:
    posts = [new_event(b"a", sender_id="d-1") for _ in range(20)]

    appended = await asyncio.gather(*(store.append(channel.number, p) for p in posts))

    assert {a.id for a in appended} == {appended[0].id}
    assert [a.duplicate for a in appended].count(False) == 1
    assert await sequences(store, channel) == [1]


async def test_the_same_id_with_another_body_is_stored_and_flagged(
    store: Store, channel: Channel
) -> None:
    first = await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    other = await store.append(channel.number, new_event(b"b", sender_id="d-1"))
    again = await store.append(channel.number, new_event(b"b", sender_id="d-1"))

    event, plain = await store.find_event(other.id), await store.find_event(first.id)

    assert (other.duplicate, other.sequence) == (False, 2)
    assert (again.duplicate, again.id) == (True, other.id)
    assert event is not None
    assert plain is not None
    assert (plain.conflict, event.conflict) == (False, True)


async def test_only_a_senders_id_in_one_channel_makes_a_duplicate(
    store: Store, channel: Channel
) -> None:
    other = await make_channel(store, "other")

    appended = [
        await store.append(channel.number, new_event(b"a", sender_id="d-1")),
        await store.append(other.number, new_event(b"a", sender_id="d-1")),
        await store.append(channel.number, new_event(b"a")),
        await store.append(channel.number, new_event(b"a")),
        await store.append(channel.number, new_event(b"a", sender_id="")),
    ]

    assert not any(a.duplicate for a in appended)


async def test_a_senders_id_in_another_channel_makes_no_conflict(
    store: Store, channel: Channel
) -> None:
    other = await make_channel(store, "other")
    await store.append(channel.number, new_event(b"a", sender_id="d-1"))

    first = await store.append(other.number, new_event(b"b", sender_id="d-1"))
    second = await store.append(other.number, new_event(b"a", sender_id="d-1"))

    assert not second.duplicate
    events = await store.fetch(other.number, [first.sequence, second.sequence])
    assert [event.conflict for event in events] == [False, True]


async def test_bodies_of_one_checksum_are_told_apart(store: Store, channel: Channel) -> None:
    """Both have the CRC-32 4ddb0c25: the second is no duplicate, the first again is one."""
    bodies = (b"plumless", b"buckeroo", b"plumless")
    appended = [
        await store.append(channel.number, new_event(body, sender_id="d-1")) for body in bodies
    ]

    assert [(a.sequence, a.duplicate) for a in appended] == [(1, False), (2, False), (1, True)]


async def test_an_unknown_channel_stores_nothing(store: Store) -> None:
    with pytest.raises(ChannelNotFound):
        await store.append(4_711, new_event(id="evt_nowhere"))

    assert await store.find_event("evt_nowhere") is None


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


async def test_a_listener_may_stop_while_it_listens(store: Store, channel: Channel) -> None:
    heard: list[str] = []

    def once(_: EventsStored) -> None:
        heard.append("once")
        unlisten()

    unlisten = store.feed.listen(EventsStored, once)
    store.feed.listen(EventsStored, lambda _: heard.append("always"))

    await append_many(store, channel, 2)
    await until(lambda: heard.count("always") == 2)

    assert heard.count("once") <= 2
    assert heard[0] == "once"


async def test_a_sender_that_uses_one_id_for_all_stores_each_body_once(
    store: Store,
) -> None:
    """Other bodies under the id are conflicts; the same one is known, also in another channel."""
    channel = await make_channel(store)
    other = await make_channel(store, "other")
    bodies = [b"%d" % n for n in range(20)]

    first = [
        await store.append(channel.number, new_event(body=body, sender_id="same"))
        for body in bodies
    ]
    again = await store.append(channel.number, new_event(body=bodies[7], sender_id="same"))
    elsewhere = await store.append(other.number, new_event(body=bodies[7], sender_id="same"))

    assert [appended.sequence for appended in first] == list(range(1, 21))
    assert (again.id, again.duplicate) == (first[7].id, True)
    assert not elsewhere.duplicate
    conflicts = [e.conflict for e in await store.list_events(channel.number, None, 50)]
    assert conflicts == [True] * 19 + [False]
