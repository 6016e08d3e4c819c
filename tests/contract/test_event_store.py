"""What every store promises: one suite over every backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay_server.errors import (
    ChannelExists,
    ChannelNotFound,
    InvalidValue,
    TokenExists,
    TokenNotFound,
)
from relay_server.store.base import EventStore
from relay_server.values import (
    Channel,
    ChannelConfig,
    HmacAuth,
    Mark,
    MarkState,
    Progress,
    Scope,
    SenderKind,
    Token,
)
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event, request
from tests.support.stores import (
    BACKENDS,
    append_many,
    deliveries,
    make_channel,
    make_subscription,
    open_test_store,
    trim,
)
from tests.support.waiting import until

BIG = bytes(range(256)) * 4 * 1_200  # 1.2 MiB of every byte value
UNICODE = "conversa-ção 🎉 \N{GREEK SMALL LETTER ALPHA}\x00\u2028'\""


class Stores:
    """A store that can be closed and opened again where the backend survives that."""

    def __init__(self, backend: str, data_dir: Path, stack: AsyncExitStack) -> None:
        self.durable = backend != "memory"
        self._backend, self._data_dir, self._stack = backend, data_dir, stack

    async def open(self) -> EventStore:
        context = open_test_store(self._backend, self._data_dir)
        return await self._stack.enter_async_context(context)

    async def reopen(self, store: EventStore) -> EventStore:
        """The same store after a restart; for memory, the very same."""
        if not self.durable:
            return store
        await self._stack.aclose()
        return await self.open()


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Every backend in turn."""
    async with AsyncExitStack() as stack:
        yield Stores(request.param, tmp_path, stack)


@pytest.fixture
async def store(stores: Stores) -> EventStore:
    """An empty store."""
    return await stores.open()


@pytest.fixture
async def channel(store: EventStore) -> Channel:
    """A channel in it."""
    return await make_channel(store)


async def sequences(store: EventStore, channel: Channel) -> list[int]:
    """Every sequence that is kept."""
    return [o.sequence for o in await store.outlines(channel.number, 0, 10_000)]


def token(name: str = "ana", digest: bytes = b"d" * 32) -> Token:
    return Token(name, digest, frozenset({Scope.SUBSCRIBE}), frozenset({"chatwoot"}), START_MS)


# Appending


