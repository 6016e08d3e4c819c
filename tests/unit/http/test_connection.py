"""One connection to a target: every answer that a server can give, and those that none should."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_http import connection as connection_module
from relay_http.connection import MAX_DISCARDED_BYTES, Broken, Connection, NotHttp
from relay_protocol.limits import MAX_RESULT_BODY_BYTES
from relay_protocol.values import Response
from tests.support.answers import understood
from tests.support.raw_target import OK
from tests.support.tries import tries
from tests.support.waiting import until

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
REQUEST = HEAD + b"{}"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[Connection]:
    """A connection to a server that does as told."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()
        server.close()


def answering(*answers: bytes, then_close: bool = False) -> Serve:
    """Answer each request with the next of these, then wait or close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readexactly(len(REQUEST))
            writer.write(answer)
        if not then_close:
            await reader.read()  # until the other side is done

    return serve


async def exchange(
    connection: Connection, *, within_s: float = 5.0, bodiless: bool = False
) -> Response:
    """One request with its answer."""
    deadline = asyncio.get_running_loop().time() + within_s
    return await connection.exchange(HEAD, b"{}", deadline, bodiless=bodiless)


async def answer_of(answer: bytes, *, then_close: bool = False) -> Response:
    """What is understood of an answer."""
    async with connected(answering(answer, then_close=then_close)) as connection:
        return await exchange(connection)


async def test_a_request_goes_out_as_it_is() -> None:
    """Head and body, byte for byte."""
    received = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(len(REQUEST)))
        writer.write(b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: \xe9\r\nContent-Length: 2\r\n\r\nhi")
        await reader.read()

    async with connected(serve) as connection:
        answer = await exchange(connection)

    headers = ((b"X-A", b"1"), (b"x-a", b"\xe9"), (b"Content-Length", b"2"))
    assert received == [REQUEST]
    assert (answer.status, answer.headers, answer.body) == (201, headers, b"hi")
    assert not answer.truncated


async def test_a_connection_carries_one_exchange_after_the_other() -> None:
    """Nothing of one answer is left in the next."""
    second = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-T: 1\r\n\r\n"
    async with connected(answering(OK, second, OK)) as connection:
        answers = [await exchange(connection) for _ in range(3)]
        assert connection.is_open

    assert [(a.status, a.body, len(a.headers)) for a in answers] == [
        (200, b"", 1),
        (500, b"no", 1),
        (200, b"", 1),
    ]


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"204 No Content\r\nContent-Length: 9\r\n\r\n", 204, b""),
        (b"304 Not Modified\r\n\r\n", 304, b""),
        (b"100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, 200, b""),
        (b"200\r\nContent-Length: 1\r\n\r\na", 200, b"a"),
        (b"426 No\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na", 426, b"a"),
        (b"200 OK\nContent-Length: 1\n\na", 200, b"a"),
        (
            b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            200,
            b"abc",
        ),
    ],
)
async def test_an_answer_that_says_where_it_ends_keeps_the_connection(
    answer: bytes, status: int, body: bytes
) -> None:
    """Whatever way it says so."""
    async with connected(answering(b"HTTP/1.1 " + answer)) as connection:
        found = await exchange(connection)

        assert (found.status, found.body) == (status, body)
        assert connection.is_open
        assert all(name != b"Link" for name, _ in found.headers)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_an_answer_may_come_in_pieces(size: int) -> None:
    """The parser is handed every one of them by itself."""
    whole = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Name: value\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    async with connected(answering(b"")) as connection:
        running = asyncio.create_task(exchange(connection))
        await asyncio.sleep(0)  # let it begin
        for start in range(0, len(whole), size):
            connection.data_received(whole[start : start + size])
        answer = await running

    assert (answer.status, answer.body) == (200, b"abcde")
    assert answer.headers == ((b"X-Name", b"value"), (b"Transfer-Encoding", b"chunked"))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_an_answer_without_a_length_ends_with_the_connection(head: bytes) -> None:
    """As those of many small servers do."""
    answer = await answer_of(head + b"all of it", then_close=True)

    assert (answer.status, answer.body) == (200, b"all of it")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na\x00garbage",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nX: 9\r\n\r\n",
        b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_is_not_used_again_after_this(answer: bytes) -> None:
    """The answer counts all the same; what follows it, or its own trailers, nobody is answered."""
    async with connected(answering(answer)) as connection:
        found = await exchange(connection)

        assert found.body == (b"a" if found.status == 200 else b"")
        assert not connection.is_open
        with pytest.raises(Broken):
            await exchange(connection)


async def test_an_old_server_may_keep_its_connection() -> None:
    """HTTP/1.0 closes it unless it says otherwise."""
    answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"
    async with connected(answering(answer, OK)) as connection:
        assert (await exchange(connection)).body == b"a"
        assert (await exchange(connection)).status == 200


async def test_what_comes_unasked_closes_the_connection() -> None:
    """It would be taken for the answer to the next request."""
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(OK)
        await more.wait()
        writer.write(OK)
        await reader.read()

    async with connected(serve) as connection:
        await exchange(connection)
        assert connection.is_open
        more.set()
        await until(lambda: not connection.is_open)


async def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    """The length is that of the answer to GET."""
    async with connected(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as connection:
        answer = await exchange(connection, bodiless=True)

    assert (answer.status, answer.body, answer.truncated) == (200, b"", False)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",  # HTTP/2 settings
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 042 x\r\nContent-Length: 5\r\n\r\nhello" + OK,
        b"HTTP/1.1 000 x\r\n\r\n" + b"x" * 70_000,
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc",
    ],
    ids=lambda garbage: repr(garbage[:60]),
)
async def test_garbage_is_no_answer(garbage: bytes) -> None:
    """Whoever guesses where it ends takes the rest for another answer."""
    async with connected(answering(garbage)) as connection:
        with pytest.raises(NotHttp):
            await exchange(connection)
        assert not connection.is_open


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
    b"11170\r\n" + b"x" * 70_000 + b"\r\n",
    OK,
)


@given(
    st.lists(st.integers(0, len(PARTS) - 1), max_size=9),
    st.integers(1, 80_000),
    st.booleans(),
    st.booleans(),
)
@tries(400)
def test_any_answer_is_bounded_and_leaves_the_next_one_alone(
    parts: list[int], size: int, ends: bool, bodiless: bool
) -> None:
    """However it is put together and cut up."""
    whole = b"".join(PARTS[part] for part in parts)
    size = max(size, len(whole) // 50)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    asyncio.run(understood(pieces, ends=ends, bodiless=bodiless))


async def repeated(writer: asyncio.StreamWriter, piece: bytes, sent: list[int]) -> None:
    """Send a piece until nobody takes it any more, or a gigabyte is out."""
    for _ in range(1_000_000_000 // len(piece)):
        writer.write(piece)
        await writer.drain()
        sent[0] += len(piece)


@pytest.mark.parametrize(
    ("begin", "piece", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n" * 1000, "head"),
        (b"HTTP/1.1 200 ", b"x" * 10_000, "head"),
        (b"HTTP/1.1 200 OK\r\n", b"x" * 10_000, "head"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "head"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x" * 10_000, "end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 10_000, "end"),
    ],
)
async def test_an_endless_answer_is_cut(begin: bytes, piece: bytes, problem: str) -> None:
    """Headers, a status line, informational answers, trailers, a chunk's extension."""
    sent = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await repeated(writer, piece, sent)

    async with connected(serve) as connection:
        with pytest.raises(NotHttp, match=problem):
            await exchange(connection)
        assert not connection.is_open

    assert sent[0] < 100_000_000


