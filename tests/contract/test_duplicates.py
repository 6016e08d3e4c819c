"""What every store promises of webhooks that are sent again: stored once, and missed by nobody."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from relay_protocol.values import RequestHead
from relay_server.configs import ChannelConfig
from relay_server.errors import ChannelFull, ChannelNotFound
from relay_server.store.interface import Store
from relay_server.store.sql.rows import encode
from relay_server.values import Channel, MarkState, NewEvent, Progress
from tests.support.clock import START_MS
from tests.support.events import mark, new_event, request
from tests.support.stores import (
    BACKENDS,
    Stores,
    make_channel,
    make_subscription,
    record,
    sequences,
)

SEALED = BACKENDS  # the same of stores that seal bodies

WINDOW_MS = 600_000  # as every channel has it unless told otherwise


def post(body: bytes = b"a", *, after_ms: int = 0, head: RequestHead | None = None) -> NewEvent:
    """A webhook of one sender's id."""
    return new_event(body, sender_id="d-1", received_at=START_MS + after_ms, head=head)


async def set_window(store: Store, channel: Channel, seconds: float) -> None:
    def change(config: ChannelConfig) -> ChannelConfig:
        return msgspec.structs.replace(config, dedupe_window_s=seconds)

    await store.change_channel(channel.name, change)


async def flags(store: Store, channel: Channel) -> list[tuple[str | None, bool]]:
    """Of each event which one it repeats, and whether it is a conflict."""
    events = await store.fetch(channel.number, await sequences(store, channel))
    return [(event.repeat_of, event.conflict) for event in events]


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


@pytest.mark.parametrize(
    "head",
    [
        request("/crm"),
        request("/webhook?a=%2F&b"),
        request("/webhook?a=/"),
        request("/webhook?a=%2F", method="PUT"),
    ],
    ids=["path", "query", "spelling", "method"],
)
async def test_what_is_asked_for_otherwise_is_another_event(
    stores: Stores, store: Store, channel: Channel, head: RequestHead
) -> None:
    """At another time or at once; it is no conflict, because the body is the same."""
    at_once = await asyncio.gather(
        store.append(channel.number, post()), store.append(channel.number, post(head=head))
    )
    store = await stores.reopen(store)
    again = [await store.append(channel.number, p) for p in (post(head=head), post())]

    assert [a.duplicate for a in at_once] == [False, False]
    assert [(a.id, a.duplicate) for a in again] == [(a.id, True) for a in reversed(at_once)]
    assert await flags(store, channel) == [(None, False)] * 2


async def test_headers_may_be_other_ones(store: Store, channel: Channel) -> None:
    """A sender signs each try anew."""
    first = await store.append(channel.number, post())

    again = await store.append(channel.number, post(head=request(headers=((b"X-Time", b"2"),))))

    assert (again.id, again.duplicate) == (first.id, True)