async def test_an_appended_event_comes_back_as_it_was(
    stores: Stores, store: EventStore, channel: Channel
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
    stores: Stores, store: EventStore, channel: Channel
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
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    first = await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    store = await stores.reopen(store)

    second = await store.append(channel.number, new_event(b"a", sender_id="d-1"))

    assert (second.id, second.sequence, second.duplicate) == (first.id, first.sequence, True)
    assert await sequences(store, channel) == [1]


async def test_twenty_equal_posts_at_once_are_stored_once(
    store: EventStore, channel: Channel
) -> None:
    posts = [new_event(b"a", sender_id="d-1") for _ in range(20)]

    appended = await asyncio.gather(*(store.append(channel.number, p) for p in posts))

    assert {a.id for a in appended} == {appended[0].id}
    assert [a.duplicate for a in appended].count(False) == 1
    assert await sequences(store, channel) == [1]


async def test_the_same_id_with_another_body_is_stored_and_flagged(
    store: EventStore, channel: Channel
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
    store: EventStore, channel: Channel
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


async def test_an_unknown_channel_stores_nothing(store: EventStore) -> None:
    with pytest.raises(ChannelNotFound):
        await store.append(4_711, new_event(id="evt_nowhere"))

    assert await store.find_event("evt_nowhere") is None


async def test_listeners_hear_of_new_events_until_they_stop(
    store: EventStore, channel: Channel
) -> None:
    other = await make_channel(store, "other")
    heard: list[int] = []
    also: list[int] = []
    unlisten = store.listen(heard.append)
    store.listen(also.append)

    await store.append(channel.number, new_event(b"a", sender_id="d-1"))
    await store.append(other.number, new_event())
    await until(lambda: len(also) == 2)
    await store.append(channel.number, new_event(b"a", sender_id="d-1"))  # a duplicate: no news
    unlisten()
    await store.append(other.number, new_event())
    await until(lambda: len(also) == 3)

    assert heard == [channel.number, other.number]
    assert also == [channel.number, other.number, other.number]


async def test_a_listener_may_stop_while_it_listens(store: EventStore, channel: Channel) -> None:
    heard: list[str] = []

    def once(_: int) -> None:
        heard.append("once")
        unlisten()

    unlisten = store.listen(once)
    store.listen(lambda _: heard.append("always"))

    await append_many(store, channel, 2)
    await until(lambda: heard.count("always") == 2)

    assert heard.count("once") <= 2
    assert heard[0] == "once"


# Reading


async def test_outlines_are_read_in_order_in_parts(
    stores: Stores, store: EventStore, channel: Channel
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
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    """Live and from the disk; what is not there is left out."""
    ids = await append_many(store, channel, 4)

    live = await store.fetch(channel.number, [3, 1, 9, 2])
    store = await stores.reopen(store)
    later = await store.fetch(channel.number, [3, 1, 9, 2])

    assert [e.head.id for e in live] == [ids[2], ids[0], ids[1]]
    assert list(later) == list(live)


async def test_a_big_body_is_fetched_live_and_later(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    for _ in range(9):  # more than is kept in memory
        await store.append(channel.number, new_event(BIG))

    live = await store.fetch(channel.number, [1, 9])
    store = await stores.reopen(store)

    assert [e.body == BIG for e in live] == [True, True]
    assert [e.body == BIG for e in await store.fetch(channel.number, [1, 9])] == [True, True]


async def test_sequences_that_no_event_can_have_lead_nowhere(
    store: EventStore, channel: Channel
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
    stores: Stores, store: EventStore, channel: Channel
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


# Progress


async def test_progress_is_where_the_last_reader_left_it(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 6)
    waiting = Mark(
        5, MarkState.WAITING, 3, 2, START_MS + 9, START_MS - 9, "the target answered 500"
    )
    marks = (mark(1), mark(2, MarkState.DEAD), mark(4), waiting, mark(6, MarkState.UNDER_WAY))

    store.record(claim, Progress(2, marks, (attempt(4), attempt(5, 1, 500), attempt(5, 2, 500))))
    await store.flush()
    store = await stores.reopen(store)
    again = await store.claim(subscription.number)

    assert again is not None
    assert again.epoch > claim.epoch
    assert again.progress.floor == 2
    assert again.progress.marks == marks[2:]
    assert [d.state for d in await deliveries(store, channel, 2)] == ["dead"]
    [fifth] = await deliveries(store, channel, 5)
    assert fifth.attempts == (attempt(5, 1, 500), attempt(5, 2, 500))


async def test_recording_twice_changes_nothing(store: EventStore, channel: Channel) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 4)
    progress = Progress(1, (mark(3),), (attempt(1), attempt(3)))

    for _ in range(2):
        store.record(claim, progress)
        await store.flush()
    store.record(claim, Progress(0, (mark(1, MarkState.UNDER_WAY),)))  # of before: too late

    again = await store.claim(subscription.number)
    assert again is not None
    assert again.progress == Progress(1, (mark(3),))
    assert (await deliveries(store, channel, 3))[0].attempts == (attempt(3),)
    assert (await deliveries(store, channel, 1))[0].state == "delivered"


async def test_a_newer_mark_replaces_an_older_one(store: EventStore, channel: Channel) -> None:
    subscription, claim = await make_subscription(store)
    await append_many(store, channel, 3)

    store.record(claim, Progress(0, (mark(2, MarkState.UNDER_WAY),)))
    store.record(claim, Progress(0, (mark(2, MarkState.DEAD, 9),)))
    await store.flush()
    store.record(claim, Progress(3))

    [state] = await deliveries(store, channel, 2)
    [status] = await store.subscription_status()
    assert (state.state, status.dead, status.backlog) == ("dead", 1, 0)
    again = await store.claim(subscription.number)
    assert again is not None
    assert again.progress == Progress(3)


async def test_what_an_older_claim_records_is_dropped(store: EventStore, channel: Channel) -> None:
    subscription, old = await make_subscription(store)
    await append_many(store, channel, 3)
    new = await store.claim(subscription.number)
    assert new is not None

    store.record(old, Progress(3, (mark(3, MarkState.DEAD),), (attempt(1),)))
    store.record(new, Progress(1))
    store.record(old, Progress(2))
    await store.flush()

    last = await store.claim(subscription.number)
    assert last is not None
    assert (last.progress, last.epoch > new.epoch > old.epoch) == (Progress(1), True)
    assert (await deliveries(store, channel, 1))[0].attempts == ()


async def test_what_was_recorded_before_a_claim_is_in_it(
    store: EventStore, channel: Channel
) -> None:
    subscription, old = await make_subscription(store)
    await append_many(store, channel, 3)

    store.record(old, Progress(1, (mark(3),)))
    new = await store.claim(subscription.number)

    assert new is not None
    assert new.progress == Progress(1, (mark(3),))


async def test_nobody_can_claim_what_is_gone(store: EventStore, channel: Channel) -> None:
    assert await store.claim(4_711) is None


# Subscriptions


async def test_a_subscription_starts_with_the_next_event(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    await append_many(store, channel, 3)

    subscription, created = await store.subscribe("chatwoot", UNICODE, None, START_MS + 5)
    store = await stores.reopen(store)
    again, created_again = await store.subscribe("chatwoot", UNICODE, 0, START_MS + 9)
    await append_many(store, channel, 1)
    claim = await store.claim(subscription.number)

    assert (created, created_again) == (True, False)
    assert again == subscription
    assert (subscription.channel, subscription.name) == ("chatwoot", UNICODE)
    assert subscription.created_at == START_MS + 5
    assert claim is not None
    assert claim.progress == Progress(3)
    assert list(await deliveries(store, channel, 3)) == []
    assert [d.subscription for d in await deliveries(store, channel, 4)] == [UNICODE]


@pytest.mark.parametrize(
    ("since", "floor"), [(0, 0), (START_MS, 0), (START_MS + 1, 1), (START_MS + 2, 2), (1 << 50, 3)]
)
async def test_a_subscription_starts_at_a_time(
    store: EventStore, channel: Channel, since: int, floor: int
) -> None:
    for n in range(3):
        await store.append(channel.number, new_event(received_at=START_MS + n))

    _, claim = await make_subscription(store, since=since)

    assert claim.progress.floor == floor


async def test_subscribing_to_no_channel_fails(store: EventStore) -> None:
    with pytest.raises(ChannelNotFound):
        await store.subscribe("nowhere", "ana", None, START_MS)


async def test_subscribing_at_once_makes_one(store: EventStore, channel: Channel) -> None:
    made = await asyncio.gather(
        *(store.subscribe("chatwoot", "ana", None, START_MS) for _ in range(10))
    )

    assert len({subscription.number for subscription, _ in made}) == 1
    assert [created for _, created in made].count(True) == 1


async def test_status_says_how_far_each_subscription_is(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    other = await make_channel(store, "a-channel")
    ana, claim = await make_subscription(store, name="ana")
    await make_subscription(store, name="bia")
    await make_subscription(store, "a-channel", "zoe")
    for n in range(5):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    store.record(claim, Progress(1, (mark(2, MarkState.DEAD), mark(4), mark(3, MarkState.WAITING))))
    await store.flush()
    store = await stores.reopen(store)

    status = await store.subscription_status()
    only = await store.subscription_status([ana.number, 4_711])
    channels = await store.channel_status()

    assert [(s.subscription.name, s.backlog, s.oldest_waiting_at, s.dead) for s in status] == [
        ("zoe", 0, None, 0),
        ("ana", 2, START_MS + 2, 1),
        ("bia", 5, START_MS, 0),
    ]
    assert list(only) == [status[1]]
    assert [(c.channel, c.events, c.last_received_at) for c in channels] == [
        ("a-channel", 0, None),
        ("chatwoot", 5, START_MS + 4),
    ]
    assert other.name == "a-channel"


async def test_deliveries_say_what_became_of_an_event(store: EventStore, channel: Channel) -> None:
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


# The catalogue


async def test_the_catalog_shows_each_change_at_once_and_later(
    stores: Stores, store: EventStore
) -> None:
    hmac = HmacAuth("chatwoot", (b"\x00sealed", b"\xff"), log_only=True)
    config = ChannelConfig(
        SenderKind.OTHER, False, hmac, ("203.0.113.0/24",), "/a~1b", 5, 0.5, owner="ana"
    )
    channel = await store.create_channel(UNICODE, ChannelConfig(), START_MS)

    changed = await store.set_channel(UNICODE, config)
    await store.create_token(token())
    everywhere = Token("root", b"r" * 32, frozenset(Scope), None, START_MS)
    await store.create_token(everywhere)
    before = store.catalog
    store = await stores.reopen(store)

    assert (changed.number, changed.config, changed.created_at) == (
        channel.number,
        config,
        START_MS,
    )
    assert dict(before.channels) == {UNICODE: changed}
    assert dict(before.tokens) == {b"d" * 32: token(), b"r" * 32: everywhere}
    assert store.catalog == before


async def test_names_are_taken_once(store: EventStore, channel: Channel) -> None:
    await store.create_token(token())

    with pytest.raises(ChannelExists):
        await store.create_channel("chatwoot", ChannelConfig(), START_MS)
    with pytest.raises(TokenExists):
        await store.create_token(token(digest=b"e" * 32))

    assert set(store.catalog.tokens) == {b"d" * 32}


async def test_what_is_not_there_cannot_be_changed(store: EventStore) -> None:
    with pytest.raises(ChannelNotFound):
        await store.set_channel("nowhere", ChannelConfig())
    with pytest.raises(ChannelNotFound):
        await store.delete_channel("nowhere")
    with pytest.raises(TokenNotFound):
        await store.revoke_token("nobody")
    assert store.catalog.channels == {}


async def test_a_revoked_token_is_forgotten(stores: Stores, store: EventStore) -> None:
    await store.create_token(token())

    await store.revoke_token("ana")

    assert store.catalog.tokens == {}
    assert (await stores.reopen(store)).catalog.tokens == {}


async def test_a_deleted_channel_takes_everything_with_it(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    """A channel of the same name begins anew, and its neighbour is not touched."""
    other = await make_channel(store, "other")
    subscription, claim = await make_subscription(store)
    ids = [(await store.append(channel.number, new_event(sender_id="d-1"))).id]
    await asyncio.gather(*(store.append(channel.number, new_event()) for _ in range(600)))
    kept = await append_many(store, other, 2)
    store.record(claim, Progress(1, (mark(2, MarkState.DEAD),), (attempt(1),)))

    await store.delete_channel("chatwoot")
    with pytest.raises(ChannelNotFound):
        await store.append(channel.number, new_event())
    assert list(await store.outlines(channel.number, 0, 10)) == []
    assert list(await store.fetch(channel.number, [1, 2])) == []
    assert await trim(store, channel, START_MS * 2, 10) == 0
    store.record(claim, Progress(2))  # somebody has not heard of it yet
    store = await stores.reopen(store)

    assert set(store.catalog.channels) == {"other"}
    assert await store.find_event(ids[0]) is None
    assert await store.claim(subscription.number) is None
    assert list(await store.subscription_status()) == []
    again = await make_channel(store)
    assert again.number not in (channel.number, other.number)
    assert (await store.append(again.number, new_event(sender_id="d-1"))).sequence == 1
    assert [s.id for s in await store.list_events(other.number, None, 9)] == kept[::-1]


# Keeping house


async def aged(store: EventStore, channel: Channel, count: int) -> Sequence[str]:
    """Events received a millisecond apart."""
    events = [new_event(received_at=START_MS + n, sender_id=f"d-{n}") for n in range(count)]
    return [(await store.append(channel.number, event)).id for event in events]


async def test_trimming_keeps_what_is_young_and_stops_at_its_limit(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    await aged(store, channel, 6)

    first = await trim(store, channel, START_MS + 4, 3)
    rest = await trim(store, channel, START_MS + 4, 3)
    none = await trim(store, channel, START_MS + 4, 3)
    store = await stores.reopen(store)

    assert (first, rest, none) == (3, 1, 0)
    assert await sequences(store, channel) == [5, 6]
    assert (await store.append(channel.number, new_event())).sequence == 7


async def test_trimming_keeps_what_somebody_waits_for_and_what_is_dead(
    stores: Stores, store: EventStore, channel: Channel
) -> None:
    _, ana = await make_subscription(store, name="ana")
    _, bia = await make_subscription(store, name="bia")
    await aged(store, channel, 6)
    store.record(ana, Progress(6))
    store.record(bia, Progress(3, (mark(2, MarkState.DEAD), mark(5)), (attempt(1), attempt(2))))
    await store.flush()

    trimmed = await trim(store, channel, START_MS * 2, 100)
    store = await stores.reopen(store)

    assert trimmed == 3  # also what is settled above the floor of whoever waits for less
    kept = [s.sequence for s in await store.list_events(channel.number, None, 9)]
    assert kept == [6, 4, 2]
    [_, of_bia] = await deliveries(store, channel, 2)
    assert (of_bia.state, of_bia.attempts) == ("dead", (attempt(2),))
    assert (await deliveries(store, channel, 1))[1].attempts == ()


async def test_an_event_that_was_trimmed_is_no_duplicate_any_more(
    store: EventStore, channel: Channel
) -> None:
    await aged(store, channel, 2)
    await trim(store, channel, START_MS * 2, 1)

    again = await store.append(channel.number, new_event(sender_id="d-0"))
    known = await store.append(channel.number, new_event(sender_id="d-1"))

    assert (again.duplicate, again.sequence) == (False, 3)
    assert (known.duplicate, known.sequence) == (True, 2)


async def test_a_late_subscriber_does_not_keep_what_is_not_for_it(
    store: EventStore, channel: Channel
) -> None:
    await aged(store, channel, 3)
    await make_subscription(store)
    await store.append(channel.number, new_event())

    assert await trim(store, channel, START_MS * 2, 100) == 3


async def test_a_backup_overwrites_nothing(
    store: EventStore, channel: Channel, tmp_path: Path
) -> None:
    file = tmp_path / "there.db"
    file.write_bytes(b"mine")

    with pytest.raises(InvalidValue):
        await store.backup(file)
    with pytest.raises(InvalidValue):
        await store.backup(tmp_path / "no" / "such" / "folder.db")

    assert file.read_bytes() == b"mine"


async def test_a_forgotten_subscription_keeps_nothing_back(store: EventStore) -> None:
    """What waited for it may be trimmed, and its name starts anew."""
    channel = await make_channel(store)
    subscription, claim = await make_subscription(store)
    await store.append(channel.number, new_event())
    assert await trim(store, channel, START_MS * 2, 10) == 0

    await store.unsubscribe(subscription.number)

    assert await store.subscription_status() == []
    assert await store.claim(subscription.number) is None
    store.record(claim, Progress(1))  # a late word of its last reader changes nothing
    await store.flush()
    assert await trim(store, channel, START_MS * 2, 10) == 1
    again, created = await store.subscribe(channel.name, subscription.name, None, 1)
    assert created
    assert again.number != subscription.number


async def test_a_sender_that_uses_one_id_for_all_stores_each_body_once(
    store: EventStore,
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


async def test_old_events_are_trimmed_behind_dead_ones(store: EventStore) -> None:
    """What is dead and kept must not hide what is old behind it."""
    channel = await make_channel(store)
    _, claim = await make_subscription(store)
    for n in range(6):
        await store.append(channel.number, new_event(received_at=START_MS + n))
    store.record(claim, Progress(6, (mark(1, MarkState.DEAD), mark(2, MarkState.DEAD))))
    await store.flush()

    assert await trim(store, channel, START_MS + 4, 2) == 2
    assert await trim(store, channel, START_MS + 4, 2) == 0
