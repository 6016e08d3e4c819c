"""The live feed: what a reader is told, who is told what, and what it costs nobody."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from relay_server.delivery.expiry import expired
from relay_server.filters.language import Filter
from relay_server.live import edited, feeds, news, views
from relay_server.live.rendering import render
from relay_server.spans import Span
from relay_server.store.feed import EventsStored, Progressed
from relay_server.values import Channel, Event, MarkState, NewEdited, Progress, Scope
from relay_server.web import feed
from relay_server.web.server import BoundedHandler
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event, waiting
from tests.support.feeds import FeedReader
from tests.support.senders import connection
from tests.support.stores import make_replay, record
from tests.support.waiting import Stopwatch, until
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served, deaf, listening


@pytest.fixture
def reader(served: Served, ana: Asking) -> FeedReader:
    """Reads as ana, who may see `chatwoot`."""
    assert ana.token is not None
    return FeedReader(served.port, ana.token)


@pytest.fixture
def other(served: Served, admin: Asking) -> FeedReader:
    """Reads as an administrator."""
    assert admin.token is not None
    return FeedReader(served.port, admin.token)


async def test_an_event_is_told_as_it_is_stored(served: Served, reader: FeedReader) -> None:
    body = b'{"event":"message_created","message_type":"incoming","content":"bom dia"}'
    async with reader.reading():
        stored = await append(served, body=body)
        [event] = await reader.got("event")

    assert (event["id"], event["channel"], event["sequence"]) == (stored, "chatwoot", 1)
    assert (event["facts"]["says"], event["facts"]["direction"]) == ("bom dia", "customer")
    assert event["deliveries"] == []
    assert [m.name for m in reader.messages] == ["beat", "event"]
    assert [m.id for m in reader.messages] == ["chatwoot=0", "chatwoot=1"]
    fields = dict(reader.answer.headers)
    assert fields["Content-Type"] == "text/event-stream"
    assert (fields["X-Accel-Buffering"], fields["Cache-Control"]) == ("no", "no-store")


async def test_an_event_waits_for_whom_the_channel_has_when_it_is_stored(
    served: Served, reader: FeedReader
) -> None:
    """In the order of lists; how it went with what was missed is to be asked."""
    for name, made_at in (("bo", START_MS), ("ana", START_MS), ("late", START_MS + 3_600_000)):
        await served.store.subscribe("chatwoot", name, None, made_at)
    async with reader.reading():
        await append(served)
        await reader.got("event")
    await append(served)
    async with reader.reading():
        now, missed = (event["deliveries"] for event in await reader.got("event", 2))

    waits = [(delivery["subscription"], delivery["state"]) for delivery in now]
    assert (waits, missed) == ([("ana", "pending"), ("bo", "pending")], [])


async def test_a_reader_that_comes_back_misses_nothing(served: Served, reader: FeedReader) -> None:
    """By its position: in the header field of a browser, or in the query."""
    async with reader.reading():
        await append(served)
        await reader.got("event")
    await append(served)
    await append(served)
    async with reader.reading():
        await append(served)
        await reader.got("event", 4)
    assert reader.sequences == [1, 2, 3, 4]

    again = FeedReader(served.port, reader.token, **{"from": "chatwoot=2"})
    async with again.reading():
        await again.got("event", 2)
    assert again.sequences == [3, 4]


@pytest.mark.parametrize("seed", range(4))
async def test_a_feed_that_is_cut_anywhere_goes_on_where_it_was(
    served: Served, other: FeedReader, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """At any byte, of a head, a chunk or a message: nothing is missing, nothing comes twice."""
    monkeypatch.setattr(feeds, "BEAT_S", 0.02)  # so that there is always more to read
    monkeypatch.setattr(feeds, "LOOK_S", 0.01)
    chance = random.Random(seed)
    await served.make_channel("shop")
    await other.read(1)  # from the very beginning
    other.position = "chatwoot=0;shop=0"

    async def send() -> None:
        for n in range(60):
            await append(served, chance.choice(["chatwoot", "shop"]), body=b"%d" % n)
            await asyncio.sleep(chance.choice([0, 0, 0.01]))

    sending = asyncio.create_task(send())
    while len(other.of("event")) < 60:
        async with asyncio.timeout(20):
            await other.read(chance.randrange(1, 4_000))
    await sending

    got = [(event["channel"], event["sequence"]) for event in other.of("event")]
    stored = {
        (name, event.head.sequence)
        for name in ("chatwoot", "shop")
        for event in await served.events(name)
    }
    assert len(got) == len(stored) == 60
    assert set(got) == stored
    assert [s for name, s in got if name == "shop"] == sorted(s for n, s in got if n == "shop")


async def test_what_is_too_much_to_catch_up_on_is_a_gap(
    served: Served, reader: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, so that it can be asked for, and what comes behind it comes."""
    monkeypatch.setattr(feeds, "MAX_AT_ONCE", 5)
    monkeypatch.setattr(feeds, "PIECE", 2)
    for _ in range(9):
        await append(served)
    reader.position = "chatwoot=1"
    async with reader.reading():
        [gap] = await reader.got("gap")
        await append(served)
        await reader.got("event", 6)

    assert gap == {"channel": "chatwoot", "from": 7, "to": 9, "before": 10}
    assert reader.sequences == [2, 3, 4, 5, 6, 10]
    assert [m.id for m in reader.messages if m.name == "gap"] == ["chatwoot=9"]


