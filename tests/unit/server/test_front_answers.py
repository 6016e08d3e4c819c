"""Answers of the public port: who may not send, what is too large, what could not be stored.

Each refusal says so, stores nothing and quotes nothing; and what is stored goes on to a target as
one request, whatever was written into it.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_http.outgoing import compose
from relay_http.target import Target
from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_protocol.values import Delivery
from relay_server.configs import HmacAuth, SenderKind
from relay_server.errors import ChannelNotFound, StoreBroken, StoreFull, StoreUnavailable
from relay_server.store.sqlite.store import open_sqlite
from relay_server.values import Event
from relay_server.web import ingest, server
from tests.support.senders import chunked, connection, head, read_answer, request
from tests.support.strict import read_one
from tests.unit.server.support import Served, deaf, listening, refused, serve_front

LIMIT = 1_048_576
TARGET = Target("127.0.0.1", 8000)


def sent_on(event: Event) -> bytes:
    """The bytes that a target would read of a stored event."""
    delivery = Delivery("1.1", 1, "chatwoot", 1, False, event.head, event.body)
    return compose(delivery, TARGET) + event.body


# Heads and bodies that are too large.


@pytest.mark.parametrize("target", ["/webhook", "/c/chatwoot/x", "/api/v1/whoami", "/nowhere"])
async def test_heads_that_are_too_large(served: Served, target: str) -> None:
    token = served.token
    long = target + "?token=" + token + "&x=" + "y" * 8_190
    many = [(f"X-{n}", "x") for n in range(200)]
    heavy = [(f"X-{n}", "x" * 1_000) for n in range(70)]
    for raw, status, code in [
        (request(long), 414, "target_too_long"),
        (request(target, headers=many, token=token), 431, "headers_too_large"),
        (request(target, headers=heavy, token=token), 431, "headers_too_large"),
        (request(target, headers=[("X", "x" * 70_000)], token=token), 431, "headers_too_large"),
    ]:
        await refused(served, raw, status, code)


async def test_a_head_at_its_bounds_is_taken(served: Served) -> None:
    target = "/webhook?" + "x" * (server.MAX_LINE_BYTES - 9)
    room = MAX_HEAD_BYTES - 2_000
    fields = [(f"X-{n}", "x" * (room // 100)) for n in range(100)]
    assert (await served.send(request(target, headers=fields, token=served.token))).status == 200
    assert len(await served.events()) == 1


@pytest.mark.parametrize("limit", [None, 10, 2 * LIMIT])
async def test_bodies_over_the_limit(served: Served, limit: int | None) -> None:
    await served.configure(max_body_bytes=limit)
    most = limit or LIMIT
    for raw in [
        request(body=bytes(most + 1), token=served.token),
        request(body=b"", length=most + 1, token=served.token),
        request(body=b"", length=2**63, token=served.token),
        chunked([bytes(most), b"x"], "/webhook", served.token),
        chunked([b"x"] * 11 if limit == 10 else [bytes(65_536)] * 64, "/webhook", served.token),
    ]:
        answer = await refused(served, raw, 413, "body_too_large")
        assert str(most) in answer.json["error"]["message"]
    assert (await served.send(request(body=bytes(most), token=served.token))).status == 200
    assert (await served.send(chunked([bytes(most)], "/webhook", served.token))).status == 200


@pytest.mark.parametrize("kind", ["foreign", "too large", "chunked"])
async def test_the_refusal_is_seen_though_the_body_was_not_read(served: Served, kind: str) -> None:
    """Closing with bytes unread resets a connection, and what was answered is gone."""
    body = bytes(3 * LIMIT)
    raw, status = {
        "foreign": (request(body=body, token="rly_wrong"), 401),
        "too large": (request(body=body, token=served.token), 413),
        "chunked": (chunked([body], "/webhook", served.token), 413),
    }[kind]
    async with connection(served.port) as one:
        deaf(one)
        async with asyncio.timeout(20):
            await one.send(raw)
        listening(one)
        assert (await read_answer(one.reader)).status == status
        assert await one.closed() == b""


# Senders.


async def test_who_may_not_send(served: Served) -> None:
    secret = served.token
    answers = [
        await refused(served, raw, 401, "unauthorized")
        for raw in [
            request(),
            request(token=""),
            request(token=secret[:-1]),
            request(token=secret + "x"),
            request("/c/unknown/x", token=secret),
            request("/c/", token=secret),
            request("/c/%63hatwoot/x", token=secret),
            request("/c/chatwoot%2Fx", token=secret),
            request("/webhook?Token=" + secret),
            request("/webhook?x=1;token=" + secret),
            request(headers=[("X-Token", secret)]),
            request(headers=[("Authorization", secret)]),
            request(headers=[("Authorization", f"Token {secret}")]),
            request(
                headers=[("Authorization", f"Bearer {secret}"), ("Connection", "authorization")]
            ),
        ]
    ]
    assert len({answer.without_date for answer in answers}) == 1


async def test_why_is_in_the_log_alone(served: Served) -> None:
    with capture_logs() as logs:
        await served.send(request("/c/unknown/x", token=served.token))
        await served.send(request(token="rly_wrong"))
        await served.send(request())
    reasons = [entry["reason"] for entry in logs if entry["event"] == "webhook refused"]
    assert reasons == ["no such channel", "unknown token", "no token"]


async def test_repeated_fields_that_let_in(served: Served) -> None:
    """Each bearer counts; a wrong one beside a right one does no harm, and goes no further."""
    bearers = [("Authorization", "Bearer rly_wrong"), ("Authorization", f"Bearer {served.token}")]
    for fields in (bearers, bearers[::-1]):
        raw = head("POST /webhook?token=rly_x&token= HTTP/1.1", [("Host", "a"), *fields])
        assert (await served.send(raw)).status == 200
    for event in await served.events():
        assert b"rly_" not in sent_on(event)


async def test_a_wrong_signature(served: Served) -> None:
    sealed = served.context.sealer.seal(b"FIXTUREwebhookSECRET0001")
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,)))
    await refused(served, request(token=served.token), 401, "unauthorized", whole=True)

    await served.configure(hmac=HmacAuth("chatwoot", (sealed,), log_only=True))
    with capture_logs() as logs:
        assert (await served.send(request(token=served.token))).status == 200
    [entry] = [entry for entry in logs if entry["event"] == "signature wrong, let through"]
    assert entry["reason"] == "no X-Chatwoot-Signature"


@pytest.mark.parametrize("stored", ["lost", "another", "broken"])
async def test_a_signature_that_cannot_be_checked_is_not_the_sender_s_fault(
    served: Served, stored: str
) -> None:
    """The sender is asked to come back, and the log says what to repair."""
    sealed = served.context.sealer.seal(b"FIXTUREwebhookSECRET0001")
    data_dir = served.context.settings.data_dir
    key = data_dir / "secret.key"
    match stored:
        case "lost":
            key.unlink()
        case "another":
            key.write_text("A" * 43 + "=")
        case _:
            key.write_text("é")
    served.context.sealer = type(served.context.sealer)(data_dir)
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,), log_only=True))

    with capture_logs() as logs:
        answer = await served.send(request(token=served.token))

    assert answer.status == 429
    assert dict(answer.headers)["Retry-After"] == "3"
    assert "secret.key" not in answer.body.decode()
    [entry] = [e for e in logs if e["event"] == "signatures cannot be checked"]
    assert "key" in entry["error"]
    assert await served.events() == []


# What no target is ever sent is not taken, either.


PATHS = [
    "/webhook/../admin",
    "/webhook/%2e%2E/admin",
    "/webhook/..;x",
    "/webhook#x",
    "/webhook?a#b",
]
PATHS += ["/webhook\\x", "/c/chatwoot//evil.example/x", "/c/chatwoot/..", "/c/chatwoot/%2e./x"]
PATHS += ["/webhook?a#b", "http://relay/webhook/..", "/c/chatwoot/\\\\evil.example"]


@pytest.mark.parametrize(
    ("method", "target"),
    [*(("POST", path) for path in PATHS), ("TRACE", "/webhook"), ("M-SEARCH", "/webhook")],
)
async def test_a_method_or_path_that_no_target_is_sent(
    served: Served, method: str, target: str
) -> None:
    """It would be answered 200, and dead at once."""
    raw = request(target, method=method, token=served.token)
    await refused(served, raw, 400, "bad_request")


async def test_a_stranger_learns_nothing_of_paths(served: Served) -> None:
    """Without a good token the answer is the same as anywhere."""
    answers = [
        await served.send(request(target, method=method, token="rly_wrong"))
        for target, method in (("/webhook", "POST"), ("/webhook/..", "POST"), ("/webhook", "TRACE"))
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1


# What is stored goes on as one request, whatever was written into it.


@pytest.mark.parametrize(
    "target",
    [
        "/webhook/%0d%0aX-Evil:%20y%0d%0a%0d%0aGET%20/admin%20HTTP/1.1",
        "/webhook?a=%0d%0a%0d%0aDELETE%20/%20HTTP/1.1",
        "/webhook/%00?%00=%ff",
        "/webhook?" + "x" * 8_000,
        "/webhook/@evil.example:80/x",
        "/webhook?http://evil.example/",
    ],
)
async def test_a_path_that_would_like_to_be_two_requests(served: Served, target: str) -> None:
    body = b"GET /admin HTTP/1.1\r\nHost: evil\r\n\r\n"
    assert (await served.send(request(target, body, token=served.token))).status == 200
    [event] = await served.events()
    found = read_one(sent_on(event))
    assert (found.target, found.body, found.rest) == (target.encode(), body, b"")
    assert found.values(b"host") == [b"127.0.0.1:8000"]
    assert found.values(b"x-evil") == []


async def test_fields_that_would_like_to_steer_the_target(served: Served) -> None:
    fields = [
        ("Connection", "x-secret, X-Forwarded-Host"),
        ("X-Secret", "between two"),
        ("Connection", "X-Other"),
        ("X-Other", "between two, too"),
        ("Relay-Event-Id", "evt_made_up"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("Proxy-Authorization", "Basic x"),
        ("Keep-Alive", "timeout=9"),
        ("Trailer", "X"),
        ("TE", "trailers"),
        ("X-Latin", "caf\xe9"),
        ("X-Tab", "a\tb"),
    ]
    assert (await served.send(request(headers=fields, token=served.token))).status == 200
    [event] = await served.events()
    found = read_one(sent_on(event))
    assert found.values(b"relay-event-id") == [event.head.id.encode()]
    assert found.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert found.values(b"x-forwarded-proto") == [b"http"]
    assert found.values(b"x-latin") == [b"caf\xe9"]
    assert found.values(b"x-tab") == [b"a\tb"]
    names = {name.lower() for name, _ in found.headers}
    dropped = {name.lower().encode() for name, _ in fields} - {b"x-latin", b"x-tab"}
    assert not names & (dropped - {b"relay-event-id", b"x-forwarded-for", b"x-forwarded-proto"})


# The store.


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("locked"), StoreFull("the disk is full"), StoreBroken("the database failed")],
)
@pytest.mark.parametrize("sender", SenderKind)
async def test_what_is_not_stored_is_to_be_sent_again(
    served: Served, error: RelayError, sender: SenderKind
) -> None:
    await served.configure(sender=sender)
    served.store.error = error
    raw = request(token=served.token)

    status = 429 if sender is SenderKind.CHATWOOT else 503
    answer = await refused(served, raw, status, error.code, whole=True)

    assert dict(answer.headers)["Retry-After"] == str(ingest.RETRY_AFTER_S)


async def test_a_channel_that_is_deleted_meanwhile_is_like_one_that_never_was(
    served: Served,
) -> None:
    unknown = request("/c/unknown/x", token=served.token)
    expected = await refused(served, unknown, 401, "unauthorized")
    served.store.error = ChannelNotFound("number 1")
    answer = await refused(served, request(token=served.token), 401, "unauthorized", whole=True)
    assert answer.body == expected.body


async def test_what_nobody_foresaw_is_500_and_logged(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.store.error = KeyError("a bug")
    with capture_logs() as logs:
        answer = await served.send(request(token=served.token))
    assert (answer.status, answer.json["error"]["code"]) == (500, "error")
    assert "a bug" not in answer.body.decode()
    assert [entry["log_level"] for entry in logs if entry["event"] == "webhook failed"] == ["error"]

    def broken(*_: object) -> None:
        raise KeyError("another bug")

    monkeypatch.setattr(ingest, "check_sender", broken)
    with capture_logs() as logs:
        answer = await served.send(request(token=served.token))
    assert (answer.status, answer.json["error"]["code"]) == (500, "error")
    assert [entry["log_level"] for entry in logs if entry["event"] == "webhook failed"] == ["error"]


async def test_answers_are_counted_by_channel(served: Served) -> None:
    await served.send(request(token=served.token))
    await served.send(request(token="rly_wrong"))
    await served.send(request("/nowhere", b"", method="GET"))

    assert served.metric("relay_webhooks_total", channel="chatwoot", answer="200") == 1
    assert served.metric("relay_webhooks_total", channel="", answer="401") == 1
    assert served.metric("relay_answer_seconds_count") == 2
    assert served.metric("relay_answer_seconds_sum") < 1


async def test_what_was_answered_survives_on_disk(tmp_path: Path) -> None:
    """The same port over the real store."""
    async with serve_front(tmp_path) as served:
        (tmp_path / "disk").mkdir()
        store = await open_sqlite(tmp_path / "disk")
        channel = await store.create_channel(
            "chatwoot", served.store.catalog.channels["chatwoot"].config, 1
        )
        for token in served.store.catalog.tokens.values():
            await store.create_token(token)
        served.context.store = store
        basic = base64.b64encode(f"relay:{served.token}".encode()).decode()
        fields = [("Authorization", f"Basic {basic}"), ("X-Chatwoot-Delivery", "d-1")]
        answers = [await served.send(request(body=b"[7]", headers=fields)) for _ in range(2)]
        await store.close()

    again = await open_sqlite(tmp_path / "disk")
    [outline] = await again.outlines(channel.number, 0, 10)
    [event] = await again.fetch(channel.number, [outline.sequence])
    await again.close()
    assert [answer.json for answer in answers] == [{"id": event.head.id}] * 2
    assert event.body == b"[7]"


@pytest.mark.parametrize(
    ("sender", "status"), [(SenderKind.CHATWOOT, 429), (SenderKind.OTHER, 503)]
)
async def test_a_channel_may_refuse_what_nobody_is_there_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, sender: SenderKind, status: int
) -> None:
    channel = await served.configure(sender=sender, refuse_after_s=10.0)
    raw, idle_s = request(token=served.token), {channel.number: 10.0}
    again = request(token=served.token, headers=[("Idempotency-Key", "d-1")])
    monkeypatch.setattr(served.context.hub.readers, "idle_s", idle_s.__getitem__)
    stored = await served.send(again)
    idle_s[channel.number] = 10.1
    assert (await served.send(again)).json == stored.json  # whose answer was lost
    answer = await served.send(raw)
    assert answer.status == status
    assert dict(answer.headers)["Retry-After"] == "3"
    assert answer.json["error"]["code"] == "nobody_reads"
    assert served.store.newest(channel.number) == 1
