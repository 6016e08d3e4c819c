"""What every store promises of events that are read."""

from __future__ import annotations

import pytest

from relay_server.store.interface import Store
from relay_server.store.sql import events
from relay_server.values import Channel, NewEdited
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.stores import UNICODE, Stores, append_many, make_channel, make_subscription

SEALED = ("sqlite",)  # the same of a store that seals bodies

BIG = bytes(range(256)) * 4 * 1_200  # 1.2 MiB of every byte value


async def test_outlines_are_read_in_order_in_parts(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await make_channel(store, "other")
    for n in range(5):
        await store.append(channel.number, new_event(b"x" * n, key=f"k{n}"))
    store = await stores.reopen(store)

    first = await store.outlines(channel.number, 0, 3)
    rest = await store.outlines(channel.number, 3, 3)

    assert [(o.sequence, o.key, o.size) for o in first] == [
        (1, "k0", 0),
        (2, "k1", 1),
        (3, "k2", 2),
    ]
    assert [o.sequence for o in rest] == [4, 5]
    assert list(await store.outlines(channel.number, 5, 3)) == []


async def test_events_are_fetched_in_the_order_asked_for(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """Live and from the disk; what is not there is left out."""
    ids = await append_many(store, channel, 4)

    live = await store.fetch(channel.number, [3, 1, 9, 2])
    store = await stores.reopen(store)
    later = await store.fetch(channel.number, [3, 1, 9, 2])

    assert [e.head.id for e in live] == [ids[2], ids[0], ids[1]]
    assert list(later) == list(live)


async def test_ids_are_found_by_sequence(store: Store, channel: Channel) -> None:
    """Those of this channel alone, whatever else is asked for."""
    ids = await append_many(store, channel, 3)
    other = await make_channel(store, "other")
    await append_many(store, other, 5)

    found = await store.event_ids(channel.number, [3, 1, 5, 0, 1 << 60])

    assert found == {1: ids[0], 3: ids[2]}
    assert (store.newest(channel.number), store.newest(other.number)) == (3, 5)
    assert store.newest(99) == 0


async def test_ids_are_found_by_their_end(
    store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the newest events, the same number of each channel that is meant; edited ones too."""
    monkeypatch.setattr(events, "LOOK_AT_IDS", 6)
    other = await make_channel(store, "other")
    subscription, _ = await make_subscription(store)
    for of, ids in ((channel, ("evt_1aa", "evt_2bb", "evt_3bb", "evt_4cc")), (other, ("evt_5cc",))):
        for id_ in ids:
            await store.append(of.number, new_event(id=id_))
    edited = NewEdited(new_event(id="evt_6dd"), "evt_1aa", "ana")
    await store.create_edited(subscription, edited)
    both, own = (channel.number, other.number), (channel.number,)

    assert list(await store.ids_ending(own, "bb")) == ["evt_3bb", "evt_2bb"]
    assert list(await store.ids_ending(both, "cc")) == ["evt_4cc", "evt_5cc"]
    assert list(await store.ids_ending(own, "cc")) == ["evt_4cc"]
    assert list(await store.ids_ending(own, "dd")) == ["evt_6dd"]
    assert list(await store.ids_ending(own, "1aa")) == ["evt_1aa"]
    assert list(await store.ids_ending(both, "1aa")) == []
    assert list(await store.ids_ending((), "aa")) == []


async def test_a_big_body_is_fetched_live_and_later(
    stores: Stores, store: Store, channel: Channel
) -> None:
    for _ in range(9):  # more than is kept in memory
        await store.append(channel.number, new_event(BIG))

    live = await store.fetch(channel.number, [1, 9])
    store = await stores.reopen(store)

    assert [e.body == BIG for e in live] == [True, True]
    assert [e.body == BIG for e in await store.fetch(channel.number, [1, 9])] == [True, True]


async def test_sequences_that_no_event_can_have_lead_nowhere(
    store: Store, channel: Channel
) -> None:
    """Above all not into the next channel."""
    other = await make_channel(store, "other")
    await append_many(store, channel, 1)
    await append_many(store, other, 3)
    beyond = [1 << 40, 1 << 41, (3 << 40) | 1, 1 << 70, -1, -(1 << 70)]

    fetched = [await store.fetch(channel.number, [s]) for s in beyond]
    listed = [await store.list_events(channel.number, s, 50) for s in beyond]

    assert [list(f) for f in fetched] == [[]] * 6
    assert [len(events) for events in listed] == [1, 1, 1, 1, 0, 0]
    assert await store.outlines(channel.number, 1 << 40, 10) in ((), [])


async def test_events_are_listed_newest_first(
    stores: Stores, store: Store, channel: Channel
) -> None:
    await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    await store.append(channel.number, new_event(b"bcd", sender_id="d-1", key=UNICODE))
    await store.append((await make_channel(store, "other")).number, new_event())
    await store.append(channel.number, new_event())
    store = await stores.reopen(store)

    page = await store.list_events(channel.number, None, 2)
    following = await store.list_events(channel.number, page[-1].sequence, 2)

    assert [s.sequence for s in page] == [3, 2]
    assert [s.sequence for s in following] == [1]
    assert (page[1].size, page[1].conflict, page[1].key) == (3, True, UNICODE)
    assert (page[1].method, page[1].request_target) == ("POST", "/webhook?a=%2F")
    assert (page[1].kind, page[1].received_at) == ("message_created", START_MS)


async def test_lines_of_a_list_in_the_order_asked_for(
    stores: Stores, store: Store, channel: Channel
) -> None:
    ids = await append_many(store, channel, 4)
    theirs = await append_many(store, await make_channel(store, "other"), 1)
    listed = await store.list_events(channel.number, None, 4)

    store = await stores.reopen(store)
    found = await store.summaries(channel.number, [3, 1, 9])
    named = await store.sequences_of(channel.number, [ids[3], theirs[0], "evt_x", ids[0]])

    assert list(found) == [listed[1], listed[3]]
    assert sorted(named) == [1, 4]


async def test_events_are_looked_at_one_by_one(store: Store, channel: Channel) -> None:
    await append_many(store, channel, 4)
    bodies = await store.examine(channel.number, [3, 1, 9], lambda event: event.body)
    assert list(bodies) == [b"2", b"0"]