async def test_a_burst_that_is_too_much_is_a_gap(
    served: Served, reader: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAX_AT_ONCE", 4)
    monkeypatch.setattr(feeds, "PIECE", 4)
    async with reader.reading():
        for _ in range(10):
            await append(served)
        [gap] = await reader.got("gap")

    assert (reader.sequences, gap["from"], gap["to"]) == ([1, 2, 3, 4], 5, 10)


async def test_a_channel_that_was_made_anew_begins_anew(served: Served, reader: FeedReader) -> None:
    """The position is one of a channel that is not there any more."""
    await append(served)
    reader.position = "chatwoot=8123;gone=5"
    async with reader.reading():
        [gap] = await reader.got("gap")
        await append(served)
        await reader.got("event")

    assert (gap["from"], gap["to"]) == (8124, 1)
    assert reader.sequences == [2]


async def test_events_that_were_deleted_are_passed_over(served: Served, reader: FeedReader) -> None:
    number = served.store.catalog.channels["chatwoot"].number
    for _ in range(6):
        await append(served)
    await served.store.remove(number, [1, 3, 4, 6])
    reader.position = "chatwoot=0"
    async with reader.reading():
        await reader.got("beat")

    assert reader.sequences == [2, 5]
    assert reader.position == "chatwoot=6"


async def test_large_events_are_read_one_by_one(
    served: Served, reader: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "PIECE_BYTES", 100)
    for size in (10, 90, 1, 300, 300, 5):
        await append(served, body=b"x" * size)
    reader.position = "chatwoot=0"
    async with reader.reading():
        await reader.got("beat")

    assert [event["size"] for event in reader.of("event")] == [10, 90, 1, 300, 300, 5]


async def test_a_filter_leaves_out_what_is_not_meant(served: Served, ana: Asking) -> None:
    """A beat still says how far it is: what was left out is not looked at again."""
    assert ana.token is not None
    reader = FeedReader(served.port, ana.token, q="conv:318")
    async with reader.reading():
        for key in ("7", "318", "8"):
            await append(served, key=key)
        await reader.got("event")
    async with reader.reading():
        await reader.got("beat", 2)

    assert reader.sequences == [2]
    assert reader.position == "chatwoot=3"


async def test_a_filter_is_asked_as_in_the_list_of_events(served: Served, ana: Asking) -> None:
    """By the same fields; `from` is a position where it has a `=`."""
    assert ana.token is not None
    reader = FeedReader(served.port, ana.token, kind="message_created", **{"from": "bot"})
    sender = b'"sender":{"type":"agent_bot"}'
    bot = b'{"event":"message_created","message_type":"outgoing",%b}' % sender
    async with reader.reading():
        await append(served)
        await append(served, body=bot, kind="message_updated")
        await append(served, body=bot)
        await reader.got("event")

    assert reader.sequences == [3]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("q=is:failed", "invalid_filter"),
        ("q=is:faild", "invalid_filter"),
        ("q=%22", "invalid_filter"),
        ("from=chatwoot", "invalid_filter"),
        ("from=chatwoot=x", "invalid_value"),
        ("from=" + "a=1;" * 70, "invalid_value"),
        ("state=perhaps", "invalid_filter"),
        ("state=failed", "invalid_filter"),
    ],
)
async def test_what_cannot_be_asked_is_refused(ana: Asking, query: str, code: str) -> None:
    assert await ana.refused("GET", f"feed?{query}") == (422, code)


