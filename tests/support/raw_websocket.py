"""WebSockets by hand: frames and handshakes that no library would write."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from relay_protocol.codec import encode
from relay_protocol.messages import Granted, ServerMessage, Welcome

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = False,
    size: int | None = None,
) -> bytes:
    """A frame (RFC 6455 §5.2); `size` is a length that is not the payload's own."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    length = len(payload) if size is None else size
    mask = 0x80 if masked else 0
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    if not masked:
        return head + payload
    key = os.urandom(4)
    whole = (key * (len(payload) // 4 + 1))[: len(payload)]
    xored = int.from_bytes(payload) ^ int.from_bytes(whole)
    return head + key + xored.to_bytes(len(payload))


def accept(head: bytes, *fields: bytes) -> bytes:
    """The answer that opens a WebSocket."""
    [key] = [
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    ]
    token = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + token,
        *(fields or (b"Sec-WebSocket-Protocol: relay.v1",)),
    ]
    return b"\r\n".join([*lines, b"", b""])


def said(message: ServerMessage) -> bytes:
    """A message as a frame."""
    return frame(BINARY, encode(message))


def welcome(channel: str = "chatwoot", name: str = "ana") -> bytes:
    return said(Welcome("1.0", 1, (Granted(1, channel, name, False, 0),)))


Behaviour = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawRelay:
    """Takes connections, and does with each what it is told.

    Attributes:
        heads: Of the requests that came.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self._behaviour = behaviour
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self._behaviour(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def end(self) -> None:
        for talk in self._talks:
            talk.cancel()


@asynccontextmanager
async def raw_relay(behaviour: Behaviour) -> AsyncIterator[RawRelay]:
    """A relay on a port of its own."""
    relay = RawRelay(behaviour)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.end()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame of a server: its opcode and its payload.

    Raises:
        IncompleteReadError: The connection ended before.
    """
    first, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    return first & 0xF, await reader.readexactly(length)
