"""The JSON API's edited events: what is made of what, for whom, and who may."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import HeaderList
from relay_server.bodies.tree import MASK
from relay_server.configs import ForwardConfig, HmacAuth, SubscriptionConfig
from relay_server.operations import Caller
from relay_server.operations.proofs import secrets_of
from relay_server.values import Edited, Event, NewEdited, Subscription
from tests.support.chatwoot import signature
from tests.support.clock import START_MS
from tests.support.events import new_event, request
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served

HEADERS: HeaderList = (
    (b"Host", b"relay.example.com"),
    (b"content-type", b"application/json"),
    (b"Authorization", b"Bearer of the sender"),
    (b"X-Twice", b"1"),
    (b"X-Chatwoot-Signature", b"sha256=old"),
    (b"X-Twice", b"2"),
    (b"Content-Length", b"12"),
)
BODY = b'{"event":"message_created","conversation":{"id":5}}'
URL = "http://bot/"


@pytest.fixture
async def event(served: Served, ana: Asking) -> str:
    """Id of a webhook; `ana`, `bob` and a forward have subscribed."""
    forward = SubscriptionConfig(forward=ForwardConfig(URL))
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await served.store.subscribe("chatwoot", "bob", None, START_MS)
    await served.store.subscribe("chatwoot", "forward", None, START_MS, forward)
    await served.store.subscribe("other", "carla", None, START_MS)
    return await append(served, body=BODY, head=request("/webhook?a=%2F", HEADERS))


async def made(who: Asking, event: str, **fields: Any) -> Json:
    return await who.ok("POST", "events", {"based_on": event, "subscription": "ana", **fields})


async def stored(served: Served, view: Json) -> Event:
    found = await served.store.find_event(view["id"])
    assert found is not None
    return found


def in_base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


async def test_untouched_it_is_the_same_request(served: Served, ana: Asking, event: str) -> None:
    view = await made(ana, event)

    kept = await stored(served, view)
    head = kept.head.request
    assert (kept.body, head.method, head.request_target) == (BODY, "POST", "/webhook?a=%2F")
    lengths = [(n, b"%d" % len(BODY) if n == b"Content-Length" else v) for n, v in HEADERS]
    assert head.headers == (*lengths, (b"Relay-Edited-From", event.encode()))
    assert view | {"id": "", "replay": 0, "received_at": 0} == {
        "id": "",
        "channel": "chatwoot",
        "sequence": 1,
        "received_at": 0,
        "kind": "message_created",
        "key": "5",
        "method": "POST",
        "request_target": "/webhook?a=%2F",
        "size": len(BODY),
        "subscription": "ana",
        "edited_from": event,
        "made_by": "ana",
        "replay": 0,
        "connected": False,
        "paused": "",
        "deliveries": [
            {
                "subscription": "ana",
                "state": "pending",
                "attempt": 0,
                "status": None,
                "reason": "",
                "due_at": None,
                "replay": view["replay"],
            }
        ],
    }


async def test_each_part_can_be_another(served: Served, ana: Asking, event: str) -> None:
    headers = [["X-New", "é"], ["x-new", "2"], ["Authorization", MASK], ["Te", "trailers"]]
    headers += [["Relay-Event-Id", "forged"], ["Connection", "close"], ["Content-Length", "1"]]
    view = await made(
        ana,
        event,
        method="PUT",
        request_target="/bot?x=1",
        headers=headers,
        body_base64=in_base64(b"{not JSON"),
        channel="chatwoot",
    )

    kept = await stored(served, view)
    assert (kept.body, kept.head.kind, kept.head.key) == (b"{not JSON", "", "")
    assert (kept.head.request.method, kept.head.request.request_target) == ("PUT", "/bot?x=1")
    assert kept.head.request.headers == (
        (b"X-New", "é".encode()),
        (b"x-new", b"2"),
        (b"Authorization", b"Bearer of the sender"),
        (b"Content-Length", b"9"),
        (b"Relay-Edited-From", event.encode()),
    )
    again = await stored(served, await made(ana, view["id"]))
    assert again.body == b"{not JSON"
    assert again.head.request.headers[-1] == (b"Relay-Edited-From", view["id"].encode())


async def test_it_is_made_of_no_other(served: Served, ana: Asking) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    fields = [("Content-Type", "application/json")]
    asked: Json = {"subscription": "ana", "headers": fields, "body_base64": in_base64(BODY)}
    view = await ana.ok("POST", "events", asked)
    empty = await ana.ok("POST", "events", {"subscription": "ana", "channel": "chatwoot"})

    kept = await stored(served, view)
    assert (kept.body, kept.head.request.request_target) == (BODY, "/webhook")
    assert kept.head.request.headers == ((b"Content-Type", b"application/json"),)
    assert (view["channel"], view["edited_from"], view["kind"]) == (
        "chatwoot",
        "",
        "message_created",
    )
    assert empty["size"] == 0
    asked["channel"] = "secret"
    assert await ana.refused("POST", "events", asked) == (404, "channel_not_found")


async def test_it_is_signed_anew(served: Served, ana: Asking, event: str) -> None:
    assert (
        await ana("POST", "events", {"based_on": event, "subscription": "ana", "sign": True})
    ).status == 422
    sealed = tuple(served.context.sealer.seal(s) for s in (b"first", b"second"))
    await served.configure(hmac=HmacAuth("chatwoot", sealed))

    view = await made(ana, event, sign=True, body_base64=in_base64(b"{}"))

    headers = dict((await stored(served, view)).head.request.headers)
    stamp = headers[b"X-Chatwoot-Timestamp"]
    assert abs(int(stamp) * 1000 - START_MS) < 10_000_000
    assert headers[b"X-Chatwoot-Signature"].decode() == signature("first", stamp.decode(), b"{}")


async def test_any_of_the_secrets_signs_it(served: Served, ana: Asking, event: str) -> None:
    sealed = tuple(served.context.sealer.seal(s) for s in (b"first", b"second"))
    await served.configure(hmac=HmacAuth("chatwoot", sealed))
    second = secrets_of(Caller(served.context), "chatwoot")[1].id

    view = await made(ana, event, sign_with=second)

    headers = dict((await stored(served, view)).head.request.headers)
    stamp = headers[b"X-Chatwoot-Timestamp"].decode()
    assert headers[b"X-Chatwoot-Signature"].decode() == signature("second", stamp, BODY)
    asked = {"based_on": event, "subscription": "ana", "sign_with": "unknown"}
    assert await ana.refused("POST", "events", asked) == (404, "secret_not_found")


async def test_what_is_masked_in_a_body_is_sent_as_it_was(
    served: Served, ana: Asking, event: str
) -> None:
    came = b'{ "pubsub_token":"s3cret", "phone": "555", "n": 1.50}'
    await served.configure(mask=("/phone",))
    event = await append(served, body=came)
    sent = '{ "pubsub_token":"•••", "phone": "•••", "n": 2.50}'.encode()

    view = await made(ana, event, body_base64=in_base64(sent))

    body = (await stored(served, view)).body
    assert json.loads(body) == {"pubsub_token": "s3cret", "phone": "555", "n": 2.5}
    moved = '[{"token":"•••"}]'.encode()
    asked = {"based_on": event, "subscription": "ana", "body_base64": in_base64(moved)}
    assert await ana.refused("POST", "events", asked) == (422, "invalid_value")


async def test_nobody_sees_it_among_the_events_of_the_channel(
    served: Served, ana: Asking, admin: Asking, event: str
) -> None:
    view = await made(ana, event)

    assert [e["id"] for e in (await ana.ok("GET", "events"))["events"]] == [event]
    shown = await ana.ok("GET", f"events/{view['id']}")
    assert (shown["edited_from"], shown["made_by"]) == (event, "ana")
    assert [d["subscription"] for d in shown["deliveries"]] == ["ana"]
    assert (await ana.ok("GET", f"events/{event}"))["edited_from"] is None
    assert (await ana.ok("GET", "replays"))["replays"] == []
    status = await admin.ok("GET", "status")
    assert [s["backlog"] for s in status["subscriptions"]] == [1, 1, 1, 0]
    for path, body in [
        ("replays", {"selection": {"events": [view["id"]]}}),
        ("dead/discard", {"events": [view["id"]]}),
    ]:
        assert await admin.refused("POST", path, body) == (422, "invalid_value")


async def test_they_are_listed_and_one_that_waits_is_given_up(
    served: Served, ana: Asking, event: str
) -> None:
    first, second = await made(ana, event), await made(ana, event, subscription="bob")

    assert (await ana.ok("GET", "edited"))["edited"] == [second, first]
    assert (await ana.ok("GET", "edited?subscription=ana"))["edited"] == [first]
    assert (await ana.ok("GET", f"edited?before={second['sequence']}"))["edited"] == [first]
    assert await ana.refused("GET", "edited?channel=other") == (404, "channel_not_found")
    stopped = await ana.ok("DELETE", f"replays/{first['replay']}")
    assert stopped["state"] == "stopped"
    [listed] = (await ana.ok("GET", "edited?subscription=ana"))["edited"]
    assert [d["state"] for d in listed["deliveries"]] == ["discarded"]


async def test_the_same_key_makes_it_once(
    served: Served, ana: Asking, admin: Asking, event: str
) -> None:
    asked, key = {"based_on": event, "subscription": "ana"}, [("Idempotency-Key", "one press")]
    first = await ana("POST", "events", asked, key)
    again = await ana("POST", "events", asked, key)
    other = await ana("POST", "events", asked | {"method": "PUT"}, key)
    another = await admin("POST", "events", asked, key)
    assert [a.status for a in (first, again, other, another)] == [201, 201, 422, 201]
    assert first.json == again.json
    assert other.json["error"]["code"] == "idempotency_key_reused"
    assert another.json["id"] != first.json["id"]
    long = await ana("POST", "events", asked, [("Idempotency-Key", "x" * 201)])
    assert long.json["error"]["code"] == "invalid_value"


async def test_what_is_asked_under_a_key_is_the_same_for_the_version_before(
    served: Served, ana: Asking, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bytes]()
    create = served.store.create_edited

    async def noting(subscription: Subscription, new: NewEdited) -> Edited:
        asked.append(new.asked)
        return await create(subscription, new)

    monkeypatch.setattr(served.store, "create_edited", noting)
    await made(ana, event, headers=[["A", "b"]])
    before = (
        f'{{"subscription":"ana","based_on":"{event}","channel":null,"method":null,'
        '"request_target":null,"headers":[["A","b"]],"body_base64":null,"sign":false}'
    )
    assert asked == [hashlib.sha256(before.encode()).digest()]


async def test_a_reader_that_is_there_is_said_to_be(
    served: Served, ana: Asking, event: str
) -> None:
    peer = FakePeer()
    wanted = Wanted("chatwoot", "ana")
    _, reader = await served.context.hub.join(peer, wanted, "ana")
    served.context.hub.start(reader, peer)
    assert (await made(ana, event))["connected"] is True


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"based_on": "evt_unknown"}, (404, "event_not_found")),
        ({"subscription": "nobody"}, (404, "subscription_not_found")),
        ({"subscription": "carla"}, (404, "subscription_not_found")),
        ({"subscription": "forward"}, (403, "forbidden")),
        ({"channel": "other"}, (422, "invalid_value")),
        ({"method": "TRACE"}, (422, "invalid_value")),
        ({"method": "post"}, (422, "invalid_value")),
        ({"request_target": "/../admin"}, (422, "invalid_value")),
        ({"request_target": "webhook"}, (422, "invalid_value")),
        ({"headers": [["a b", "c"]]}, (422, "invalid_value")),
        ({"headers": [["a", "b\r\nc: d"]]}, (422, "invalid_value")),
        ({"headers": [["é☃", "c"]]}, (422, "invalid_value")),
        ({"headers": [["a", "x" * 65_536]]}, (422, "invalid_value")),
        ({"headers": [["a", ""]] * 257}, (422, "invalid_value")),
        ({"headers": [["a"]]}, (422, "invalid_value")),
        ({"body_base64": "not base64!"}, (422, "invalid_value")),
        ({"body_base64": in_base64(b"x" * 1_048_577)}, (413, "body_too_large")),
        ({"body_base64": "A" * 2_000_000}, (422, "invalid_value")),
        ({"unknown": 1}, (422, "invalid_value")),
    ],
)
async def test_what_cannot_be_is_explained_and_makes_nothing(
    served: Served, ana: Asking, event: str, fields: Json, answer: tuple[int, str]
) -> None:
    asked = {"based_on": event, "subscription": "ana", **fields}
    assert await ana.refused("POST", "events", asked) == answer
    assert (await ana.ok("GET", "edited"))["edited"] == []


async def test_a_forward_gets_one_from_an_admin_alone(
    served: Served, admin: Asking, event: str
) -> None:
    view = await made(admin, event, subscription="forward")
    assert (view["subscription"], view["made_by"]) == ("forward", "root")


async def test_a_body_as_large_as_the_channel_takes_fits_into_a_request(
    served: Served, ana: Asking, event: str
) -> None:
    await served.configure(max_body_bytes=3_000_000)
    body = json.dumps("é" * 1_400_000, ensure_ascii=False).encode()
    view = await made(ana, event, body_base64=in_base64(body))
    assert view["size"] == len(body)


async def test_edited_events_are_listed_where_they_are_asked_for(
    served: Served, ana: Asking
) -> None:
    """Alone, by `is:edited`; or with the others, each on one page, whichever way one turns them."""
    subscription, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    ids = []
    for n in range(12):  # each third is edited
        received_at, body = START_MS + 1_000 * n, b'{"n":%d}' % n
        if n % 3:
            ids.append(await append(served, body=body, received_at=received_at))
        else:
            new = new_event(body, received_at=received_at)
            ids.append(
                (await served.store.create_edited(subscription, NewEdited(new, "e", ""))).event.id
            )
    alone, newest_first = ids[::3], ids[::-1]

    async def listed(query: str, turn: str = "next") -> tuple[list[str], list[bool]]:
        rows, query = list[Json](), f"limit=3&{query}"
        while query:
            page = await ana.ok("GET", f"events?{query}")
            rows += page["events"] if turn == "next" else page["events"][::-1]
            query = page[turn] if page["events"] else ""
        return [row["id"] for row in rows], [row["edited"] for row in rows]

    assert await listed("") == ([i for i in newest_first if i not in alone], [False] * 8)
    assert await listed("q=is:edited") == (alone[::-1], [True] * 4)
    assert await listed("q=-is:edited") == await listed("")
    assert await listed("edited=1") == (newest_first, [False, False, True] * 4)
    assert (await listed("edited=1&after=0", "prev"))[0] == ids
    assert (await listed("edited=1&q=json.n:3,4"))[0] == [ids[4], ids[3]]
    assert (await ana.ok("GET", "events/count?q=is:edited"))["count"] == 4
    latest = (await ana.ok("GET", "events/latest?q=is:edited+is:waiting"))["event"]
    assert (latest["id"], latest["deliveries"][0]["state"]) == (ids[9], "pending")
