"""Posting to a real socket: the bytes that arrive, and every way it can go wrong."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from relay_http import poster as poster_module
from relay_http.connection import Connection
from relay_http.pool import Address, Pool, Unreachable
from relay_http.poster import Posted, Poster
from relay_http.target import Target
from relay_protocol.limits import MAX_RESULT_BODY_BYTES
from relay_protocol.values import Delivery, Failure, FailureKind, HeaderList, Outcome, Response
from tests.support.certificates import Certificate, make_certificate
from tests.support.processes import free_port
from tests.support.raw_target import OK, RawTarget, make_delivery, raw_target, split_request
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import until

ANSWERED = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"
UNREAD = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
NOWHERE = Target("127.0.0.1", 9)
HELD_UP_S = 50.0  # a busy machine may hold up for so long what takes a moment
FIXTURES = sorted((Path(__file__).parents[3] / "relay_chatwoot/samples").glob("*.json"))


def chatwoot_headers(body: bytes) -> HeaderList:
    """Chatwoot 4.15.1's headers, in its order."""
    return (
        (b"Accept-Encoding", b"gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
        (b"Accept", b"application/json"),
        (b"User-Agent", b"Ruby"),
        (b"Host", b"relay.example.com"),
        (b"Content-Type", b"application/json"),
        (b"X-Chatwoot-Delivery", b"6f1d3c1e-0000-4000-8000-000000000000"),
        (b"X-Chatwoot-Timestamp", b"1783000810"),
        (b"X-Chatwoot-Signature", b"sha256=" + b"0" * 64),
        (b"Content-Length", str(len(body)).encode()),
    )


@asynccontextmanager
async def opened(target: Target, timeout_s: float, most_idle: int) -> AsyncIterator[Poster]:
    """A poster that is closed at the end."""
    poster = Poster(target, timeout_s, most_idle)
    try:
        yield poster
    finally:
        poster.close()


def failed(outcome: Outcome, kind: FailureKind) -> str:
    """Why it failed, if it did in this way."""
    assert isinstance(outcome, Failure), outcome
    assert outcome.kind is kind
    return outcome.text


async def replay(
    target: Target, delivery: Delivery | None = None, *, timeout_s: float = 5.0
) -> Outcome:
    """Post one delivery."""
    async with opened(target, timeout_s, 8) as poster:
        return await poster.post(delivery or make_delivery())


def test_there_are_twenty_fixtures() -> None:
    """The test over them is worth what they are."""
    assert len(FIXTURES) == 20


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
async def test_a_fixture_arrives_byte_for_byte(fixture: Path) -> None:
    """Body, path, query and headers; only Host is the target's, and the relay's come last."""
    body = fixture.read_bytes()
    path = "/webhook/a%2Fb/?next=%2Fx%3f&y=a+b%20c&z=@evil"
    headers = chatwoot_headers(body)
    delivery = make_delivery(request_target=path, headers=headers, body=body)

    async with raw_target() as server:
        outcome = await replay(server.target, delivery)

    assert isinstance(outcome, Response)
    assert outcome.delivered
    first, sent, sent_body = split_request(server.requests[0])
    host = (b"Host", f"127.0.0.1:{server.port}".encode())
    assert first == f"POST {path} HTTP/1.1".encode()
    assert sent[:9] == [host if name == b"Host" else (name, value) for name, value in headers]
    assert all(name.startswith((b"Relay-", b"X-Forwarded-")) for name, _ in sent[9:])
    assert sent_body == body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "POST"])
async def test_no_header_is_added_to_a_bare_request(method: str) -> None:
    """It would change what the sender said."""
    delivery = make_delivery(method=method, headers=((b"Host", b"x"), (b"X-A", b"1")), body=b"")

    async with raw_target() as server:
        outcome = await replay(server.target, delivery)

    assert outcome.delivered
    first, sent, body = split_request(server.requests[0])
    assert first == f"{method} /webhook HTTP/1.1".encode()
    added = [name for name, _ in sent[2:]]
    assert all(name.startswith((b"Relay-", b"X-Forwarded-")) for name in added)
    assert body == b""