async def test_after_the_window_it_is_an_event_that_repeats_the_first(
    stores: Stores, store: Store, channel: Channel
) -> None:
    """The window begins anew with each; a clock that was set back does not end it."""
    times = (0, WINDOW_MS - 1, WINDOW_MS, 2 * WINDOW_MS - 1, -WINDOW_MS, 3 * WINDOW_MS)
    appended = []
    for after_ms in times:
        appended.append(await store.append(channel.number, post(after_ms=after_ms)))
        store = await stores.reopen(store)

    first = appended[0].id
    assert [a.duplicate for a in appended] == [False, True, False, True, True, False]
    assert [a.sequence for a in appended] == [1, 1, 2, 2, 2, 3]
    assert await flags(store, channel) == [(None, False), (first, False), (first, False)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_channel_may_know_no_duplicates(
    store: Store, channel: Channel, at_once: bool
) -> None:
    """Each is an event, and says whose repeat it is; a conflict is one as ever."""
    await set_window(store, channel, 0)
    posts = [post(), post(), post(b"b"), post()]

    if at_once:
        appended = await asyncio.gather(*(store.append(channel.number, p) for p in posts))
    else:
        appended = [await store.append(channel.number, p) for p in posts]

    first = appended[0].id
    assert not any(a.duplicate for a in appended)
    assert await flags(store, channel) == [
        (None, False),
        (first, False),
        (None, True),
        (first, True),
    ]


async def test_a_channel_has_the_window_that_was_set(store: Store, channel: Channel) -> None:
    other = await make_channel(store, "other")
    await set_window(store, channel, 1.5)

    found = [
        [(await store.append(c.number, post(after_ms=ms))).duplicate for ms in (0, 1_499, 1_500)]
        for c in (channel, other)
    ]

    assert found == [[False, True, False], [False, True, True]]


async def test_a_subscription_made_since_gets_what_is_sent_again(
    store: Store, channel: Channel
) -> None:
    """One that began before the first is no reason, nor is one of another channel."""
    await make_subscription(store, name="ana")
    first = await store.append(channel.number, post())
    other = await make_channel(store, "other")
    await make_subscription(store, other.name)
    await make_subscription(store, name="early", since=0)
    again = await store.append(channel.number, post())

    await make_subscription(store, name="bia")
    for_bia = await store.append(channel.number, post())
    once_more = await store.append(channel.number, post())

    assert (again.id, again.duplicate) == (first.id, True)
    assert (for_bia.sequence, for_bia.duplicate) == (2, False)
    assert (once_more.id, once_more.duplicate) == (for_bia.id, True)
    assert await flags(store, channel) == [(None, False), (first.id, False)]


@pytest.mark.parametrize("floor", [0, 2])
async def test_what_was_discarded_is_delivered_when_it_is_sent_again(
    store: Store, channel: Channel, floor: int
) -> None:
    """While it is dead it is listed: that is enough."""
    ana, claim = await make_subscription(store, name="ana")
    await make_subscription(store, name="bia")
    first = await store.append(channel.number, post())
    await store.append(channel.number, new_event())
    await record(store, claim, Progress(floor, (mark(1, MarkState.DEAD),)))
    while_dead = await store.append(channel.number, post())

    assert await store.discard(ana.number, [1], START_MS) == 1
    again = await store.append(channel.number, post())

    assert (while_dead.id, while_dead.duplicate) == (first.id, True)
    assert (again.sequence, again.duplicate) == (3, False)


async def test_what_is_not_kept_any_more_is_stored_anew(store: Store, channel: Channel) -> None:
    """What was stored beside it is known as before."""
    kept = new_event(sender_id="d-2")
    appended = [await store.append(channel.number, event) for event in (post(), kept)]
    assert await store.remove(channel.number, [1]) == 1

    again = await store.append(channel.number, post())
    known = await store.append(channel.number, new_event(sender_id="d-2"))

    assert (again.duplicate, again.sequence) == (False, 3)
    assert (known.duplicate, known.id) == (True, appended[1].id)
    assert await flags(store, channel) == [(None, False)] * 2


async def test_a_full_channel_answers_a_duplicate_and_refuses_a_repeat(store: Store) -> None:
    """What would have to be stored for somebody has no room."""
    limits = ChannelConfig(max_bytes=len(encode(request())) + 10)
    channel = await store.create_channel("small", limits, START_MS)
    first = await store.append(channel.number, post())

    again = await store.append(channel.number, post())
    assert (again.id, again.duplicate) == (first.id, True)
    with pytest.raises(ChannelFull):
        await store.append(channel.number, post(after_ms=WINDOW_MS))
    await make_subscription(store, channel.name)
    with pytest.raises(ChannelFull):
        await store.append(channel.number, post())


async def test_of_a_channel_that_is_gone_no_duplicate_is_stored_either(
    store: Store, channel: Channel
) -> None:
    """Of two that come together with its end, the second is not answered with the first."""
    await store.delete_channel(channel.name)

    answers = await asyncio.gather(
        *(store.append(channel.number, post()) for _ in range(2)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [ChannelNotFound] * 2
