"""Bad manners of a target: what it may do with an answer instead of writing it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from tests.support.target import Saying, say

GIB = 1 << 30
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: a close sends RST
_PIECE = b"x" * (1 << 20)


async def trickle(raw: bytes, writer: asyncio.StreamWriter) -> None:
    """A byte at a time."""
    for position in range(len(raw)):
        await say(raw[position : position + 1], writer)
        await asyncio.sleep(0.005)  # the pace is what is tested


def reset_after(count: int) -> Saying:
    """So many bytes of it, and an RST."""

    async def reset(raw: bytes, writer: asyncio.StreamWriter) -> None:
        await say(raw[:count], writer)
        opened: socket.socket = writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise ConnectionResetError

    return reset


def instead(*parts: bytes) -> Saying:
    """Something else, and a close."""

    async def other(_: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await say(part, writer)
        writer.close()
        raise ConnectionResetError

    return other


async def say_nothing(_: bytes, writer: asyncio.StreamWriter) -> None:
    """Nothing, for as long as the other waits."""
    while not writer.is_closing():  # noqa: ASYNC110  (its end is what is waited for)
        await asyncio.sleep(0.05)


async def many_headers(raw: bytes, writer: asyncio.StreamWriter) -> None:
    """100,000 header fields."""
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    await say(raw.replace(b"\r\n", b"\r\n" + fields, 1), writer)


async def gigabyte(_: bytes, writer: asyncio.StreamWriter) -> None:
    """A body of a gigabyte, as far as it is read."""
    await say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB, writer)
    await _flood(_PIECE, writer)


async def endless_chunks(_: bytes, writer: asyncio.StreamWriter) -> None:
    """The same in chunks."""
    await say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", writer)
    await _flood(b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE), writer)


async def endless_header(_: bytes, writer: asyncio.StreamWriter) -> None:
    """A header field of a gigabyte."""
    await say(b"HTTP/1.1 200 OK\r\nX-Long: ", writer)
    await _flood(_PIECE, writer)


async def many_interim_answers(raw: bytes, writer: asyncio.StreamWriter) -> None:
    """A thousand interim answers before the answer."""
    await say(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000 + raw, writer)


async def _flood(piece: bytes, writer: asyncio.StreamWriter) -> None:
    for _ in range(GIB // len(_PIECE)):
        await say(piece, writer)
    raise ConnectionResetError


Manner = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

MANNERS: dict[str, Manner] = {
    "trickle": trickle,
    "reset at once": reset_after(0),
    "reset in the status line": reset_after(10),
    "reset in the body": reset_after(10_000),
    "garbage": instead(bytes(range(256)) * 8),
    "no HTTP": instead(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "HTTP/2": instead(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff"),
    "closes": instead(),
    "body cut short": instead(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123"),
    "two lengths": instead(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc"),
    "stall": say_nothing,
    "100,000 headers": many_headers,
    "a gigabyte": gigabyte,
    "endless chunks": endless_chunks,
    "endless header": endless_header,
    "1,000 interim answers": many_interim_answers,
}