async def test_whatever_a_sender_said_arrives_byte_for_byte() -> None:
    """An empty query, names that differ in case alone, and values that are no UTF-8.

    Old senders write Latin-1, and some sign what they write.
    """
    headers = (
        (b"Host", b"x"),
        (b"X-Tag", b"a"),
        (b"x-tag", "João 🎉".encode()),
        (b"X-Tag", b"Jo\xe3o"),
        (b"X-Any", bytes(range(0x80, 0x100))),
    )

    async with raw_target() as server:
        await replay(server.target, make_delivery(request_target="/webhook?", headers=headers))

    first, sent, _ = split_request(server.requests[0])
    assert first == b"POST /webhook? HTTP/1.1"
    assert sent[1:5] == list(headers[1:])


@pytest.mark.parametrize("request_target", ["//evil/x", "http://evil/x", "/../x", "/a\r\nb"])
async def test_nothing_is_opened_for_a_refused_request(request_target: str) -> None:
    """The outcome says why."""
    async with raw_target() as server:
        outcome = await replay(server.target, make_delivery(request_target=request_target))

    assert "the path" in failed(outcome, FailureKind.REFUSED)
    assert server.connections == 0


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    """The other place is never asked."""
    async with raw_target() as elsewhere, raw_target() as server:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/x"
        server.answer = f"HTTP/1.1 302 Found\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode()
        outcome = await replay(server.target)

    assert isinstance(outcome, Response)
    assert outcome.status == 302
    assert elsewhere.connections == 0


async def test_cookies_are_not_kept_and_proxies_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one answer sets does not go into the next request."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with raw_target() as server:
        server.answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
        async with opened(server.target, 5.0, 8) as poster:
            outcomes = [await poster.post(make_delivery(number)) for number in (1, 2)]

    assert all(outcome.delivered for outcome in outcomes)
    assert server.connections == 1
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize(
    ("size", "kept", "truncated"),
    [
        (5, 5, False),
        (MAX_RESULT_BODY_BYTES, MAX_RESULT_BODY_BYTES, False),
        (MAX_RESULT_BODY_BYTES + 1, MAX_RESULT_BODY_BYTES, True),
        (10_000_000, MAX_RESULT_BODY_BYTES, True),
    ],
)
async def test_the_beginning_of_an_answer_is_kept(size: int, kept: int, truncated: bool) -> None:
    """However long it is; and the connection as long as its rest is not much."""
    async with raw_target() as server, opened(server.target, 5.0, 1) as poster:
        server.answer = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size
        outcomes = [await poster.post(make_delivery(number)) for number in (1, 2)]

    for outcome in outcomes:
        assert isinstance(outcome, Response)
        assert outcome.body == b"x" * kept
        assert outcome.truncated is truncated
    assert server.connections == (1 if size < 1_000_000 else 2)


async def test_headers_of_an_answer_are_kept_raw_and_bounded() -> None:
    """A compressed body is not inflated either."""
    many = "".join(f"X-{number}: é\r\n" for number in range(200))
    head = f"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n{many}Content-Length: 3\r\n\r\n"
    async with raw_target() as server:
        server.answer = head.encode() + b"\x1f\x8b\x00"
        outcome = await replay(server.target)

    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body, len(outcome.headers)) == (500, b"\x1f\x8b\x00", 128)
    assert outcome.headers[1] == (b"X-0", "é".encode())


async def test_nothing_listening_is_target_down() -> None:
    """No byte of the event was sent."""
    outcome = await replay(Target("127.0.0.1", free_port()))

    failed(outcome, FailureKind.TARGET_DOWN)


@pytest.mark.parametrize("host", ["nowhere.invalid", "two..dots"])
async def test_an_unknown_name_is_target_down(host: str) -> None:
    """Names under .invalid never resolve (RFC 6761 §6.4)."""
    outcome = await replay(Target(host, 8000))

    failed(outcome, FailureKind.TARGET_DOWN)