async def test_who_may_only_send_reads_no_feed(served: Served) -> None:
    assert await Asking(served, served.token).refused("GET", "feed") == (403, "forbidden")


async def test_a_reader_sees_its_own_channels_alone(
    served: Served, ana: Asking, reader: FeedReader, other: FeedReader
) -> None:
    """Nothing of another channel, whatever becomes of it."""
    reader.query = {"state": 1}
    other.query = {"state": 1}
    await served.store.subscribe("other", "eve", None, START_MS)
    async with reader.reading(), other.reading():
        await append(served, "other")
        await served.configure("other", rate_per_s=5.0)
        await served.store.subscribe("other", "bob", None, START_MS)
        await append(served, "chatwoot")
        await reader.got("event")
        await other.got("event", 2)
        await other.got("channel")

    assert "other" not in str(reader.messages)
    assert "other" in str(other.messages)
    there, gone = await ana("GET", "feed?channel=other"), await ana("GET", "feed?channel=gone")
    assert (there.status, gone.status) == (404, 404)
    assert there.body.replace(b"other", b"gone") == gone.body


async def test_what_becomes_of_deliveries_is_told_to_who_asks(
    served: Served, reader: FeedReader, other: FeedReader
) -> None:
    """Once for each event and subscription in a flush, of a subscription's own and a replay's."""
    other.query = {"state": 1}
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    claim = await served.store.claim(subscription.number)
    assert claim is not None
    ids = [await append(served) for _ in range(3)]
    async with reader.reading(), other.reading():
        dead = mark(2, MarkState.DEAD, 10)
        marks, tries = (dead, waiting(3)), (attempt(1), attempt(2, 9, 503), attempt(2, 10, 500))
        await record(served.store, claim, Progress(1, marks, tries))
        told = {line["event"]: line for line in await other.got("delivery", 3)}
        _, replaying = await make_replay(served.store, subscription)
        await record(served.store, replaying, Progress(0, (), (attempt(2),)))
        replayed = (await other.got("delivery", 4))[-1]

    assert [
        (told[id_]["state"], told[id_]["attempt"], told[id_]["status"], told[id_]["subscription"])
        for id_ in ids
    ] == [("delivered", 1, 200, "ana"), ("dead", 10, 500, "ana"), ("waiting", 1, None, "ana")]
    assert told[ids[2]]["due_at"] == START_MS + 5_000
    assert (replayed["event"], replayed["state"], replayed["replay"]) == (ids[1], "delivered", 1)
    assert reader.of("delivery") == []


