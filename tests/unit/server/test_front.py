"""Connections of the public port: how they begin, to whom they are handed over, how they end."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import ssl
import weakref
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_server.configs import SenderKind
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
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served, pieces, serve_front

BODY = '{"event":"message_created","conversation":{"id":7},"content":"Olá 👋"}'.encode()


async def test_a_sender_that_ends_its_side_gets_its_answer(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(body=BODY, token=served.token))
        one.writer.write_eof()
        await until(lambda: served.store.waiting)
        await settled()
        served.store.gate.set()
        answer = await read_answer(one.reader)
        assert await one.closed() == b""

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
        assert await one.closed() == b""
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
            answered = functools.partial(
                served.metric, "relay_webhooks_total", channel="chatwoot", answer="200"
            )
            await until(answered)  # the end of TLS, which comes with it, is never answered
            with capture_logs() as logs:
                served.clock.advance(front.STORE_DEADLINE_S + server.LINGER_S)
                await served.all_left()

    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert answered() == 1
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


# What is not a webhook.


async def test_all_else_is_answered_on_the_same_connection(served: Served) -> None:
    """And webhooks between: proxies send different clients' requests over one connection."""
    async with connection(served.port) as one:
        for target, status in [
            ("/health/live", 200),
            ("/api/v1/whoami", 200),
            ("/nowhere", 404),
            ("/", 403),  # a page of the dashboard, under a name that is not ours
            ("//webhook", 404),
            ("/WEBHOOK", 404),
            ("/c", 404),
            ("http://relay/nowhere", 404),
        ]:
            answer = await one.exchange(request(target, b"", method="GET", token=served.token))
            assert answer.status == status, target
            assert "Connection" not in dict(answer.headers), target
            assert (await one.exchange(request(token=served.token))).status == 200, target
        assert served.front.connections.open == 1
    assert len(await served.events()) == 8
    await served.all_left()
    assert served.front.connections.open == 0


async def test_a_webhook_that_comes_before_another_answer_waits_for_it(
    served: Served, admin: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken once the connection is back, in whatever pieces it came."""
    asked, answered = asyncio.Event(), asyncio.Event()
    channel_status = served.store.channel_status

    async def slow() -> object:
        asked.set()
        await answered.wait()
        return await channel_status()

    monkeypatch.setattr(served.store, "channel_status", slow)
    async with connection(served.port) as one:
        await one.send(request("/api/v1/status", b"", method="GET", token=admin.token))
        await asked.wait()
        await pieces(one, request(body=b"early", token=served.token), 40)
        assert await served.events() == []
        answered.set()
        assert "version" in (await read_answer(one.reader)).json
        assert (await read_answer(one.reader)).status == 200
        assert (await one.exchange(request(token=served.token))).status == 200
    assert await served.bodies() == [b"early", b"{}"]


PLAIN = head("GET /api/v1/whoami HTTP/1.1", [("Host", "relay")])


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.replace(b"1.1", b"1.0"),
        head("GET /api/v1/whoami HTTP/1.1", [("Host", "relay"), ("Connection", "close")]),
        head("GET /api/v1/whoami HTTP/1.1", [("Host", "relay"), ("Host", "other")]),
        head("GET /x HTTP/1.1", [("Host", "r"), ("Connection", "upgrade"), ("Upgrade", "h2c")]),
        chunked([b"{}"], "/api/v1/channels", None),
    ],
)
async def test_a_request_that_could_end_elsewhere_is_the_last_one(
    served: Served, raw: bytes
) -> None:
    """Nothing behind it is taken for a request."""
    async with connection(served.port) as one:
        await one.exchange(raw)
        await one.send(request(body=b"lost", token=served.token))
        assert await one.closed() == b""
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


async def test_a_webhook_behind_another_request_never_reaches_the_framework(
    served: Served,
) -> None:
    """One that comes in one piece with it: whoever sent that asks again."""
    for path in ("/health/live", "/nowhere", "/api/v1/whoami"):
        raw = request(path, b"", method="GET", token=served.token)
        async with connection(served.port) as one:
            answer = await one.exchange(raw + request(body=b"lost", token=served.token))
            assert dict(answer.headers)["Connection"] == "close"
            assert await one.closed() == b""
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
        assert await one.closed() == b""
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
        closing = asyncio.create_task(served.front.close(within_s=60))
        for one in (kept, silent):
            assert await one.closed() == b""
        assert len(served.doors) == 3
        served.context.stopping = True
        served.store.gate.set()
        await half.send(raw[-2:])
        await head.send(raw[40:])

        for one in (whole, half, head):
            answer = await read_answer(one.reader)
            assert (answer.status, ("Connection", "close") in answer.headers) == (200, True)
            assert await one.closed() == b""
        await closing

    await served.all_left()
    assert await served.bodies() == [b"{}", BODY, BODY, BODY]


async def test_closing_does_not_wait_for_ever(served: Served) -> None:
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(token=served.token))
        await until(lambda: served.store.waiting)
        await served.front.close(within_s=0.01)
        assert await one.closed() == b"", "nothing is promised that is not stored"


@pytest.mark.parametrize("ends", ["answered", "refused", "cut", "handed over"])
async def test_a_connection_leaves_nothing_behind(served: Served, ends: str) -> None:
    """Also no cycle: with thousands of connections a second the collector would have work."""
    raw = {
        "answered": request(token=served.token),
        "refused": request(token="rly_wrong"),
        "cut": request(body=b"half", length=8, token=served.token),
        "handed over": request("/health/live", b"", method="GET"),
    }[ends]
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
