"""Targets that answer what no server should: an outcome each time, and the next one unharmed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_http import outgoing
from relay_http.outgoing import compose
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from tests.support.answers import understood
from tests.support.raw_target import OK, RawTarget, make_delivery, raw_target

BROKEN = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"
UNREAD = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"

PARTS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.1 204 None\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 042 x\r\n",
    b"HTTP/1.1 999 x\r\n",
    b"HTTP/1.1 1000 x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"X: " + b"x" * 70_000 + b"\r\n",
    b"X: 1\r\n" * 300,
    b" folded: 1\r\n",
    b"\x00: \xff\r\n",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nTrailer: 1\r\n\r\n",
    b"ffffffffffffffff1\r\n",
    b"-1\r\n",
    b"5;" + b"x" * 2_000 + b"\r\nhello\r\n",
    b"x" * 70_000,
    OK,
)


@given(
    st.lists(st.integers(0, len(PARTS) - 1), max_size=9),
    st.integers(1, 80_000),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_answer_is_bounded_and_leaves_the_next_one_alone(
    parts: list[int], size: int, ends: bool, bodiless: bool
) -> None:
    """However it is put together and cut up."""
    whole = b"".join(PARTS[part] for part in parts)
    size = max(size, len(whole) // 50)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    asyncio.run(understood(pieces, ends=ends, bodiless=bodiless))


@contextmanager
def posting(target: Target, timeout_s: float = 5.0) -> Iterator[Poster]:
    """Posts to a target, and keeps one connection."""
    poster = Poster(target, timeout_s, 1)
    try:
        yield poster
    finally:
        poster.close()


async def outcome_and_next(target: RawTarget, answer: bytes) -> Outcome:
    """What an answer comes to; a webhook after it gets its own."""
    with posting(target.target, 0.5) as poster:
        target.answer = answer
        outcome = await poster.post(make_delivery(1))
        target.answer = BROKEN
        after = await poster.post(make_delivery(2))
        assert isinstance(after, Response)
        assert (after.status, after.body) == (500, b"no")
    return outcome


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 042 x\r\nContent-Length: 5\r\n\r\nhello" + OK,
        b"HTTP/1.1 000 x\r\n\r\n" + b"x" * 70_000,
        b"HTTP/1.1 099 x\r\n\r\n",
    ],
)
async def test_a_status_below_100_is_no_answer(answer: bytes) -> None:
    """Its body would become the beginning of the next answer's."""
    async with raw_target() as target:
        outcome = await outcome_and_next(target, answer)

    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.NETWORK


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + OK,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",  # HTTP/2 settings
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 10_000 + OK,
    ],
    ids=lambda answer: repr(answer[:60]),
)
async def test_an_answer_in_doubt_is_a_failure(answer: bytes) -> None:
    """Whoever guesses its end takes the rest for another answer."""
    async with raw_target() as target:
        outcome = await outcome_and_next(target, answer)

    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.NETWORK


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + OK,
        b"HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ],
)
async def test_what_follows_an_answer_is_nobodys(answer: bytes) -> None:
    """The answer counts, and the connection with the rest is let go."""
    async with raw_target() as target:
        outcome = await outcome_and_next(target, answer)
        assert target.connections == 2

    assert isinstance(outcome, Response)


async def test_an_answer_that_nobody_asked_for_is_not_the_next_ones() -> None:
    """It came while the loop was busy: the next request is not sent behind it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    with listener, posting(Target(*listener.getsockname())) as poster:
        first = asyncio.create_task(poster.post(make_delivery(1)))
        peer = await asyncio.to_thread(answer_once, listener, BROKEN)
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
    peer.settimeout(5)
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
        with posting(target.target) as poster:
            for cut in range(len(answer)):
                outcome = await poster.post(make_delivery(1))
                assert isinstance(outcome, Failure), answer[:cut]
                assert outcome.kind is FailureKind.NETWORK
                after = await poster.post(make_delivery(2))
                assert isinstance(after, Response)
                assert after.delivered


async def test_an_answer_before_the_body_was_read_counts() -> None:
    """And the rest of the body is not sent where the next request belongs."""
    connections = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(1)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1_024)
    async with server:
        with posting(Target(*server.sockets[0].getsockname())) as poster:
            for number in (1, 2):
                large = make_delivery(number, body=b"x" * 20_000_000)
                outcome = await poster.post(large)
                assert isinstance(outcome, Response)
                assert outcome.status == 413
    assert connections == 2


async def test_a_coding_in_a_trailer_does_not_fail_the_next_answer() -> None:
    """The parser takes it for the answer's own, and would read nothing more."""
    trailed = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nTransfer-Encoding: x\r\n\r\n"
    )
    async with raw_target() as target:
        outcome = await outcome_and_next(target, trailed)

    assert isinstance(outcome, Response)
    assert outcome.body == b"abc"


async def test_an_exchange_that_is_cancelled_within_an_answer_leaves_no_connection() -> None:
    """The rest of it would be the beginning of the next answer."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"
    assert await understood([half], ends=False, bodiless=False) is None


def test_long_names_of_headers_are_not_remembered() -> None:
    """Hundreds of them, of half a megabyte each, would stay as long as the process."""
    outgoing._known_name.cache_clear()
    target = Target("localhost", 8000)
    for number in range(3):
        long = b"x%d-" % number + b"y" * 100_000
        head = compose(make_delivery(headers=((long, b"1"), (b"X-Short", b"2"))), target)
        assert long in head
    assert outgoing._known_name.cache_info().currsize <= 1
