"""A proxy before a relay that does what proxies are set to do by mistake, one thing each.

    async with open_middlebox(relay.port, drop_upgrade) as url:
        doctor = relay.begin_client(token, "doctor", "--url", url)

A *manner* is asked of each connection with the head of its first request: it gives the head that
goes on to the relay, or the answer that is given in the relay's place. `Manner.down` may change, or
hold, what comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

HTML = b"<html><body>Log in</body></html>"


@dataclass(frozen=True, slots=True)
class Instead:
    """An answer of the proxy's own."""

    raw: bytes


def answer(status: str, *fields: str, body: bytes = HTML) -> Instead:
    """A page of a web server's."""
    lines = [f"HTTP/1.1 {status}", "Server: nginx", "Content-Type: text/html", *fields]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return Instead("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def is_socket(head: bytes) -> bool:
    return head.startswith(b"GET /connect ")


@dataclass(frozen=True, slots=True)
class Manner:
    """What a proxy does.

    Attributes:
        up: Called with a request's head: what goes on, or an answer.
        down: Called with that head and each piece that comes back: what goes on of it.
        cut_after_s: A WebSocket is cut when it is so old.
    """

    up: Callable[[bytes], bytes | Instead] = lambda head: head
    down: Callable[[bytes, bytes], bytes] = lambda _head, piece: piece
    cut_after_s: float | None = None


def only_sockets(what: Instead) -> Callable[[bytes], bytes | Instead]:
    """Answer so where a WebSocket is asked for."""
    return lambda head: what if is_socket(head) else head


def _without_upgrade(head: bytes) -> bytes:
    return re.sub(rb"(?im)^(?:upgrade|connection):[^\n]*\n", b"", head)


def _an_hour_later(_head: bytes, piece: bytes) -> bytes:
    def later(found: re.Match[bytes]) -> bytes:
        return b"%b%02d%b" % (found[1], (int(found[2]) + 1) % 24, found[3])

    return re.sub(rb"(?m)^(Date: [^\n]* )(\d\d)(:\d\d:\d\d GMT)", later, piece)


DROPS_UPGRADE = Manner(up=_without_upgrade)
HOLDS_SOCKETS = Manner(down=lambda head, piece: b"" if is_socket(head) else piece)
HOLDS_STREAM = Manner(
    down=lambda head, piece: piece if not is_socket(head) or piece.startswith(b"HTTP/") else b""
)
HOLDS_FEED = Manner(down=lambda head, piece: b"" if b"/api/v1/feed" in head else piece)
BAD_GATEWAY = Manner(up=only_sockets(answer("502 Bad Gateway")))
ALL_BAD_GATEWAY = Manner(up=lambda _: answer("502 Bad Gateway"))
OTHER_SERVER = Manner(up=lambda _: answer("404 Not Found"))
LOGIN_PAGE = Manner(up=lambda _: answer("302 Found", "Location: https://sso.example.com/"))
WEB_PAGE = Manner(up=lambda _: answer("200 OK"))
PASSWORD = Manner(up=lambda _: answer("401 Unauthorized", "WWW-Authenticate: Basic"))
CLOCK_AHEAD = Manner(down=_an_hour_later)
CUTS = Manner(cut_after_s=0.3)


@asynccontextmanager
async def open_middlebox(
    port: int, manner: Manner, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A proxy on a port of its own: its URL."""
    talks = set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await _talk(reader, writer, port, manner)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            talks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        number = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{number}"
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, manner: Manner
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    goes_on = manner.up(head)
    if isinstance(goes_on, Instead):
        writer.write(goes_on.raw)
        await writer.drain()
        await reader.read()
        return
    there_reader, there = await asyncio.open_connection("127.0.0.1", port)
    last = head  # of the connection's requests

    def asked(piece: bytes) -> bytes:
        nonlocal last
        last = last if is_socket(head) else piece
        return piece

    try:
        there.write(goes_on)
        lasts_s = manner.cut_after_s if is_socket(head) else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lasts_s), asyncio.TaskGroup() as group:
                group.create_task(_carry(reader, there, asked))
                group.create_task(_carry(there_reader, writer, lambda p: manner.down(last, p)))
    finally:
        there.transport.abort()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
) -> None:
    while piece := await reader.read(65_536):
        writer.write(change(piece))
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