async def test_what_a_filter_leaves_out_and_what_is_discarded_is_told(
    served: Served, other: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what was settled before, and of very many the newest."""
    monkeypatch.setattr(news, "MAX_SKIPPED", 3)
    other.query = {"state": 1}
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    claim = await served.store.claim(subscription.number)
    assert claim is not None
    ids = [await append(served) for _ in range(8)]
    dead = mark(1, MarkState.DEAD)
    await record(served.store, claim, Progress(1, (dead, mark(6)), (attempt(1), attempt(6))))
    async with other.reading():
        await record(served.store, claim, Progress(8, skipped=(Span(2, 8),)))
        skipped = await other.got("delivery", 3)
        late = await append(served)
        note = expired(9, 10, START_MS)
        await record(served.store, claim, Progress(9, (), (note,), (Span(9, 9),)))
        told = (await other.got("delivery", 4))[-1]
        await served.store.discard(subscription.number, [1, 2], START_MS)
        discarded = (await other.got("delivery", 5))[-1]

    assert (told["event"], told["state"], told["reason"]) == (late, "expired", "older than 10 s")
    assert {(d["event"], d["state"], d["attempt"]) for d in skipped} == {
        (ids[n], "skipped", 0) for n in (4, 6, 7)
    }
    assert (discarded["event"], discarded["state"]) == (ids[0], "discarded")


async def test_what_becomes_of_an_edited_event_is_told_as_such(
    served: Served, other: FeedReader
) -> None:
    """It has the number of another event, and is none of the channel's."""
    other.query = {"state": 1}
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await append(served)
    async with other.reading():
        edited = await served.store.create_edited(subscription, NewEdited(new_event(), "evt_0", ""))
        claim = await served.store.claim(edited.replay)
        assert claim is not None
        await record(served.store, claim, Progress(1, (), (attempt(1),)))
        [told] = await other.got("delivery")

    assert (told["event"], told["sequence"], told["edited"]) == (edited.event.id, 1, True)
    assert other.of("event") == []


async def test_edited_events_are_told_to_who_asks_for_them_and_move_nobody(
    served: Served, reader: FeedReader, other: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edited, "PIECE", 2)
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)

    async def edit() -> str:
        new = NewEdited(new_event(b'{"event":"message_created"}'), "evt_0", "")
        return (await served.store.create_edited(subscription, new)).event.id

    await edit()
    reader.query = {"edited": 1, "q": "kind:message_created"}
    async with reader.reading(), other.reading():
        await reader.got("beat")  # from now on
        made = [await edit() for _ in range(5)]
        await append(served)
        await reader.got("event", 6)
    told = [m for m in reader.messages if m.name == "event" and m.data["edited"]]
    assert [(m.data["id"], m.id) for m in told] == [(id_, "") for id_ in made]
    first = told[0].data
    assert (first["sequence"], first["edited"], first["kind"]) == (2, True, "message_created")
    assert [(d["subscription"], d["state"]) for d in first["deliveries"]] == [("ana", "pending")]
    assert [event["edited"] for event in other.of("event")] == [False]

    await edit()
    await append(served)
    async with reader.reading():
        await reader.got("event", 7)
        await reader.got("beat", 2)
        later = await edit()
        await reader.got("event", 8)
    assert [event["id"] for event in reader.of("event") if event["edited"]] == [*made, later]


async def test_an_edited_event_is_not_told_of_another_s_channel(
    served: Served, reader: FeedReader, other: FeedReader
) -> None:
    await served.make_channel("secret")
    subscription, _ = await served.store.subscribe("secret", "bo", None, START_MS)
    reader.query = other.query = {"edited": 1}
    async with reader.reading(), other.reading():
        await other.got("beat")
        await served.store.create_edited(subscription, NewEdited(new_event(), "", "bo"))
        [told] = await other.got("event")
        await append(served)
        await reader.got("event")
    assert (told["channel"], told["deliveries"][0]["subscription"]) == ("secret", "bo")
    assert [event["channel"] for event in reader.of("event")] == ["chatwoot"]


