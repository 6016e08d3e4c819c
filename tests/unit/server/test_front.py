"""The public port: webhooks in all the ways that HTTP/1 has of sending one, and all else."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import socket
import ssl
import tracemalloc
import weakref
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_server.configs import SenderKind
from relay_server.store.sqlite.opening import open_sqlite
from relay_server.values import Scope
from relay_server.web import front, server
from tests.support.certificates import make_certificate
from tests.support.senders import (
    Connection,
    chunked,
    connection,
    handshake,
    head,
    read_answer,
    request,
)
from tests.support.waiting import settled, until
from tests.unit.server.support import Served, deaf, listening, serve_front

BODY = '{"event":"message_created","conversation":{"id":7},"content":"Olá 👋"}'.encode()


async def pieces(one: Connection, raw: bytes, size: int) -> None:
    """Send in pieces, each of which the other end reads by itself."""
    sock = one.writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(raw), size):
        await one.send(raw[start : start + size])
        await settled(4)


# Ways of sending.


async def test_one_webhook_is_stored_as_it_came(served: Served) -> None:
    answer = await served.send(request("/webhook/x?a=%2F&b", BODY, token=served.token))

    [event] = await served.events()
    assert (answer.status, answer.json) == (200, {"id": event.head.id})
    assert event.body == BODY
    assert event.head.request.method == "POST"
    assert event.head.request.request_target == "/webhook/x?a=%2F&b"
    assert (event.head.key, event.head.kind) == ("7", "message_created")
    assert event.head.request.sender == "127.0.0.1"
    assert event.head.request.headers == (
        (b"Host", b"relay.example.com"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(BODY)).encode()),
    )


async def test_a_kept_connection_takes_one_after_the_other(served: Served) -> None:
    async with connection(served.port) as one:
        for number in range(20):
            answer = await one.exchange(request(body=b"%d" % number, token=served.token))
            assert answer.status == 200
            assert "Connection" not in dict(answer.headers)
        assert len(served.doors) == 1
    assert await served.bodies() == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_pieces_of_any_size_make_the_same_event(served: Served, size: int) -> None:
    plain = request("/webhook?x=%C3%A1", BODY, token=served.token)
    parts = [BODY[:1], BODY[1:20], BODY[20:]]
    async with connection(served.port) as one:
        for raw in (plain, chunked(parts, "/webhook?x=%C3%A1", served.token)):
            await pieces(one, raw, size)
            assert (await read_answer(one.reader)).status == 200
    first, second = await served.events()
    assert first.body == second.body == BODY
    assert first.head.request.request_target == second.head.request.request_target


async def test_an_empty_body_is_a_webhook(served: Served) -> None:
    fields = [("Host", "relay"), ("Authorization", f"Bearer {served.token}")]
    async with connection(served.port) as one:
        for raw in (
            head("POST /webhook HTTP/1.1", fields),
            request(body=b"", token=served.token),
            chunked([], "/webhook", served.token),
        ):
            assert (await one.exchange(raw)).status == 200
    assert await served.bodies() == [b"", b"", b""]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "POST"])
async def test_any_method_is_a_webhook(served: Served, method: str) -> None:
    assert (await served.send(request(method=method, token=served.token))).status == 200
    [event] = await served.events()
    assert event.head.request.method == method


async def test_an_answer_to_head_has_no_body_and_the_connection_goes_on(served: Served) -> None:
    async with connection(served.port) as one:
        await one.send(request(body=b"", method="HEAD", token=served.token))
        raw = await one.reader.readuntil(b"\r\n\r\n")
        answer = await one.exchange(request(body=b"2", token=served.token))

    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.status == 200
    assert await served.bodies() == [b"", b"2"]


async def test_a_sender_that_waits_for_100_continue_is_told_to_go_on(served: Served) -> None:
    raw = request(body=BODY, headers=[("Expect", "100-Continue")], token=served.token)
    before, _, body = raw.partition(b"\r\n\r\n")
    async with connection(served.port) as one:
        await one.send(before + b"\r\n\r\n")
        told = await one.reader.readuntil(b"\r\n\r\n")
        answer = await one.exchange(body)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.status == 200
    [event] = await served.events()
    assert b"Expect" not in dict(event.head.request.headers)


@pytest.mark.parametrize(
    ("token", "length", "status"), [("rly_wrong", 2, 401), (None, 2 * 1_048_576, 413)]
)
async def test_who_is_refused_is_not_told_to_go_on(
    served: Served, token: str | None, length: int, status: int
) -> None:
    fields = [("Expect", "100-continue")]
    raw = request(body=b"", length=length, headers=fields, token=token or served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(raw)).status == status
        assert await one.closed(3) == b""


@pytest.mark.parametrize(
    ("version", "fields", "says"),
    [
        ("HTTP/1.1", (), None),
        ("HTTP/1.1", (("Connection", "close"),), "close"),
        ("HTTP/1.1", (("Connection", "keep-alive, Close"),), "close"),
        ("HTTP/1.0", (), "close"),
        ("HTTP/1.0", (("Connection", "Keep-Alive"),), "keep-alive"),
    ],
)
async def test_the_connection_is_kept_or_closed_as_the_sender_asks(
    served: Served, version: str, fields: tuple[tuple[str, str], ...], says: str | None
) -> None:
    raw = request(headers=fields, token=served.token).replace(b"HTTP/1.1", version.encode(), 1)
    async with connection(served.port) as one:
        answer = await one.exchange(raw)
        assert answer.status == 200
        assert dict(answer.headers).get("Connection") == says
        if says != "close":
            assert (await one.exchange(raw)).status == 200
        else:
            assert await one.closed(3) == b""
            await served.all_left()


async def test_line_breaks_between_requests_are_nothing(served: Served) -> None:
    raw = request(token=served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(b"\r\n" + raw + b"\r\n")).status == 200
        assert (await one.exchange(raw)).status == 200


async def test_an_absolute_target_is_the_path_in_it(served: Served) -> None:
    await served.make_channel("other")
    for target in ("http://relay.example.com/webhook?a=1", "HTTPS://x/c/other/p?a=1"):
        assert (await served.send(request(target, token=served.token))).status == 200
    targets = [
        event.head.request.request_target
        for channel in ("chatwoot", "other")
        for event in await served.events(channel)
    ]
    assert targets == ["/webhook?a=1", "/p?a=1"]


async def test_a_sender_that_ends_its_side_gets_its_answer(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(body=BODY, token=served.token))
        one.writer.write_eof()
        await until(lambda: served.store.waiting)
        await settled()
        served.store.gate.set()
        answer = await read_answer(one.reader)
        assert await one.closed(3) == b""

    assert answer.status == 200
    await served.all_left()


async def test_a_webhook_over_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    async with serve_front(tmp_path / "data", context) as served:
        reader, writer = await asyncio.open_connection("localhost", served.port, ssl=trust)
        one = Connection(reader, writer)
        assert (await one.exchange(request(token=served.token))).status == 200
        closing = request(body=b"2", headers=[("Connection", "close")], token=served.token)
        assert (await one.exchange(closing)).status == 200
        assert await one.closed(3) == b""
        writer.close()
        await served.all_left()
        events = await served.events()

    assert [event.body for event in events] == [b"{}", b"2"]
    assert {event.head.request.scheme for event in events} == {"https"}


async def test_a_closed_tls_connection_is_not_answered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may take its time to end TLS: that is no webhook that the store was slow with."""
    monkeypatch.setattr(front, "LOOK_S", 0.01)
    certificate = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    async with serve_front(tmp_path / "data", context) as served:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with connection(served.port) as one:
            await shake_hands(one, tls, incoming, outgoing)
            tls.write(request(headers=[("Connection", "close")], token=served.token))
            await one.send(outgoing.read())
            await one.reader.read(1)  # the answer comes; the end of TLS is never answered
            with capture_logs() as logs:
                served.clock.advance(front.STORE_DEADLINE_S + server.LINGER_S)
                await served.all_left()
        answered = served.metric("relay_webhooks_total", channel="chatwoot", answer="200")

    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert answered == 1
    assert served.metric("relay_answer_seconds_count") == 1


