"""The JSON API's events by filters: pages, the latest, how many; and who already has the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import RequestHead
from relay_server.operations import finding
from relay_server.search import follower
from relay_server.store import versions
from relay_server.values import MarkState, Progress, ReplayState
from tests.support.clock import START_MS
from tests.support.events import attempt, mark
from tests.support.indexed import Indexed
from tests.support.senders import Answer, request
from tests.support.stores import make_replay, record
from tests.support.texts import HARD_TEXTS, body_of
from tests.support.waiting import until_true
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served


@pytest.fixture(params=["indexed", "not indexed"])
async def found_both_ways(
    request: pytest.FixtureRequest,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[None]:
    """The same is answered with the index as without it."""
    if request.param == "not indexed":
        yield
        return
    monkeypatch.setattr(follower, "GATHER_S", 0.0)
    indexed = Indexed(served.store, tmp_path)
    search = await indexed.begin()
    search.listen(served.context.versions.changed)
    served.context.search = search
    yield
    await indexed.end()


async def sequences(who: Asking, query: str, **more: Any) -> list[int]:
    page = await who.ok("GET", f"events?{query}", **more)
    assert page["complete"]
    return [event["sequence"] for event in page["events"]]


async def level(served: Served) -> None:
    if served.context.search is not None:
        indexed = Indexed(served.store, Path(), served.context.search)
        await indexed.level()


async def conversation(served: Served) -> None:
    """Six events: of two conversations, by a customer, an agent, and no Chatwoot."""
    await append(served, body=body_of("Não chegou o pedido", talk=318), key="2/318")
    agent: Json = {"message_type": "outgoing", "sender": {"type": "user", "name": "Ana"}}
    await append(served, body=body_of("Já olho", talk=318, **agent), key="2/318")
    note = agent | {"private": True}
    await append(served, body=body_of("pedido atrasado", talk=318, **note), key="2/318")
    await append(
        served, body=body_of("Oi", talk=77, name="Maria"), key="2/77", received_at=START_MS + 9
    )
    head = RequestHead("PUT", "/hooks/b?x=1", ((b"X-Kind", b"Ping"),), "203.0.113.9", "https")
    await append(served, body=b"ping pedido", kind="", key="", head=head)
    await append(served, body=b'{"a": {"b": [0, "x"]}}', kind="", key="")
    await level(served)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=nao+chegou", [1]),
        ("q=pedido", [5, 3, 1]),
        ("q=pedido+-is:private", [5, 1]),
        ("q=%22o+pedido%22", [1]),
        ("q=pedi*", [5, 3, 1]),
        ("q=kind:message_*&limit=2", [4, 3]),
        ("kind=message_created&from=agent", [3, 2]),
        ("key=318", [3, 2, 1]),
        ("key=2%2F77", [4]),
        ("inbox=3&contact=117", [4]),
        ("contact=joao", [3, 2, 1]),
        ("text=o+pedido", [1]),
        (f"received_from={START_MS + 1}", [4]),
        (f"received_before={START_MS + 1}&q=message_created", [3, 2, 1]),
        ("q=method:put+path:/hooks/*", [5]),
        ("q=header.x-kind:ping", [5]),
        ("q=json.a.b.1:x", [6]),
        ("q=is:waiting", []),
        ("q=nothing", []),
        ("q=pedido&before=5&limit=1", [3]),
        ("q=pedido&after=1&limit=1", [3]),
        ("after=2&limit=2", [4, 3]),
    ],
)
@pytest.mark.usefixtures("found_both_ways")
async def test_events_by_a_filter(
    served: Served, ana: Asking, query: str, expected: list[int]
) -> None:
    await conversation(served)
    assert await sequences(ana, query) == expected
    counted = await ana.ok("GET", f"events/count?{query}") if "limit" not in query else None
    assert counted is None or counted["count"] == len(expected)


@pytest.mark.usefixtures("found_both_ways")
async def test_a_row_and_its_page(served: Served, ana: Asking) -> None:
    await conversation(served)
    page = await ana.ok("GET", "events?limit=1&q=nao")
    [row] = page.pop("events")
    assert (row["facts"]["says"], row["facts"]["direction"]) == ("Não chegou o pedido", "customer")
    assert (row["facts"]["conversation"], row["deliveries"]) == ("318", [])
    assert (page["newest"], page["scanned_to"], page["complete"]) == (6, 1, True)
    assert page["indexed_to"] == (6 if served.context.search else 0)
    latest = await ana.ok("GET", "events/latest?q=pedido+-is:private")
    assert latest["event"]["sequence"] == 5
    assert (await ana.ok("GET", "events/latest?q=nada"))["event"] is None


@pytest.mark.usefixtures("found_both_ways")
async def test_pages_lead_to_each_other(served: Served, ana: Asking) -> None:
    for number in range(30):
        await append(served, body=body_of("par" if number % 2 else "impar"))
    await level(served)
    seen, pages = list[int](), list[list[int]]()
    page: Json = {"next": "q=par&limit=4"}
    while page["next"]:
        page = await ana.ok("GET", f"events?{page['next']}")
        pages.append([event["sequence"] for event in page["events"]])
        seen += pages[-1]
    assert seen == list(range(30, 0, -2))
    for expected in pages[-2::-1]:
        page = await ana.ok("GET", f"events?{page['prev']}")
        assert [event["sequence"] for event in page["events"]] == expected
    assert await sequences(ana, page["prev"]) == []
    await append(served, body=body_of("par"))
    await append(served, body=body_of("par"))
    assert await sequences(ana, page["prev"]) == [32, 31]


@pytest.mark.usefixtures("found_both_ways")
async def test_an_answer_is_bounded_and_says_how_far_it_came(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        await append(served, body=body_of("raro" if number == 9 else "oi"))
    await level(served)
    monkeypatch.setattr(finding, "BUDGET_S", -1.0)
    monkeypatch.setattr(finding, "PIECE", 32)
    query, answers, found = "q=raro+path:/webhook+is:waiting", 0, list[Json]()
    await served.store.subscribe("chatwoot", "ana", 0, START_MS)
    while query:
        page = await ana.ok("GET", f"events?{query}")
        assert page["complete"] == (page["scanned_to"] == 1)
        answers, query, found = answers + 1, page["next"], found + page["events"]
    assert [event["sequence"] for event in found] == [10]
    assert answers > 1 or served.context.search
    counted = await ana.ok("GET", "events/count?q=path:/webhook&up_to=20")
    assert (counted["count"], counted["capped"]) == (20, True)


OUTCOMES = [
    ("is:delivered", [3, 1]),
    ("state=delivered&subscription=bia", [3]),
    ("is:dead", [2]),
    ("is:failed", [4, 2]),
    ("is:failed,pinned nao", []),
    ("is:dead,failed -b", [4]),
    ("is:waiting", [4, 2, 1]),
    ("status:503", [4]),
    ("status:5xx", [4, 2]),
    ("-status:5xx", [3, 1]),
    ("subscription:bia", [4, 3, 2, 1]),
    ("subscription:ana is:waiting", [4]),
    ("-subscription:ana is:waiting", [4, 2, 1]),
    ("subscription:nobody", []),
    ("is:delivered nao", [1]),
]


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize(("asked", "expected"), OUTCOMES)
@pytest.mark.usefixtures("found_both_ways")
async def test_events_by_what_became_of_them(
    served: Served,
    ana: Asking,
    asked: str,
    expected: list[int],
    few: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same where what failed is named by the store, as where that is too much."""
    if not few:
        monkeypatch.setattr(finding, "MAX_TROUBLED", 1)
    await outcomes(served)
    query = asked if "=" in asked else f"q={asked.replace(' ', '+')}"
    assert await sequences(ana, query) == expected


