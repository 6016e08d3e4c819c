"""A client that abuses the WebSocket: it alone is let go, with a code, and others are served."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay_protocol.codec import decode_server, encode
from relay_protocol.limits import HEARTBEAT_S
from relay_protocol.messages import (
    ClientMessage,
    CloseCode,
    Error,
    Hello,
    Pause,
    Resume,
    Wanted,
    Welcome,
    Working,
)
from tests.support.garbage import BROKEN, HELLO
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    frame,
    read_frame,
)
from tests.support.senders import connection, handshake, read_answer
from tests.support.waiting import until
from tests.unit.server.clients import client, store, tick
from tests.unit.server.support import Served


class Raw:
    """A client's end, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def closed(self) -> int | None:
        """Read until the end: the code that the server closed with."""
        code = None
        try:
            async with asyncio.timeout(20):
                while True:
                    opcode, payload = await read_frame(self.reader)
                    if opcode == CLOSE:
                        (code,) = struct.unpack("!H", payload[:2])
                        self.writer.write(frame(CLOSE, payload[:2], masked=True))
        except (asyncio.IncompleteReadError, ConnectionError):
            return code


@asynccontextmanager
async def opened(served: Served, token: str, *more: tuple[str, str]) -> AsyncIterator[Raw]:
    """A WebSocket on which nothing was said yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(handshake(token, *more))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"permessage-deflate" not in head.lower(), "compression is never agreed to"
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def is_served(served: Served, token: str) -> None:
    """See that another client gets its webhooks."""
    async with client(served, token) as ana:
        await ana.join(name="other")
        await store(served, 1)
        await ana.take()


# RFC 6455 §7.4.1, and the protocol's own.
CODES = {1002, 1007, 1009, CloseCode.PROTOCOL_ERROR}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("joined", [False, True])
async def test_what_is_no_frame_ends_its_connection_alone(
    served: Served, token: str, name: str, joined: bool
) -> None:
    if name == "a second hello" and not joined:
        return
    async with opened(served, token) as evil:
        if joined:
            evil.writer.write(HELLO)
        evil.writer.write(BROKEN[name])
        assert await evil.closed() in CODES
    await until(lambda: served.context.hub.connections == 0)
    await is_served(served, token)


async def test_a_message_ends_with_4400_as_promised(served: Served, token: str) -> None:
    """And says why before."""
    async with opened(served, token) as evil:
        evil.writer.write(frame(BINARY, b"\xc1", masked=True))
        opcode, payload = await read_frame(evil.reader)
        said = decode_server(payload)
        assert (opcode, type(said)) == (BINARY, Error)
        assert await evil.closed() == CloseCode.PROTOCOL_ERROR


async def test_offered_compression_is_not_agreed_to(served: Served, token: str) -> None:
    """A bomb needs it: what comes compressed all the same is no frame."""
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
    async with opened(served, token, offer) as evil:
        evil.writer.write(frame(BINARY, b"\x4b\x4c" * 9, reserved=0b100, masked=True))
        assert await evil.closed() == 1002


async def test_floods_are_borne_in_little_memory(served: Served, token: str) -> None:
    """Of what is allowed: pongs, pauses, and work on what was never sent."""
    async with opened(served, token) as evil:
        evil.writer.write(HELLO)
        _, payload = await read_frame(evil.reader)
        welcome = decode_server(payload)
        assert isinstance(welcome, Welcome)
        number = welcome.subscriptions[0].subscription
        working = Working(tuple(f"1.{n}" for n in range(1_000)))
        messages: list[ClientMessage] = [Pause(number), Resume(number), working]
        said = b"".join(frame(BINARY, encode(message), masked=True) for message in messages)
        flood = (frame(PONG, b"x" * 125, masked=True) * 20 + said) * 20
        tracemalloc.start()
        try:
            for _ in range(20):
                evil.writer.write(flood)
                await evil.writer.drain()
            evil.writer.write(frame(PING, b"still there", masked=True))
            async with asyncio.timeout(20):
                assert await read_frame(evil.reader) == (PONG, b"still there")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20
        await is_served(served, token)


async def test_a_frame_that_does_not_end_is_let_go_in_time(served: Served, token: str) -> None:
    """Nothing whole was heard: heartbeats see to it."""
    async with opened(served, token) as evil:
        evil.writer.write(HELLO)
        await read_frame(evil.reader)
        evil.writer.write(frame(BINARY, size=500_000, masked=True) + b"x" * 1_000)
        await is_served(served, token)
        tick(served, HEARTBEAT_S * 3)
        assert await evil.closed() == CloseCode.NORMAL


async def test_half_handshakes_and_strangers_keep_nobody_out(served: Served, token: str) -> None:
    """Hundreds at once; a client that may come in still does."""
    writers = []
    for number in range(300):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        raw = handshake("rly_wrong") if number % 2 else handshake(token)[:-9]
        writer.write(raw)
        writers.append(writer)
    await is_served(served, token)
    assert served.context.hub.connections <= 1
    for writer in writers:
        writer.transport.abort()


KEYS = [b"\xe9", b"\xff" * 24, b"c2hvcnQ=", b"", b"=" * 24, b"\x00", b"dGhlIHNhbXBsZSBub25jZQ=\xa0"]


@pytest.mark.parametrize("key", KEYS, ids=repr)
async def test_a_key_that_is_none_is_refused(served: Served, token: str, key: bytes) -> None:
    """By its fault, not by one of the server's."""
    before, _, rest = handshake(token).partition(b"Sec-WebSocket-Key: ")
    raw = before + b"Sec-WebSocket-Key: " + key + b"\r\n" + rest.partition(b"\r\n")[2]
    answer = await served.send(raw)
    assert answer.status == 400