async def test_who_reads_what_is_told_first_and_as_it_changes(
    served: Served, other: FeedReader, admin: Asking
) -> None:
    other.query = {"state": 1}
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    async with other.reading():
        [first] = await other.got("subscription")
        await admin.ok("POST", "channels/chatwoot/subscriptions/ana/pause")
        _, paused = await other.got("subscription", 2)
        await admin.ok("DELETE", "channels/chatwoot/subscriptions/ana")
        *_, gone = await other.got("subscription", 3)

    assert first["name"] == "ana"
    assert (first["reading"]["connected"], first["reading"]["paused"]) == (False, "")
    assert paused["reading"]["paused"] == "paused by hand"
    assert gone == {"channel": "chatwoot", "name": "ana", "reading": None}


async def test_channels_that_are_made_and_deleted_are_told(
    served: Served, other: FeedReader, admin: Asking
) -> None:
    """A new one is a part of the feed at once, and so is its place in the position."""
    other.query = {"state": 1}
    async with other.reading():
        await served.make_channel("shop")
        await append(served, "shop")
        await other.got("event")
        await admin.ok("DELETE", "channels/shop")
        made, gone = await other.got("channel", 2)
        await append(served)
        await other.got("event", 2)

    assert (made["name"], made["settings"]["name"]) == ("shop", "shop")
    assert gone == {"name": "shop", "settings": None}
    assert [m.id for m in other.messages if m.name == "event"] == [
        "chatwoot=0;other=0;shop=1"
        if "other" in served.store.catalog.channels
        else "chatwoot=0;shop=1",
        "chatwoot=1;other=0" if "other" in served.store.catalog.channels else "chatwoot=1",
    ]


async def test_a_revoked_reader_is_gone_within_a_second(
    served: Served, reader: FeedReader, other: FeedReader
) -> None:
    async with reader.reading() as ended, other.reading() as goes_on:
        watch = Stopwatch()
        await served.store.revoke_token("ana")
        await ended
        assert watch.elapsed_s < 1
        assert not goes_on.done()

    assert reader.of("bye") == [{"why": "revoked", "retry_ms": None}]


async def test_a_stop_says_goodbye_and_lets_nobody_in(
    served: Served, reader: FeedReader, ana: Asking
) -> None:
    async with reader.reading() as ended:
        watch = Stopwatch()
        served.context.feeds.stop()
        await ended
        assert watch.elapsed_s < 3

    assert reader.of("bye") == [{"why": "stopping", "retry_ms": views.RETRY_MS}]
    assert await ana.refused("GET", "feed") == (503, "busy")


@pytest.mark.parametrize(("limit", "value"), [("MAX_BEHIND_BYTES", 300_000), ("MAX_BEHIND_S", 2.0)])
async def test_a_reader_that_takes_nothing_is_sent_away_and_comes_back(
    served: Served,
    reader: FeedReader,
    other: FeedReader,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
) -> None:
    """The others are told on; and it loses nothing, as it goes on from where it was."""
    monkeypatch.setattr(views, limit, value)
    monkeypatch.setattr(feed, "CLOSE_S", 30.0)
    monkeypatch.setattr(feeds, "FLUSH_S", 0.01)
    head = "x" * 6_000

    async def sent() -> int:
        for n in range(50):
            await append(served, kind=f"{head}{n}")
        await other.got("event", number := len(await served.events()))
        return number

    async with connection(served.port) as one, other.reading():
        slow = asyncio.create_task(reader.read_from(one))
        await reader.got("beat")
        deaf(one)
        while served.metric("relay_feeds") > 1:
            assert len(await served.events()) < 8_000
            await sent()
        listening(one)
        await slow
    assert reader.of("bye")[0]["why"] == "too slow"
    async with reader.reading():
        last = other.sequences[-1]
        await until(
            lambda: (
                (reader.of("gap") or reader.sequences)[-1] and reader.position == f"chatwoot={last}"
            )
        )
    missed = {s for gap in reader.of("gap") for s in range(gap["from"], gap["to"] + 1)}
    assert sorted([*reader.sequences, *missed]) == list(range(1, last + 1))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such")