async def test_no_answer_in_time_is_a_timeout() -> None:
    """The outcome says how long was waited."""

    async def never(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    async with raw_target() as server, opened(server.target, 10.0, 8) as poster:
        assert (await poster.post(make_delivery())).delivered  # to connect may take longer
        server.answer = never
        poster._timeout_s = 0.1
        async with asyncio.timeout(20):
            outcome = await poster.post(make_delivery(2))

    assert "0.1 s" in failed(outcome, FailureKind.TIMEOUT)
    assert outcome.elapsed_ms >= 90


async def test_a_target_that_hangs_up_and_still_listens_is_a_network_failure() -> None:
    """It may have had the event."""

    async def hang_up(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with raw_target() as server:
        server.answer = hang_up
        outcome = await replay(server.target)

    failed(outcome, FailureKind.NETWORK)


@pytest.mark.parametrize("last", [1, 2], ids=["a new connection", "a kept one"])
async def test_a_target_that_goes_away_with_the_event_is_lost(last: int) -> None:
    """Nobody listens any more: it was stopped, and the event comes again once it is back.

    It may have had the event: it is not said that nothing was sent.
    """
    target = RawTarget()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(target.requests) < last:
            writer.write(OK)
        else:
            server.close()
            writer.close()

    target.answer = answer
    async with opened(target.target, 5.0, 8) as poster:
        outcomes = [await poster.post(make_delivery(number)) for number in range(last)]

    failed(outcomes[-1], FailureKind.TARGET_LOST)
    assert all(outcome.delivered for outcome in outcomes[:-1])
    assert len(target.requests) == last


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
    ids=lambda garbage: repr(garbage[:60]),
)
async def test_a_garbage_answer_is_a_network_failure(garbage: bytes) -> None:
    """What is no whole HTTP answer is none, and the next delivery gets its own."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        await writer.drain()
        writer.close()

    async with raw_target() as server, opened(server.target, 5.0, 1) as poster:
        server.answer = answer
        outcome = await poster.post(make_delivery(1))
        server.answer = ANSWERED
        following = await poster.post(make_delivery(2))

    failed(outcome, FailureKind.NETWORK)
    assert isinstance(following, Response)
    assert (following.status, following.body) == (500, b"no")


async def test_a_kept_connection_that_was_closed_costs_no_attempt() -> None:
    """The next event goes out on a new connection."""

    async def answer_once(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with raw_target() as server:
        server.answer = answer_once
        async with opened(server.target, 5.0, 8) as poster:
            outcomes = [await poster.post(make_delivery(number)) for number in range(5)]

    assert all(outcome.delivered for outcome in outcomes)


@pytest.mark.parametrize(
    ("broken", "said", "stale_s", "delivered", "times"),
    [
        ((2,), b"", HELD_UP_S, True, 3),
        ((2,), b"", 0.0, False, 2),  # the target worked on the event first
        ((2,), b"HTTP/1.1 200 OK\r\n", HELD_UP_S, False, 2),  # or began to answer
        ((2, 3), b"", HELD_UP_S, False, 3),  # or breaks over it every time
    ],
)
async def test_only_a_break_at_once_is_taken_for_a_stale_connection(
    broken: tuple[int, ...],
    said: bytes,
    stale_s: float,
    delivered: bool,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the request is sent anew, once; whatever may have been over the event is an attempt."""
    monkeypatch.setattr(poster_module, "_STALE_S", stale_s)

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) in broken:
            writer.write(said)
            writer.close()
        else:
            writer.write(OK)

    async with raw_target() as server, opened(server.target, HELD_UP_S, 8) as poster:
        server.answer = answer
        outcomes = [await poster.post(make_delivery(number)) for number in (1, 2)]

    assert [outcome.delivered for outcome in outcomes] == [True, delivered]
    assert len(server.requests) == times
    if not delivered:
        failed(outcomes[1], FailureKind.NETWORK)


async def test_connections_are_used_again_by_as_many_as_run_at_once() -> None:
    """Forty events in fours need four connections."""
    async with raw_target() as server, opened(server.target, 5.0, 4) as poster:
        for _ in range(10):
            outcomes = await asyncio.gather(*[poster.post(make_delivery(n)) for n in range(4)])
            assert all(outcome.delivered for outcome in outcomes)

        assert len(server.requests) == 40
        assert server.connections == 4


async def test_the_next_delivery_may_go_before_the_last_one_is_looked_at() -> None:
    """A connection whose answer came belongs to the next delivery, and not to who waited."""
    outcomes = list[Posted]()

    class EagerPool(Pool):
        given_back = 0

        def give_back(self, connection: Connection) -> None:
            super().give_back(connection)
            self.given_back += 1
            if self.given_back == 2:  # a kept one; who waits for its answer is woken next
                loop.call_soon(poster.begin, make_delivery(), outcomes.append)

    loop = asyncio.get_running_loop()
    async with raw_target() as server:
        poster = Poster(server.target, 5.0, 1, pool=EagerPool(server.target, 1))
        with closing(poster):
            for number in range(2):
                assert (await poster.post(make_delivery(number))).delivered
            await until(lambda: bool(outcomes))

    assert isinstance(outcomes[0], Response)
    assert server.connections == 1