async def test_a_head_is_as_long_as_it_may_be() -> None:
    """One byte more is too long, however it is cut up."""
    frame = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %s\r\n\r\n"
    filler = 65_536 - len(frame % b"")

    assert (await answer_of(frame % (b"x" * filler))).status == 200
    with pytest.raises(NotHttp, match="head is too long"):
        await answer_of(frame % (b"x" * (filler + 1)))


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Content-Length: 1000000000\r\n", b"x" * 100_000),
        (b"Transfer-Encoding: chunked\r\n", b"186a0\r\n" + b"x" * 100_000 + b"\r\n"),
        (b"", b"x" * 100_000),
    ],
)
async def test_of_a_gigabyte_the_beginning_is_kept_and_the_rest_not_read(
    head: bytes, piece: bytes
) -> None:
    """The connection is closed instead."""
    sent = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        await repeated(writer, piece, sent)

    async with connected(serve) as connection:
        answer = await exchange(connection)
        assert not connection.is_open

    assert answer.body == b"x" * MAX_RESULT_BODY_BYTES
    assert answer.truncated
    assert sent[0] < 100_000_000


@pytest.mark.parametrize(
    ("beyond", "is_kept"),
    [(1, True), (MAX_DISCARDED_BYTES, True), (MAX_DISCARDED_BYTES + 1, False)],
)
@pytest.mark.parametrize("coding", ["a length", "chunks"])
async def test_a_connection_outlives_an_answer_that_is_not_kept_whole(
    beyond: int, is_kept: bool, coding: str
) -> None:
    """Its rest is read and thrown away, up to a bound."""
    size = MAX_RESULT_BODY_BYTES + beyond
    head, end = b"Content-Length: %d\r\n\r\n" % size, b""
    if coding == "chunks":
        head, end = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size, b"\r\n0\r\n\r\n"
    large = b"HTTP/1.1 500 No\r\n" + head + b"x" * size + end
    async with connected(answering(large, OK)) as connection:
        answer = await exchange(connection)

        assert (answer.status, answer.body) == (500, b"x" * MAX_RESULT_BODY_BYTES)
        assert answer.truncated
        assert connection.is_open is is_kept
        if is_kept:
            following = await exchange(connection)
            assert (following.status, following.body, following.truncated) == (200, b"", False)