@pytest.mark.usefixtures("found_both_ways")
async def test_what_few_have_is_found_at_once_however_deep_it_lies(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a replay failed at, whose marks are gone, and page by page."""
    await outcomes(served)
    [subscription, _] = await served.store.subscriptions("chatwoot")
    replay, claim = await make_replay(served.store, subscription)
    await record(
        served.store, claim, Progress(4, (mark(1, MarkState.DEAD),), (attempt(1, 9, 500),))
    )
    await served.store.end_replay(replay.number, ReplayState.DONE, START_MS)
    for _ in range(300):
        await append(served)
    [oldest] = await served.store.list_events(1, 2, 1)
    await ana.ok("PUT", f"pins/{oldest.id}", {"name": "first"})
    monkeypatch.setattr(finding, "BUDGET_S", -1.0)  # one look an answer

    assert await sequences(ana, "q=is:dead") == [2, 1]
    assert await sequences(ana, "q=is:pinned") == [1]
    assert await sequences(ana, "q=is:failed+-status:503&limit=1") == [2]
    page = await ana.ok("GET", "events?q=is:dead&limit=1")
    assert (page["complete"], page["scanned_to"]) == (True, 2)
    assert await sequences(ana, page["next"]) == [1]
    assert await sequences(ana, "q=is:failed&after=2") == [4]


async def outcomes(served: Served) -> None:
    """Of four events ana has settled three, and bia has had one."""
    claims = {}
    for name in ("ana", "bia"):
        made, _ = await served.store.subscribe("chatwoot", name, None, START_MS)
        claims[name] = await served.store.claim(made.number)
    for says in ("não chegou", "b", "c", "d"):
        await append(served, body=body_of(says))
    await level(served)
    marks = (mark(2, MarkState.DEAD), mark(3), mark(4, MarkState.WAITING))
    tries = (attempt(1), attempt(2, status=500), attempt(3), attempt(4, status=503))
    for name, progress in (
        ("ana", Progress(1, marks, tries)),
        ("bia", Progress(0, (mark(3),), (attempt(3, status=204),))),
    ):
        claim = claims[name]
        assert claim is not None
        served.store.record(claim, progress)
    await served.store.flush()


@pytest.mark.usefixtures("found_both_ways")
async def test_what_nobody_should_ask_is_answered_or_explained(served: Served, ana: Asking) -> None:
    await conversation(served)
    for text in (
        *HARD_TEXTS,
        '"',
        "*",
        "NEAR(",
        "OR",
        "é" * 501,
        "-",
        "kind:",
        "a:b",
        "\x00",
        "😀",
    ):
        answer = await ana("GET", "events?" + urlencode({"q": text[:2_000]}))
        assert answer.status in (200, 422), text
        if answer.status == 422:
            assert answer.json["error"]["code"] == "invalid_filter"
    assert await ana.refused("GET", "events?q=is:faild") == (422, "invalid_filter")
    assert await ana.refused("GET", "events?q=oi&ids=evt_1") == (422, "invalid_value")
    assert await ana.refused("GET", "events?after=x") == (422, "invalid_value")
    assert await ana.refused("GET", f"events?received_from={1 << 62}") == (422, "invalid_value")


@pytest.mark.usefixtures("found_both_ways")
async def test_events_by_their_ids(served: Served, ana: Asking) -> None:
    mine = [await append(served) for _ in range(3)]
    theirs = await append(served, "other")
    ids = ",".join([mine[2], theirs, "evt_unknown", mine[0]])
    assert await sequences(ana, f"ids={ids}") == [3, 1]
    assert (await ana.refused("GET", "events?ids=" + "e," * 301))[0] == 422


async def test_a_subscriber_sees_its_channels_only(served: Served, ana: Asking) -> None:
    theirs = await append(served, "other", body=body_of("segredo"))
    for path in ("events", "events/latest", "events/count"):
        assert await ana.refused("GET", f"{path}?channel=other") == (404, "channel_not_found")
    for path in ("", "/body", "/attempts"):
        assert await ana.refused("GET", f"events/{theirs}{path}") == (404, "event_not_found")
    assert await sequences(ana, "q=segredo") == []


async def test_a_body_as_it_came(served: Served, ana: Asking) -> None:
    id_ = await append(served, body=b"<script>\xff\x00")
    answer = await ana("GET", f"events/{id_}/body")
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (200, b"<script>\xff\x00")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == f'attachment; filename="{id_}.body"'
    assert (headers["Content-Security-Policy"], headers["X-Content-Type-Options"]) == (
        "sandbox",
        "nosniff",
    )


async def test_every_attempt_of_an_event(served: Served, ana: Asking) -> None:
    await outcomes(served)
    [event] = (await ana.ok("GET", "events?limit=1&before=3"))["events"]
    [tried] = (await ana.ok("GET", f"events/{event['id']}/attempts"))["attempts"]
    assert (tried["subscription"], tried["attempt"], tried["status"]) == ("ana", 1, 500)


class Reader:
    """Somebody who keeps an answer, and asks whether it is still the same."""

    def __init__(self, ana: Asking, path: str) -> None:
        self.ana, self.path, self.tag = ana, path, '"none"'

    async def ask(self) -> Answer:
        asked = request(
            f"/api/v1/{self.path}",
            method="GET",
            token=self.ana.token,
            headers=[("If-None-Match", f'W/"x", {self.tag}')],
        )
        answer = await self.ana.served.send(asked)
        self.tag = dict(answer.headers)["ETag"]
        return answer

    async def changed(self) -> bool:
        return (await self.ask()).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "events",
        "events/latest?q=oi",
        "events/count",
        "events/{id}",
        "events/{id}/tree",
        "compare?a={id}&b={id}",
        "edited",
        "conversations",
        "conversations/chatwoot/7",
        "conversations/chatwoot/7/why?subscription=ana",
        "channels/chatwoot/subscriptions/ana",
        "dead",
        "pins",
    ],
)
async def test_who_has_an_answer_is_told_that_it_is_the_same(
    served: Served, ana: Asking, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    id_ = await append(served)
    reader = Reader(ana, path.format(id=id_))
    assert await reader.changed()
    assert not await reader.changed()
    await append(served, "other")
    await served.store.subscribe("other", "bia", None, START_MS)
    assert not await reader.changed(), "what is another channel's is nothing to it"

    await append(served)
    assert await reader.changed()
    claim = await served.store.claim(made.number)
    assert claim is not None
    served.store.record(claim, Progress(1))
    await served.store.flush()
    await until_true(reader.changed)  # whose progress it is, is found out by the way
    served.store.record(claim, Progress(1, (mark(2, MarkState.DEAD),)))
    await served.store.flush()
    assert await reader.changed()
    await served.store.discard(made.number, [2], START_MS)
    assert await reader.changed()

    monkeypatch.setattr(served.store, "_reports", None)
    monkeypatch.setattr(served.store, "_reading", None)
    answer = await reader.ask()
    assert (answer.status, answer.body) == (304, b""), "without a question to the store"


async def test_readers_are_remembered_up_to_a_bound(
    served: Served, ana: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And found out about again."""
    monkeypatch.setattr(versions, "MAX_READERS", 2)
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await append(served)
    reader = Reader(ana, "events")
    await reader.ask()
    for _ in range(4):
        _, claim = await make_replay(served.store, subscription)
        await reader.ask()
        await record(served.store, claim, Progress(0, (), (attempt(1),)))
        await until_true(reader.changed)
    assert len(served.context.versions._of) <= 3


async def test_what_nobody_counts_is_the_same_where_it_comes_out_so(
    served: Served, ana: Asking
) -> None:
    reader = Reader(ana, "channels")
    assert await reader.changed()
    assert not await reader.changed()
    await served.make_channel("theirs")
    assert not await reader.changed()
    await served.configure(rate_per_s=9.0)
    assert await reader.changed()


async def test_who_reads_is_part_of_an_answer(served: Served, ana: Asking) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    reader = Reader(ana, "channels/chatwoot/subscriptions/ana")
    assert await reader.changed()
    assert not await reader.changed()
    await served.context.hub.join(FakePeer(), Wanted("chatwoot"), "ana")
    assert await reader.changed()


@pytest.mark.parametrize(
    "path",
    ["events?limit", "events/count?up_to", "edited?limit", "conversations?limit", "dead?limit"],
)
async def test_a_page_of_nothing_is_refused(ana: Asking, path: str) -> None:
    answer = await ana("GET", f"{path}=0")
    assert answer.status == 422
    assert "from 1 on" in answer.json["error"]["message"]


async def test_the_status_says_how_far_the_index_is(
    served: Served, ana: Asking, tmp_path: Path
) -> None:
    [channel] = (await ana.ok("GET", "status"))["channels"]
    assert channel["index"] is None
    await append(served)
    indexed = Indexed(served.store, tmp_path, clock=served.clock)
    served.context.search = await indexed.begin()
    await indexed.level()
    [channel] = (await ana.ok("GET", "status"))["channels"]
    assert channel["index"] == {"indexed_to": 1, "newest": 1, "lag_ms": 0}
    await indexed.end()