async def shake_hands(
    one: Connection, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """Begin TLS by hand."""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await one.send(outgoing.read())
            incoming.write(await one.reader.read(65_536))
        else:
            await one.send(outgoing.read())
            return


# One request behind the other.


async def test_a_second_request_in_the_same_piece_is_not_answered(served: Served) -> None:
    first, second = (request(body=b, token=served.token) for b in (b"1", b"2"))
    async with connection(served.port) as one:
        answer = await one.exchange(first + second)
        assert await one.closed(3) == b""

    assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
    assert await served.bodies() == [b"1"]


@pytest.mark.parametrize(
    "second",
    [
        b"G",
        b"POST /webhook HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: relay\r\n\r\n",
        b"GET /connect HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
async def test_whatever_follows_the_first_is_answered(served: Served, second: bytes) -> None:
    async with connection(served.port) as one:
        answer = await one.exchange(request(body=b"1", token=served.token) + second)
        assert await one.closed(3) == b""

    assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
    assert await served.bodies() == [b"1"]


async def test_a_second_request_while_the_first_is_stored(served: Served) -> None:
    """Its bytes, many of them, must not reset the connection before the answer is seen."""
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(body=b"1", token=served.token))
        await until(lambda: served.store.waiting)
        deaf(one)
        raw = request(body=bytes(1_000_000), token=served.token) * 4
        following = asyncio.create_task(one.send(raw))
        await settled()
        served.store.gate.set()
        await following
        listening(one)
        answer = await read_answer(one.reader)
        assert await one.closed(3) == b""

    assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
    assert await served.bodies() == [b"1"]


# What is not a webhook.


async def test_all_else_is_answered_and_the_connection_ends(served: Served) -> None:
    for target, status in [
        ("/health/live", 200),
        ("/api/v1/whoami", 200),
        ("/nowhere", 404),
        ("/", 404),
        ("//webhook", 404),
        ("/WEBHOOK", 404),
        ("/c", 404),
        ("http://relay/nowhere", 404),
    ]:
        async with connection(served.port) as one:
            answer = await one.exchange(request(target, b"", method="GET", token=served.token))
            assert answer.status == status, target
            assert dict(answer.headers)["Connection"] == "close", target
            assert await one.closed(3) == b"", target
    assert await served.events() == []


@pytest.mark.parametrize("size", [1, 40, 10_000])
async def test_a_head_in_pieces_is_handed_over_whole(served: Served, size: int) -> None:
    async with connection(served.port) as one:
        raw = request("/api/v1/whoami", b"", method="GET", token=served.token)
        await pieces(one, raw, size)
        answer = await read_answer(one.reader)

    assert (answer.status, answer.json["name"]) == (200, "sender")


@pytest.mark.parametrize("size", [1, 300, 10_000])
async def test_a_request_with_a_body_is_handed_over_whole(served: Served, size: int) -> None:
    admin = await served.make_token("root", Scope.ADMIN)
    body = json.dumps({"name": "other", "sender": SenderKind.OTHER}).encode()
    for path, raw in [
        ("other", request("/api/v1/channels", body, token=admin)),
        ("third", chunked([body[:5], body[5:]], "/api/v1/channels", admin)),
    ]:
        async with connection(served.port) as one:
            await pieces(one, raw.replace(b"other", path.encode(), 1), size)
            assert (await read_answer(one.reader)).status == 201, path
    assert set(served.store.catalog.channels) == {"chatwoot", "other", "third"}


async def test_after_a_webhook_the_api_is_reached_on_the_same_connection(served: Served) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        raw = request("/api/v1/whoami", b"", method="GET", token=served.token)
        assert (await one.exchange(raw)).json["name"] == "sender"
        assert await one.closed(3) == b""


async def test_a_webhook_behind_another_request_never_reaches_the_framework(
    served: Served,
) -> None:
    """A proxy sends different clients' requests over one connection."""
    for path in ("/health/live", "/nowhere", "/api/v1/whoami"):
        raw = request(path, b"", method="GET", token=served.token)
        async with connection(served.port) as one:
            answer = await one.exchange(raw + request(body=b"lost", token=served.token))
            assert dict(answer.headers)["Connection"] == "close"
            assert await one.closed(3) == b""
    assert await served.events() == []


@pytest.mark.parametrize("size", [1, 10_000])
async def test_the_websocket_is_handed_over_and_opens(served: Served, size: int) -> None:
    async with connection(served.port) as one:
        await pieces(one, handshake(await served.make_token("ana", Scope.SUBSCRIBE)), size)
        raw = await one.reader.readuntil(b"\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 101 ")
        await until(lambda: served.context.hub.connections == 1)
        assert served.doors == set(), "the front has let go of it"


# Ends.


async def test_a_body_that_breaks_off_is_not_stored(served: Served) -> None:
    async with connection(served.port) as one:
        await one.send(request(body=b"half", length=8, token=served.token))
        await until(lambda: served.doors)
    await served.all_left()

    async with connection(served.port) as one:
        await one.send(request(body=b"half", length=8, token=served.token))
        one.writer.write_eof()
        assert await one.closed(3) == b""
    await served.all_left()

    assert await served.events() == []


async def test_a_whole_webhook_is_stored_though_its_sender_left(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(body=BODY, token=served.token))
        await until(lambda: served.store.waiting)
    await settled()
    served.store.gate.set()
    await served.all_left()

    await until(lambda: not served.store.waiting)
    await settled()
    assert await served.bodies() == [BODY]


async def test_closing_answers_what_has_begun_and_closes_the_rest(served: Served) -> None:
    served.store.gate.clear()
    async with (
        connection(served.port) as whole,
        connection(served.port) as half,
        connection(served.port) as head,
        connection(served.port) as kept,
        connection(served.port) as silent,
    ):
        served.store.gate.set()
        assert (await kept.exchange(request(body=b"{}", token=served.token))).status == 200
        served.store.gate.clear()
        raw = request(body=BODY, token=served.token)
        await whole.send(raw)
        await half.send(raw[:-2])
        await head.send(raw[:40])
        await until(lambda: served.store.waiting and len(served.doors) == 5)
        closing = asyncio.create_task(served.front.close(within_s=10))
        for one in (kept, silent):
            assert await one.closed(3) == b""
        assert len(served.doors) == 3
        served.context.stopping = True
        served.store.gate.set()
        await half.send(raw[-2:])
        await head.send(raw[40:])

        for one in (whole, half, head):
            answer = await read_answer(one.reader)
            assert (answer.status, ("Connection", "close") in answer.headers) == (200, True)
            assert await one.closed(3) == b""
        await closing

    await served.all_left()
    assert await served.bodies() == [b"{}", BODY, BODY, BODY]


async def test_closing_does_not_wait_for_ever(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(token=served.token))
        await until(lambda: served.store.waiting)
        await served.front.close(within_s=0.01)
        assert await one.closed(3) == b"", "nothing is promised that is not stored"


@pytest.mark.parametrize("ends", ["answered", "refused", "cut", "handed over"])
async def test_a_connection_leaves_nothing_behind(served: Served, ends: str) -> None:
    """Also no cycle: with thousands of connections a second the collector would have work."""
    raw = {
        "answered": request(token=served.token),
        "refused": request(token="rly_wrong"),
        "cut": request(body=b"half", length=8, token=served.token),
        "handed over": request("/health/live", b"", method="GET"),
    }[ends]
    gc.collect()
    gc.disable()
    try:
        async with connection(served.port) as one:
            await one.send(raw[:10])
            await until(lambda: served.doors)
            door = weakref.ref(next(iter(served.doors)))
            await one.send(raw[10:])
            if ends != "cut":
                await read_answer(one.reader)
        await served.all_left()
        await until(lambda: door() is None)
    finally:
        gc.enable()
    assert served.doors == set()


async def test_tiny_chunks_weigh_no_more_than_their_body(served: Served) -> None:
    count = 50_000
    raw = chunked([b"ab"] * count, "/webhook", served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(request(token=served.token))).status == 200
        await one.send(raw[:300])
        await until(lambda: served.doors)
        tracemalloc.start()
        try:
            await one.send(raw[300:-5])
            [door] = served.doors
            await until(lambda: len(door._request.body) == 2 * count)
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (await one.exchange(raw[-5:])).status == 200

    assert grown < 10 * count
    assert (await served.bodies())[-1] == b"ab" * count


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
        answers = [await served.send(request(body=BODY, headers=fields)) for _ in range(2)]
        await store.close()

    again = await open_sqlite(tmp_path / "disk")
    [outline] = await again.outlines(channel.number, 0, 10)
    [event] = await again.fetch(channel.number, [outline.sequence])
    await again.close()
    assert [answer.json for answer in answers] == [{"id": event.head.id}] * 2
    assert event.body == BODY