@pytest.mark.parametrize("within_s", [60.0, 1.0], ids=["its own bound", "the deadline"])
async def test_the_rest_of_an_answer_is_not_waited_for_long(
    within_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer counts, with the time that its beginning took; the connection is closed."""
    monkeypatch.setattr(connection_module, "DISCARD_S", 0.1 if within_s == 60.0 else 60.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    async with connected(answering(head + b"x" * 70_000)) as connection:
        started = time.monotonic()
        answer = await exchange(connection, within_s=within_s)

        took_ms = (time.monotonic() - started) * 1_000
        assert 90 <= took_ms < 20_000
        assert (answer.status, answer.truncated) == (200, True)
        assert answer.elapsed_ms < took_ms - 50
        assert not connection.is_open


async def test_an_answer_that_breaks_off_beyond_what_is_kept_counts() -> None:
    """Nobody wanted the rest of it."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 70_000
    for rest in (b"", b"\r\nzz"):
        answer = await answer_of(head + b"x" * 70_000 + rest, then_close=True)
        assert (answer.status, answer.truncated) == (200, True)


async def test_a_body_in_chunks_of_one_byte_is_whole() -> None:
    """The bound on what is around it leaves room for that."""
    chunks = b"1\r\nx\r\n" * MAX_RESULT_BODY_BYTES + b"0\r\n\r\n"
    answer = await answer_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

    assert answer.body == b"x" * MAX_RESULT_BODY_BYTES
    assert not answer.truncated


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_part_of_an_answer_is_none(part: bytes) -> None:
    """The connection ended before it said that it would."""
    async with connected(answering(part, then_close=True)) as connection:
        with pytest.raises(Broken):
            await exchange(connection)
        assert not connection.is_open
        assert connection.heard is bool(part)


async def test_a_target_that_half_closes_is_done() -> None:
    """Though it would still read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall")
        writer.write_eof()
        assert await reader.read() == b""  # the client closes as well

    async with connected(serve) as connection:
        answer = await exchange(connection)
        assert not connection.is_open

    assert answer.body == b"all"


async def test_a_reset_within_an_answer_breaks_it() -> None:
    """Even one that ends with the connection: nobody knows whether that was its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        await writer.drain()
        await until(lambda: connection.heard)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with connected(serve) as connection:
        with pytest.raises(Broken):
            await exchange(connection)


async def test_a_trickle_is_given_up_at_the_deadline() -> None:
    """It is one for the whole answer, not for each byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.wait([asyncio.create_task(reader.read(1))], timeout=0.01)

    async with connected(serve) as connection:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await exchange(connection, within_s=0.2)
        assert 0.1 < time.monotonic() - started < 20
        assert not connection.is_open


async def test_a_cancelled_exchange_closes_the_connection() -> None:
    """Its answer must not be taken for that of another request."""
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with connected(serve) as connection:
        running = asyncio.create_task(exchange(connection))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not connection.is_open
        await asyncio.wait_for(closed.wait(), 20)


async def test_an_exchange_that_is_cancelled_within_an_answer_leaves_no_connection() -> None:
    """The rest of it would be the beginning of the next answer."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"
    assert await understood([half], ends=False, bodiless=False) is None


async def test_an_answer_before_the_whole_request_ends_the_connection() -> None:
    """What is still unsent would go out before the next request."""
    body = b"x" * 20_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: not connection.is_open)

    async with connected(serve) as connection:
        deadline = asyncio.get_running_loop().time() + 5
        answer = await connection.exchange(HEAD, body, deadline)
        assert answer.status == 413
        assert not connection.is_open