async def test_a_reader_that_is_gone_without_a_word_is_noticed(
    served: Served, reader: FeedReader
) -> None:
    """By the system: it holds one of four feeds."""
    made, make = list[BoundedHandler](), served.front.fallback

    def noted() -> BoundedHandler:
        made.append(make())
        return made[-1]

    served.front.fallback = noted
    async with reader.reading():
        assert made[0].transport is not None
        sock = made[0].transport.get_extra_info("socket")
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert found == feed.DEAD_MS


async def test_there_are_so_many_feeds_and_no_more(served: Served, reader: FeedReader) -> None:
    """Of one token, and of all; none of them counts as a request, and one that ended is none."""
    one = reader
    async with AsyncExitStack() as stack:
        for n in range(feeds.MAX_FEEDS // feeds.MAX_FEEDS_EACH):
            secret = await served.make_token(f"t{n}", Scope.SUBSCRIBE)
            for _ in range(feeds.MAX_FEEDS_EACH):
                one = FeedReader(served.port, secret)
                await stack.enter_async_context(one.reading())
            if not n:
                refused = await Asking(served, secret).refused("GET", "feed")
                assert refused == (429, "too_many_feeds")
        assert await Asking(served, reader.token).refused("GET", "feed") == (503, "busy")
        assert (await Asking(served, reader.token)("GET", "whoami")).status == 200
        assert served.context.api_requests == 0
        await append(served)
        await one.got("event")
    await until(lambda: not served.metric("relay_feeds"))
    async with reader.reading():
        assert reader.answer.status == 200


async def test_nobody_listens_while_nobody_watches(served: Served, other: FeedReader) -> None:
    other.query = {"state": 1}
    heard = served.store.feed._listeners

    def listeners() -> dict[str, int]:
        return {kind.__name__: len(heard[kind]) for kind in (EventsStored, Progressed)}

    before = listeners()
    async with other.reading():
        assert listeners() == {name: count + 1 for name, count in before.items()}
    await until(lambda: not served.metric("relay_feeds"))
    assert listeners() == before


async def test_equal_feeds_are_rendered_once(
    served: Served, reader: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches; another filter is asked of the same document, and shares the line."""
    asked: list[int] = []

    def counted(
        channel: Channel, events: Sequence[Event], filters: Sequence[Filter], *readers: Any
    ) -> list[Any]:
        asked.append(len(filters))
        return render(channel, events, filters, *readers)

    monkeypatch.setattr(feeds, "render", counted)
    bo = FeedReader(
        served.port, await served.make_token("bo", Scope.SUBSCRIBE, channels=["chatwoot"])
    )
    third = FeedReader(served.port, reader.token, q="kind:message_created")
    async with reader.reading(), bo.reading(), third.reading():
        await append(served)
        for one in (reader, bo, third):
            await one.got("event")

    assert asked == [2]
    assert reader.of("event") == bo.of("event") == third.of("event")


async def test_a_beat_comes_when_nothing_else_does(
    served: Served, reader: FeedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "BEAT_S", 0.05)
    monkeypatch.setattr(feeds, "LOOK_S", 0.01)
    async with reader.reading():
        beats = await reader.got("beat", 3)

    assert beats[-1] == {"now": served.clock.unix_ms(), "index_lag_ms": None, "version": None}


async def test_an_event_stored_by_another_replica_is_read(
    served: Served, reader: FeedReader
) -> None:
    """Its change may come without it, and twice."""
    number = served.store.catalog.channels["chatwoot"].number
    async with reader.reading():
        await append(served)
        for _ in range(3):
            served.store.feed.tell(EventsStored(number, 1))
        await append(served)
        await reader.got("event", 2)

    assert reader.sequences == [1, 2]
