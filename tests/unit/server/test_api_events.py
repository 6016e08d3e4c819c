"""The JSON API's events: listed, and one whole."""

from __future__ import annotations

import base64

from relay_protocol.values import RequestHead
from relay_server.values import Progress
from tests.support.clock import START_MS
from tests.support.events import attempt, mark
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served


async def test_events_are_listed_newest_first_in_parts(served: Served, ana: Asking) -> None:
    for number in range(60):
        await append(served, body=b"%d" % number)

    async def sequences(query: str) -> list[int]:
        return [e["sequence"] for e in (await ana.ok("GET", f"events?{query}"))["events"]]

    assert await sequences("") == list(range(60, 10, -1))
    assert await sequences("limit=3&before=10") == [9, 8, 7]
    assert await sequences("limit=100000") == list(range(60, 0, -1))
    assert await sequences("before=1") == []
    assert await sequences("limit=1&limit=2") in ([60], [60, 59])


async def test_an_event_whole(served: Served, ana: Asking) -> None:
    headers = (
        (b"Content-Type", b"application/json"),
        (b"Authorization", b"Bearer theirs"),
        (b"COOKIE", b"session=theirs"),
        (b"X-Chatwoot-Signature", b"sha256=00"),
        (b"X-Twice", b"1"),
        (b"X-Twice", b"caf\xe9"),
        (b"X-Name", "Olá".encode()),
    )
    head = RequestHead("POST", "/webhook?a=%2F", headers, "203.0.113.9", "https")
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    id_ = await append(served, body=b"\xff\x00", head=head)
    claim = await served.store.claim(subscription.number)
    assert claim is not None
    served.store.record(claim, Progress(0, (mark(1),), (attempt(1, 1, 500), attempt(1, 2))))

    event = await ana.ok("GET", f"events/{id_}")

    assert event["headers"] == [
        ["Content-Type", "application/json"],
        ["Authorization", "•••"],
        ["COOKIE", "•••"],
        ["X-Chatwoot-Signature", "•••"],
        ["X-Twice", "1"],
        ["X-Twice", "caf\ufffd"],
        ["X-Name", "Olá"],
    ]
    assert (event["body"], base64.b64decode(event["body_base64"])) == (None, b"\xff\x00")
    assert (event["size"], event["sender"]) == (2, "203.0.113.9")
    assert [(a["attempt"], a["status"]) for a in event["attempts"]] == [(1, 500), (2, 200)]
    assert [d["state"] for d in event["deliveries"]] == ["delivered"]
    for missing in ("evt_1", "%00", "..%2F..", "x" * 3_000):
        assert (await ana.refused("GET", f"events/{missing}"))[0] == 404


async def test_an_event_by_the_end_of_its_id(served: Served, ana: Asking, admin: Asking) -> None:
    for id_ in ("evt_01a2-4bc1f9", "evt_01a3-4bc1f9", "evt_01a2-77d0e5"):
        await append(served, id=id_, body=b"{}")
    for id_ in ("evt_01a4-77d0e5", "evt_01a4-11d0e5"):
        await append(served, "other", id=id_)

    assert (await ana.ok("GET", "events/77D0E5"))["id"] == "evt_01a2-77d0e5"
    assert (await ana.ok("GET", "events/77d0e5/as/curl"))["id"] == "evt_01a2-77d0e5"
    assert (await ana("GET", "events/77d0e5/body")).body == b"{}"
    assert (await ana.ok("GET", "compare?a=77d0e5&b=evt_01a2-4bc1f9"))["equal"] == "bytes"
    # What another channel has is nobody's business; and an end has six characters.
    for missing in ("11d0e5", "7d0e5", "evt_77d0e5"):
        assert await ana.refused("GET", f"events/{missing}") == (404, "event_not_found")
    several = (await ana("GET", "events/4bc1f9")).json["error"]
    assert several["code"] == "ambiguous_id"
    assert several["message"].endswith("'4bc1f9': evt_01a3-4bc1f9, evt_01a2-4bc1f9")
    assert await admin.refused("GET", "events/77d0e5") == (409, "ambiguous_id")
    assert await admin.refused("PUT", "pins/11d0e5", {"name": "one"}) == (404, "event_not_found")