async def test_a_cancelled_replay_leaves_no_connection() -> None:
    """The late answer must not meet the next event."""

    async def never(request: bytes, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    async with raw_target() as server, opened(server.target, 5.0, 8) as poster:
        server.answer = never
        running = asyncio.create_task(poster.post(make_delivery()))
        await until(lambda: server.requests)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        server.answer = OK
        outcome = await poster.post(make_delivery(2))

    assert outcome.delivered
    assert server.connections == 2


async def test_a_closed_poster_lets_go_of_what_was_begun() -> None:
    """Nobody is told of it any more, and nobody can answer it."""

    async def never(request: bytes, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    told: list[Posted] = []
    async with raw_target() as server, opened(server.target, 5.0, 8) as poster:
        await poster.post(make_delivery(1))
        server.answer = never
        poster.begin(make_delivery(2), told.append)
        await until(lambda: len(server.requests) == 2)
        [connection] = poster._under_way
        poster.close()
        await asyncio.sleep(0)

    assert not connection.is_open
    assert told == []


async def test_localhost_is_found_on_ipv6_alone() -> None:
    """Some servers listen there only."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    target = RawTarget()
    try:
        server = await asyncio.start_server(target.serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with server:
        outcome = await replay(Target("localhost", server.sockets[0].getsockname()[1]))

    assert outcome.delivered


async def test_an_answer_that_nobody_asked_for_is_not_the_next_ones() -> None:
    """It came while the loop was busy: the next request is not sent behind it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(HELD_UP_S)
    with listener, closing(Poster(Target(*listener.getsockname()), HELD_UP_S, 1)) as poster:
        first = asyncio.create_task(poster.post(make_delivery(1)))
        peer = await asyncio.to_thread(answer_once, listener, ANSWERED)
        assert isinstance(await first, Response)

        peer.sendall(OK)  # and nothing of the loop runs between this and the next request
        second = asyncio.create_task(poster.post(make_delivery(2)))
        await asyncio.to_thread(answer_once, listener, UNREAD)
        outcome = await second

    assert isinstance(outcome, Response)
    assert outcome.status == 503, "200 is what the target said of nothing"


def answer_once(listener: socket.socket, answer: bytes) -> socket.socket:
    """Take a connection and a request, and answer it."""
    peer, _ = listener.accept()
    peer.settimeout(HELD_UP_S)
    received = b""
    while not received.endswith(b"\r\n\r\n{}"):
        received += peer.recv(65_536)
    peer.sendall(answer)
    return peer


async def test_a_reset_at_any_byte_of_an_answer() -> None:
    """Until the last byte it is none; a new connection carries what follows."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    cut = len(answer)

    async def send_part(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"evt_2" in request:
            writer.write(OK)
            return
        writer.write(answer[:cut])
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with raw_target() as target:
        target.answer = send_part
        with closing(Poster(target.target, 50.0, 1)) as poster:
            for cut in range(len(answer)):
                outcome = await poster.post(make_delivery(1))
                assert failed(outcome, FailureKind.NETWORK), answer[:cut]
                assert (await poster.post(make_delivery(2))).delivered


# A target that takes no connection


async def no_answer(_: Target) -> socket.socket:
    """A host that lets every packet fall."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@virtual_time
async def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    poster = Poster(NOWHERE, 30.0, 1, pool=Pool(NOWHERE, 1, opener=no_answer))
    began = running_clock().now

    outcome = await poster.post(make_delivery())

    failed(outcome, FailureKind.TARGET_DOWN)
    assert running_clock().now - began == pytest.approx(5.0)


@virtual_time
async def test_a_look_takes_two_seconds_at_most() -> None:
    poster = Poster(NOWHERE, 30.0, 1, pool=Pool(NOWHERE, 1, opener=no_answer))
    began = running_clock().now

    assert await poster.look() != ""

    assert running_clock().now - began == pytest.approx(2.0)


@virtual_time
async def test_looks_are_a_second_apart_and_later_two(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[float] = []

    async def look(_: Poster) -> str:
        looked_at.append(running_clock().now)
        return "down" if len(looked_at) < 10 else ""

    monkeypatch.setattr(Poster, "look", look)
    await Poster(NOWHERE, 30.0, 1).until_listening()

    pauses = [later - earlier for earlier, later in itertools.pairwise(looked_at)]
    assert pauses[0] == pytest.approx(1.0)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == pytest.approx([2.0] * 3)


# Targets behind TLS


def server_tls(certificate: Certificate) -> ssl.SSLContext:
    """What a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


@asynccontextmanager
async def opened_by_tls(
    port: int, ca: Path | None, host: str = "localhost"
) -> AsyncIterator[Poster]:
    """A poster that trusts one certificate."""
    target = Target(host, port, secure=True)
    pool = Pool(target, 8, tls=ssl.create_default_context(cafile=ca))
    poster = Poster(target, 5.0, 8, pool=pool)
    try:
        yield poster
    finally:
        poster.close()


async def test_tls_changes_nothing_of_the_bytes(tmp_path: Path) -> None:
    """Bodies that take many records included; and a connection is kept."""
    certificate = make_certificate(tmp_path)
    bodies = [b"{}", bytes(range(256)) * 8_000]
    async with (
        raw_target(tls=server_tls(certificate)) as server,
        opened_by_tls(server.port, certificate.cert) as poster,
    ):
        outcomes = [await poster.post(make_delivery(body=body)) for body in bodies]

    assert all(outcome.delivered for outcome in outcomes)
    assert [split_request(request)[2] for request in server.requests] == bodies
    assert server.connections == 1


async def test_a_strangers_certificate_gets_nothing(tmp_path: Path) -> None:
    """The reason says so, and a look at the target says the same."""
    async with (
        raw_target(tls=server_tls(make_certificate(tmp_path))) as server,
        opened_by_tls(server.port, None) as poster,
    ):
        outcome = await poster.post(make_delivery())
        seen = await poster.look()

    assert "certificate" in failed(outcome, FailureKind.TARGET_DOWN)
    assert failed(outcome, FailureKind.TARGET_DOWN) == seen
    assert server.requests == []


async def test_a_certificate_of_another_name_gets_nothing(tmp_path: Path) -> None:
    """However well it is signed."""
    certificate = make_certificate(tmp_path)
    async with (
        raw_target(tls=server_tls(certificate)) as server,
        opened_by_tls(server.port, certificate.cert, "127.0.0.1") as poster,
    ):
        outcome = await poster.post(make_delivery())

    assert isinstance(outcome, Failure)
    assert "certificate" in outcome.text
    assert server.requests == []


async def test_a_target_without_tls_is_named_as_such() -> None:
    """As `https://` for a server that speaks plain HTTP."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with opened_by_tls(port, None) as poster:
            text = failed(await poster.post(make_delivery()), FailureKind.TARGET_DOWN)

    assert f"localhost:{port} does not speak TLS as it should" in text
    assert "perhaps it is http:// there" in text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (socket.EAI_NONAME, "the name myapp.test is not known here"),
        (socket.EAI_AGAIN, "the name myapp.test cannot be looked up now"),
    ],
)
async def test_a_name_that_is_not_known_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """Not as an app that is not started."""

    async def look_up(host: str, port: int) -> list[Address]:
        raise socket.gaierror(number, "the system's words")

    monkeypatch.setattr("relay_http.pool.addresses", look_up)
    poster = Poster(Target("myapp.test", 3000), 5.0, 8)

    assert failed(await poster.post(make_delivery()), FailureKind.TARGET_DOWN) == said
    assert await poster.look() == said
    poster.close()


async def test_an_opener_says_why_it_opens_nothing() -> None:
    """In its own words."""

    async def refuse(target: Target) -> socket.socket:
        raise Unreachable(f"{target.host} is out of bounds")

    target = Target("localhost", 8000)
    poster = Poster(target, 5.0, 8, pool=Pool(target, 8, opener=refuse))
    outcome = await poster.post(make_delivery())

    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.text) == (FailureKind.TARGET_DOWN, "localhost is out of bounds")
    assert await poster.look() == "localhost is out of bounds"
