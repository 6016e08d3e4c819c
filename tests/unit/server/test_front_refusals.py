"""What the public port refuses: it says so, stores nothing, and quotes nothing."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest
from structlog.testing import capture_logs

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.configs import HmacAuth, SenderKind
from relay_server.errors import ChannelNotFound, StoreBroken, StoreFull, StoreUnavailable
from relay_server.web import front, ingest, server
from tests.support.senders import Answer, chunked, connection, head, read_answer, request
from tests.support.waiting import settled, until
from tests.unit.server.support import Served, deaf, listening

LIMIT = 1_048_576
CHUNKED = ("Transfer-Encoding", "chunked")


async def refused(
    served: Served, raw: bytes, status: int, code: str, *, whole: bool = False
) -> Answer:
    """Send what is refused; check all that refusals have in common.

    Args:
        served: Where it goes.
        raw: A request.
        status: What is expected.
        code: What is expected.
        whole: It was read to its end before it was refused: the connection may go on.
    """
    secret = served.token.encode()
    with capture_logs() as logs:
        async with connection(served.port) as one:
            answer = await one.exchange(raw)
            assert whole or await one.closed(3) == b"", "nothing comes behind it"
    assert (answer.status, answer.json["error"]["code"]) == (status, code), raw[:80]
    assert dict(answer.headers).get("Connection") == (None if whole else "close")
    assert dict(answer.headers)["Content-Type"].startswith("application/json")
    assert secret not in answer.body
    assert served.token not in str(logs)
    assert await served.events() == []
    await served.all_left()
    return answer


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "2"), ("Content-Length", "2")],
        [("Content-Length", "2"), ("Content-Length", "7")],
        [("Content-Length", "2"), CHUNKED],
        [CHUNKED, ("Content-Length", "2")],
        [("Content-Length", "+2")],
        [("Content-Length", "-2")],
        [("Content-Length", "0x2")],
        [("Content-Length", "2, 2")],
        [("Content-Length", "")],
        [("Content-Length", "9" * 30)],
        [("Transfer-Encoding", "gzip")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "gzip"), CHUNKED],
        [("Transfer-Encoding", "identity")],
        [("Transfer-Encoding", "chunked, identity")],
        [("Transfer-Encoding", "xchunked")],
    ],
)
async def test_a_body_whose_end_is_in_doubt(served: Served, fields: list[tuple[str, str]]) -> None:
    """Whoever read it otherwise would take the rest for another request."""
    bearer = ("Authorization", f"Bearer {served.token}")
    raw = head("POST /webhook HTTP/1.1", [("Host", "relay"), bearer, *fields])
    await refused(served, raw + b"2\r\n{}\r\n0\r\n\r\n", 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        b"2\n{}\r\n0\r\n\r\n",
        b"2\r\n{}XX",
        b"-1\r\n",
        b"F" * 17 + b"\r\n",
        b"2 x\r\n{}\r\n",
        b"z\r\n",
    ],
)
async def test_chunks_that_are_none(served: Served, body: bytes) -> None:
    raw = chunked([], "/webhook", served.token).removesuffix(b"0\r\n\r\n") + body
    await refused(served, raw, 400, "bad_request")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\x00" * 100,
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /webhook HTTP/1.1\r\n\r\n",
        b"post /webhook HTTP/1.1\r\n\r\n",
        b"POST webhook HTTP/1.1\r\n\r\n",
        b"POST /webhook\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"POST /web hook HTTP/1.1\r\n\r\n",
        b"POST /webhook HTTP/1.1\nHost: relay\n\n",
        b"POST /webhook HTTP/9.9\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost : relay\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nno field\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\n: nameless\r\n\r\n",
    ],
)
async def test_what_is_no_request(served: Served, raw: bytes) -> None:
    quoting = raw.replace(b"/webhook", b"/webhook?token=" + served.token.encode(), 1)
    for variant in (raw, quoting):
        await refused(served, variant, 400, "bad_request")
    assert served.metric("relay_answer_seconds_sum") < 1


async def test_what_is_behind_the_length_is_part_of_no_request(served: Served) -> None:
    await refused(served, request(body=b"12345", length=3, token=served.token), 400, "bad_request")


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
async def test_an_upgrade_of_a_webhook(served: Served, protocol: str) -> None:
    fields = [("Upgrade", protocol), ("Connection", "Upgrade")]
    for target in ("/webhook", "/c/chatwoot/x"):
        raw = request(target, headers=fields, token=served.token)
        await refused(served, raw, 400, "bad_request")


async def test_a_tunnel_through_a_webhook(served: Served) -> None:
    for raw, status in [
        (request(method="CONNECT", token=served.token), 400),
        (request(method="CONNECT"), 401),
    ]:
        code = {400: "bad_request", 401: "unauthorized"}[status]
        await refused(served, raw, status, code)
    answer = await served.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 400 <= answer.status < 500


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


async def test_a_field_that_never_ends_is_not_kept(served: Served) -> None:
    """The parser gives a field away once it is whole: until then it would grow for seconds."""
    begun = {
        "value": b"POST /webhook HTTP/1.1\r\nX: ",
        "name": b"POST /webhook HTTP/1.1\r\n",
        "lines": b"",
        "trailer": chunked([b"x"], "/webhook", served.token).removesuffix(b"\r\n") + b"X: ",
        "extension": chunked([], "/webhook", served.token).removesuffix(b"0\r\n\r\n") + b"1;",
    }
    for name, raw in begun.items():
        filling = b"\r\n" * 32_768 if name == "lines" else b"x" * 65_536
        gc.collect()
        tracemalloc.start()
        try:
            async with connection(served.port) as one:
                answer = await one.exchange(raw + filling * 64)
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large"), name
        assert peak < 64 * 65_536 * 2 + 3_000_000, "what the test itself has is most of it"
        await served.all_left()
    assert await served.events() == []


async def test_a_head_at_its_bounds_is_taken(served: Served) -> None:
    target = "/webhook?" + "x" * (server.MAX_LINE_BYTES - 9)
    room = MAX_HEAD_BYTES - 2_000
    fields = [(f"X-{n}", "x" * (room // 100)) for n in range(100)]
    assert (await served.send(request(target, headers=fields, token=served.token))).status == 200
    assert len(await served.events()) == 1


async def test_trailers_are_no_header_fields(served: Served) -> None:
    raw = chunked([b"{}"], "/webhook", served.token).removesuffix(b"\r\n")
    trailers = b"Relay-Attempt: 9\r\nX-Chatwoot-Delivery: d-9\r\nAuthorization: x\r\n\r\n"
    assert (await served.send(raw + trailers)).status == 200
    [event] = await served.events()
    assert [name for name, _ in event.head.request.headers] == [b"Host"]


# Bodies.


@pytest.mark.parametrize("limit", [None, 10])
async def test_bodies_over_the_limit(served: Served, limit: int | None) -> None:
    await served.configure(max_body_bytes=limit)
    most = limit or LIMIT
    for raw in [
        request(body=bytes(most + 1), token=served.token),
        request(body=b"", length=most + 1, token=served.token),
        request(body=b"", length=2**63, token=served.token),
        chunked([bytes(most), b"x"], "/webhook", served.token),
        chunked([b"x"] * 11 if limit else [bytes(65_536)] * 64, "/webhook", served.token),
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
        async with asyncio.timeout(5):
            await one.send(raw)
        listening(one)
        assert (await read_answer(one.reader)).status == status
        assert await one.closed(3) == b""


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


async def test_a_wrong_signature(served: Served) -> None:
    sealed = served.context.sealer.seal(b"FIXTUREwebhookSECRET0001")
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,)))
    await refused(served, request(token=served.token), 401, "unauthorized", whole=True)

    await served.configure(hmac=HmacAuth("chatwoot", (sealed,), log_only=True))
    with capture_logs() as logs:
        assert (await served.send(request(token=served.token))).status == 200
    [entry] = [entry for entry in logs if entry["event"] == "signature wrong, let through"]
    assert entry["reason"] == "no signature"


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


async def test_a_slow_store_gets_a_retry_and_a_repeat_is_known(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "LOOK_S", 0.01)
    raw = request(headers=[("X-Chatwoot-Delivery", "d-1")], token=served.token)
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(raw)
        await until(lambda: served.store.waiting)
        served.clock.advance(front.STORE_DEADLINE_S)
        answer = await read_answer(one.reader)
        assert await one.closed(3) == b""
    assert (answer.status, answer.json["error"]["code"]) == (429, "store_timeout")
    assert dict(answer.headers)["Retry-After"] == "3"

    served.store.gate.set()
    await until(lambda: not served.store.waiting)
    await settled()
    again = await served.send(raw)
    [event] = await served.events()
    assert again.json == {"id": event.head.id}
