"""The public port's first look at a connection: webhooks are taken here, all else by aiohttp.

Webhooks are what this server is for, and a framework would cost each of them as much as storing it.
So their connections are read by a plain `asyncio.Protocol` around llhttp, with the deadlines and
bounds that the framework lacks. A `FrontDoor` is always in one phase, and each has a deadline:

    connected ──▶ HEAD ──sender let in──▶ BODY ──whole──▶ ANSWERING ──200, kept──▶ IDLE
                  │  ▲                     │                  │                     │
                  │  └─────────────────────┼──────────────────┼─────────────────────┘
                  │ no webhook             │ refused, late, or its last request
                  ▼                        ▼
               aiohttp                LINGERING ──▶ closed

HEAD: the sender is let in by the head alone (`ingest.admit`), before a byte of its body is kept.
BODY: bounded by the channel's limit, and by what arrives on all connections together.
ANSWERING: the event is with the store, and the answer waits for its commit. Where that takes too
long the sender is told to come back; the event may be stored all the same, and then its repeat is
known by the sender's id.
LINGERING: the answer is written, and what still comes is read and dropped. To close a socket with
bytes unread sends a reset, which would take the answer away from a sender that is still sending.

A request that two readers could take for different ones (two lengths, an odd coding, bare line
feeds) is refused, its connection closed, and nothing behind it is read: see docs/explanation/
hostile-input.md. A connection whose request is for the API or the WebSocket is handed to aiohttp
with the bytes it sent, and never comes back: aiohttp closes it after the answer.

No connection has a timer: one task looks at all deadlines every `LOOK_S`. After its connection no
door is part of a reference cycle, or the collector would have thousands of them to find a second.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import math
from collections.abc import Callable, Collection
from typing import cast

import httptools
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.errors import StoreFull, StoreUnavailable
from relay_server.web import ingest
from relay_server.web.capture import HeadTooLarge
from relay_server.web.context import Context
from relay_server.web.http1 import Headers, Request, answer_head
from relay_server.web.ingest import BodyTooLarge
from relay_server.web.limits import Connections
from relay_server.web.server import (
    HEADER_DEADLINE_S,
    KEEPALIVE_S,
    LINGER_S,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    BoundedHandler,
)

log = structlog.get_logger()

BODY_DEADLINE_S = 10.0  # for a webhook's body to be whole; longer: 408
STORE_DEADLINE_S = 2.25  # with LOOK_S, every answer comes within 2.5 s: Chatwoot gives up at 5
LOOK_S = 0.25  # how often deadlines are looked at
SILENT_S = 0.5  # at a stop, for the first bytes of a connection that has just been made
CLOSING_LOOK_S = 0.02  # how often a server that stops looks which connections are idle
MAX_ARRIVING_BYTES = 67_108_864  # of bodies on all connections together; more: 429 or 503
VERSIONS = ("1.1", "1.0")


class BodyTooSlow(RelayError):
    """The body did not come whole in time."""

    code = "body_timeout"
    status_hint = 408
    message = f"the body did not arrive whole within {BODY_DEADLINE_S:.0f} s"


class StoreTooSlow(StoreUnavailable):
    """The disk did not take the webhook in time; it may still, and then a repeat is known."""

    code = "store_timeout"
    message = f"the webhook was not on disk within {STORE_DEADLINE_S:g} s"


class TargetTooLong(RelayError):
    """Path and query are too long."""

    code = "target_too_long"
    status_hint = 414
    message = f"path and query are longer than {MAX_LINE_BYTES} bytes"


class NotHttp(RelayError):
    """The bytes are no HTTP/1 request, or one that two readers could read differently."""

    code = "bad_request"
    status_hint = 400
    message = "this is no HTTP/1 request, or one for two hosts, with an upgrade or a strange coding"


class _Phase(enum.Enum):
    IDLE = enum.auto()  # between requests
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWERING = enum.auto()  # the request is whole, and with the store
    LINGERING = enum.auto()  # refused; what still comes is dropped


class Front:
    """Makes a `FrontDoor` for each connection, and looks at their deadlines.

    A connection whose request is no webhook is taken by a protocol that `fallback` makes.
    """

    def __init__(self, context: Context, fallback: Callable[[], BoundedHandler]) -> None:
        self.context = context
        self.fallback = fallback
        self.doors: set[FrontDoor] = set()
        self.arriving = 0  # bytes of bodies that are not with the store yet
        settings = context.settings
        self.connections = Connections(
            settings.max_connections,
            settings.max_connections_per_address,
            exempt=settings.trusted_proxies,
        )

    def __call__(self) -> FrontDoor:
        """Make a connection's protocol."""
        return FrontDoor(self)

    async def run(self) -> None:
        """Look at deadlines until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self.context.clock.monotonic()
            for door in [door for door in self.doors if door.deadline <= now]:
                try:
                    door.expire()
                except Exception as exc:
                    log.error("a deadline could not be kept", exc_info=exc)
                    door.close()

    async def close(self, within_s: float) -> None:
        """Close what is idle, and the rest as it is answered; `run` goes on looking at deadlines.

        What has not even begun a request gets a moment: it may be on its way.
        """
        now = asyncio.get_running_loop().time
        silent_until, ends_at = now() + SILENT_S, now() + within_s
        while self.doors and now() < ends_at:
            for door in [door for door in self.doors if door.is_idle(now() >= silent_until)]:
                door.close()
            await asyncio.sleep(CLOSING_LOOK_S)
        for door in list(self.doors):
            door.close()


class FrontDoor(asyncio.Protocol):
    """One connection, for as long as only webhooks come over it, one after the other.

    A sender that begins the next request before it has the answer to the last gets that answer and
    then the end of the connection (RFC 9112 §9.3.2 has it ask again): no known sender does.
    """

    def __init__(self, front: Front) -> None:
        self.deadline = math.inf  # when `expire` is to be called; monotonic seconds
        self.answering: asyncio.Task[None] | None = None  # has a whole request stored and answered
        self._front = front
        self._context = front.context
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._phase = _Phase.IDLE
        self._request = Request(0.0)
        self._raw: list[bytes] = []  # what came of the current head, to be handed over
        self._unread = 0  # bytes since the parser last told of something
        self._peer = ""
        self._counted = False
        self._scheme = "http"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        limit = self._front.connections.enter(self._peer)
        self._counted = limit is None
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._front.doors.add(self)
        if limit is None:
            self._enter(_Phase.HEAD, HEADER_DEADLINE_S)
        else:
            self._context.limited(limit, "too many connections", limit=limit, address=self._peer)
            self._enter(_Phase.LINGERING, LINGER_S)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted:
            self._front.connections.leave(self._peer)
        self._drop_body(self._request)
        self._leave()  # what is whole is stored all the same

    def eof_received(self) -> bool:
        """Keep the connection for a sender that ended its side and waits for the answer."""
        self._request.keep = False
        return self._phase is _Phase.ANSWERING and self._scheme == "http"

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEAD, HEADER_DEADLINE_S)
        if self._phase is _Phase.ANSWERING:
            self._request.follow()
            return
        if self._phase is _Phase.LINGERING:
            return
        if self._phase is _Phase.HEAD:
            self._raw.append(data)
        self._parse(data)
        self._proceed(self._request)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._request.whole:
            self._request.follow()  # the next one began in the same piece
        else:
            self._request = Request(self._context.clock.monotonic())

    def on_url(self, part: bytes) -> None:
        self._unread = 0
        request = self._request
        if request.whole:
            return
        request.target += part
        if len(request.target) > MAX_LINE_BYTES:
            request.error = TargetTooLong()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unread = 0
        request = self._request
        if request.whole:
            return
        request.head_bytes += len(name) + len(value)
        if request.head_bytes > MAX_HEAD_BYTES or len(request.headers) >= MAX_HEADERS:
            request.error = HeadTooLarge()
        else:
            request.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._unread = 0
        request = self._request
        if request.whole:
            return
        request.method = self._parser.get_method().decode("ascii")
        request.keep = self._parser.should_keep_alive()
        request.version = self._parser.get_http_version()
        if request.version not in VERSIONS:
            request.error = request.error or NotHttp()
        if request.error is None and ingest.is_webhook(request.target):
            self._admit(request)

    def on_body(self, part: bytes) -> None:
        self._unread = 0
        request = self._request
        if request.whole or request.incoming is None or request.error is not None:
            return
        request.body += part
        self._front.arriving += len(part)
        if len(request.body) > request.incoming.limit:
            request.error = BodyTooLarge(request.incoming.limit)
        elif self._front.arriving > MAX_ARRIVING_BYTES:
            request.error = StoreFull("more arrives than this server takes at once")

    def on_message_complete(self) -> None:
        self._request.whole = True

    # What the front calls.

    def expire(self) -> None:
        """The deadline of this phase is over."""
        match self._phase:
            case _Phase.BODY:
                self._refuse_and_close(self._request, BodyTooSlow())
            case _Phase.ANSWERING:
                self._refuse_and_close(self._request, StoreTooSlow())
            case _Phase.IDLE | _Phase.HEAD | _Phase.LINGERING:
                self._transport.abort()

    def is_idle(self, silent_too: bool) -> bool:
        """True between requests; by choice also before the first byte of the first."""
        return self._phase is _Phase.IDLE or (
            silent_too and self._phase is _Phase.HEAD and not self._raw
        )

    def close(self) -> None:
        """Close the connection; one that does not take its last answer is cut."""
        self._enter(_Phase.LINGERING, LINGER_S)
        self._transport.close()

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and note on the request what is wrong with it."""
        self._unread += len(data)
        error: RelayError | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._request.incoming is not None and not self._request.followed:
                error = NotHttp()  # what follows is no body any more
        except httptools.HttpParserCallbackError as exc:
            log.error("webhook failed", exc_info=exc)
            error = _failed()
        except httptools.HttpParserError:
            error = NotHttp()
        if error is None and self._unread > MAX_HEAD_BYTES:
            error = HeadTooLarge()  # the parser keeps all of a field until its end
        self._request.error = self._request.error or error

    def _admit(self, request: Request) -> None:
        """Let the sender in, or note why not, before its body is read."""
        target = request.target.decode("utf-8", "surrogateescape")
        try:
            incoming = ingest.admit(
                self._context, request.method, target, request.headers, self._peer, self._scheme
            )
        except RelayError as exc:
            request.error = exc.with_traceback(None)  # that holds this call, and the door
            return
        request.incoming = incoming
        fields = incoming.head.fields
        if _in_doubt(request, fields):
            request.error = NotHttp()
            return
        # llhttp has seen that it is a number; Python reads none of more than 4,300 digits.
        announced = fields.get(b"content-length", b"").lstrip(b"0")
        if int(announced or b"0") > incoming.limit:
            request.error = BodyTooLarge(incoming.limit)
        elif fields.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _proceed(self, request: Request) -> None:
        """Go on to what follows from what was read so far."""
        if request.error is not None:
            self._refuse_and_close(request, request.error)
        elif request.incoming is not None and request.whole:
            self._enter(_Phase.ANSWERING, STORE_DEADLINE_S)
            self.answering = asyncio.get_running_loop().create_task(self._answer(request))
        elif request.incoming is not None:
            if self._phase is _Phase.HEAD:
                self._raw.clear()
                self._enter(_Phase.BODY, BODY_DEADLINE_S)
        elif request.method:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let aiohttp take the connection, from the first byte of this request on."""
        self._leave()
        protocol = self._front.fallback()
        protocol.on_lost = functools.partial(self._front.connections.leave, self._peer)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(b"".join(self._raw))

    def _drop_body(self, request: Request) -> None:
        self._front.arriving -= len(request.body)
        request.body = bytearray()

    def _leave(self) -> None:
        self._front.doors.discard(self)
        del self._parser  # it holds this door: a cycle for each connection

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._store(request)
        finally:
            self.answering = None
        if self._phase is not _Phase.ANSWERING:
            return  # it took too long: the sender was told to come back
        if self._context.stopping:
            request.keep = False  # its next request is to find the next server
        self._write(request, *answer)
        if not request.keep:
            self._hang_up(request)
            return
        self._request = Request(0.0)
        self._raw.clear()
        self._enter(_Phase.IDLE, KEEPALIVE_S)

    async def _store(self, request: Request) -> tuple[int, bytes, Headers]:
        assert request.incoming is not None
        body = bytes(request.body)
        self._drop_body(request)  # from here on it weighs with the store
        try:
            appended = await ingest.store(self._context, request.incoming, body)
        except RelayError as exc:
            return ingest.refuse(request.channel, exc)
        except Exception as exc:
            log.error("webhook failed", channel=request.incoming.channel.name, exc_info=exc)
            return ingest.refuse(request.channel, _failed())
        return 200, b'{"id": "%b"}' % appended.id.encode(), ()

    def _refuse_and_close(self, request: Request, error: RelayError) -> None:
        request.keep = False
        self._drop_body(request)
        self._write(request, *ingest.refuse(request.channel, error))
        self._hang_up(request)

    def _hang_up(self, request: Request) -> None:
        """Close; with bytes unread that would reset the connection, and the answer with it."""
        self._enter(_Phase.LINGERING, LINGER_S)
        if request.whole and not request.followed:
            self._transport.close()
        elif self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _write(self, request: Request, status: int, body: bytes, headers: Headers) -> None:
        clock = self._context.clock
        self._context.metrics.answered(request.channel, status, clock.monotonic() - request.began)
        if self._transport.is_closing():
            return
        head = answer_head(status, len(body), (*headers, *request.connection))
        self._transport.write(head if request.method == "HEAD" else head + body)

    def _enter(self, phase: _Phase, deadline_s: float) -> None:
        self._phase = phase
        self.deadline = self._context.clock.monotonic() + deadline_s


def _failed() -> RelayError:
    """The answer to a sender after an error of our own; the log says more."""
    return RelayError("the webhook could not be taken")


def _in_doubt(request: Request, fields: Collection[bytes]) -> bool:
    """True if another reader could see another request in these bytes than llhttp does.

    That is one for two hosts (RFC 9112 §3.2), with a transfer coding that would have to be undone,
    or with any coding in HTTP/1.0, which has none (§6.1).
    """
    if len(fields) < len(request.headers):  # some are repeated
        hosts = [value for name, value in request.headers if name.lower() == b"host"]
        if len(hosts) > 1:
            return True
    if b"transfer-encoding" not in fields:
        return False
    codings = [v for n, v in request.headers if n.lower() == b"transfer-encoding"]
    return request.version == "1.0" or any(v.strip().lower() != b"chunked" for v in codings)