async def test_frames_right_behind_the_handshake_are_the_conversation(
    served: Served, token: str
) -> None:
    """They are neither lost nor taken for a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(handshake(token) + HELLO)
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        _, payload = await read_frame(reader)
    assert isinstance(decode_server(payload), Welcome)
    writer.transport.abort()


async def test_frames_without_masks_are_taken(served: Served, token: str) -> None:
    """Masks guard proxies from what pages have browsers write, and no browser is let in."""
    async with opened(served, token) as odd:
        odd.writer.write(frame(BINARY, encode(Hello("1.0", "odd", (Wanted("chatwoot"),), 32))))
        _, payload = await read_frame(odd.reader)
        assert isinstance(decode_server(payload), Welcome)
        await is_served(served, token)


FIELDS = [
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Authorization",
    "Content-Length",
    "Transfer-Encoding",
    "Expect",
    "Cookie",
]
VALUES = [
    "",
    "\xff",
    "\x00",
    "x" * 7_000,
    "websocket",
    "relay.v1",
    "13",
    "5",
    "chunked",
    "é🎉",
    ',;="',
]


async def test_no_handshake_is_a_fault_of_the_servers(served: Served, token: str) -> None:
    """Fields twice, left out, or with any value; it opens, or it is refused."""
    lines = handshake(token).split(b"\r\n")[:-2]
    raws = []
    for name in FIELDS:
        rest = [line for line in lines if not line.startswith(name.encode() + b":")]
        for value in VALUES:
            field = f"{name}: {value}".encode()
            raws += [[*rest, field], [*lines, field], [lines[0], field, *lines[1:]]]
        raws.append(rest)
    raws += [
        [line.replace(b"/1.1", b"/1.0") for line in lines],
        [b"HEAD" + lines[0][3:], *lines[1:]],
    ]
    statuses = set()
    for raw in raws:
        async with connection(served.port) as one:
            await one.send(b"\r\n".join([*raw, b"", b""]) + b"hello")
            statuses.add((await read_answer(one.reader)).status)

    assert 101 in statuses
    assert statuses <= {101, 400, 401, 403, 404, 405, 413, 417, 429, 431}
    await is_served(served, token)
