"""A target that shows raw bytes, and deliveries to post to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from relay_http.target import Target
from relay_protocol.values import Delivery, EventHead, HeaderList, RequestHead

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
TLS = b"\x16"  # how a handshake begins (RFC 8446 §5.1)
RECEIVED_AT = 1_783_000_810_123  # 2026-07-02T14:00:10.123Z


def make_delivery(
    number: int = 1,
    *,
    method: str = "POST",
    request_target: str = "/webhook",
    headers: HeaderList = ((b"Host", b"relay.example.com"),),
    body: bytes = b"{}",
    channel: str = "chatwoot",
    subscription: int = 1,
    attempt: int = 1,
    replay: bool = False,
    sender: str = "203.0.113.9",
    kind: str = "message_created",
    key: str = "42",
) -> Delivery:
    """A delivery as the relay sends it."""
    request = RequestHead(method, request_target, headers, sender, "https")
    event = EventHead(f"evt_{number}", number, RECEIVED_AT, key, kind, request)
    return Delivery(f"dlv_{number}", subscription, channel, attempt, replay, event, body)


@dataclass
class RawTarget:
    """A server that keeps every byte it gets, and answers as told."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]] | bytes = OK
    connections: int = 0

    @property
    def target(self) -> Target:
        """How the client is told of it."""
        return Target("127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readexactly(1)
                if head == TLS:  # as every server of HTTP answers what it cannot read
                    writer.write(BAD_REQUEST)
                    break
                head += await reader.readuntil(b"\r\n\r\n")
                request = head + await reader.readexactly(_content_length(head))
                self.requests.append(request)
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_target(
    port: int = 0, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawTarget]:
    """A target on a port of its own, or on a given one."""
    target = RawTarget()
    server = await asyncio.start_server(target.serve, host, port, ssl=tls)
    target.port = server.sockets[0].getsockname()[1]
    try:
        yield target
    finally:
        server.close()


def split_request(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Give a raw request's first line, headers and body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return first, headers, body


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
