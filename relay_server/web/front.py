"""The public port's first look at a connection: webhooks are taken here, all else by aiohttp.

Webhooks are what this server is for, and a framework would cost each of them as much as storing it.
So their connections are read by a plain `asyncio.Protocol` around llhttp, with the deadlines and
bounds that the framework lacks. A `FrontDoor` is always in one phase, and each has a deadline:

    connected ──▶ HEAD ──sender let in──▶ BODY ──whole──▶ ANSWERING ──200, kept──▶ IDLE
                  │  ▲                     │                  │                    │ ▲
                  │  └─────────────────────┼──────────────────┼────────────────────┘ │
                  │ no webhook             │ refused, late, or its last request      │
                  ▼                        ▼                                         │
               aiohttp                 LINGERING ──▶ closed                          │
                  └──answered, kept──────────────────────────────────────────────────┘

HEAD: the sender is let in by the head alone (`ingest.admit`), before a byte of its body is kept.
BODY: bounded by the channel's limit, and by what arrives on all connections together.
ANSWERING: the event is with the store, and the answer waits for its commit. Where that takes too
long the sender is told to come back; the event may be stored all the same, and then its repeat is
known by the sender's id.
LINGERING: the answer is written, and what still comes is read and dropped. To close a socket with
bytes unread sends a reset, which would take the answer away from a sender that is still sending.

An ordinary webhook takes two callbacks, and no task, future or timer. `data_received` has it
parsed, let in and given to the store; and the store's `set_result` has it answered, in the same
turn of the loop in which it hears of the commit. One timer for all looks at deadlines every
`LOOK_S`, while there are connections. After its connection no door is part of a reference cycle, or
the collector would have thousands of them to find a second.

A request that two readers could take for different ones (two lengths, an odd coding, bare line
feeds) is refused, its connection closed, and nothing behind it is read: see docs/explanation/
hostile-input.md. A connection whose request is for the API or the WebSocket is lent to aiohttp with
the bytes of that request. It comes back with the answer, as the next request on it may be a
webhook, where all of the request came in one piece with its head and is plain (`_lend`).
Otherwise aiohttp closes it after the answer.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import math
import time
from collections.abc import Callable
from itertools import chain
from typing import cast

import httptools
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.errors import BodyTooLarge, StoreFull, StoreUnavailable
from relay_server.values import Appended
from relay_server.web import ingest
from relay_server.web.capture import below, shape_of, without_base
from relay_server.web.context import Context
from relay_server.web.ingest import Asked, Incoming
from relay_server.web.limits import Connections
from relay_server.web.request import (
    VERSIONS,
    HeadTooLarge,
    NotHttp,
    Request,
    TargetTooLong,
    answer_head,
    no_http,
)
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


class BodyTooSlow(RelayError, code="body_timeout", status=408):
    """The body did not come whole in time."""

    message = f"the body did not arrive whole within {BODY_DEADLINE_S:.0f} s"


class StoreTooSlow(StoreUnavailable, code="store_timeout"):
    """The disk did not take the webhook in time; it may still, and then a repeat is known."""

    message = f"the webhook was not on disk within {STORE_DEADLINE_S:g} s"


class _Phase(enum.Enum):
    IDLE = enum.auto()  # between requests
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWERING = enum.auto()  # the request is whole, and with the store
    LINGERING = enum.auto()  # refused; what still comes is dropped


# Python 3.11 looks a member up by a function of its own each time it is named.
IDLE, HEAD, BODY, ANSWERING, LINGERING = _Phase


class Front:
    """Makes a `FrontDoor` for each connection, and looks at their deadlines.

    A connection whose request is no webhook is taken by a protocol that `fallback` makes.
    """

    def __init__(self, context: Context, fallback: Callable[[], BoundedHandler]) -> None:
        self.context = context
        self.fallback = fallback
        self.doors: set[FrontDoor] = set()
        self.arriving = 0  # bytes of bodies that are not with the store yet
        self._next_look: asyncio.TimerHandle | None = None
        settings = context.settings
        self.base = below(settings.base_path)
        self.connections = Connections(
            settings.max_connections,
            settings.max_connections_per_address,
            exempt=settings.trusted_proxies,
        )

    def __call__(self) -> FrontDoor:
        """Make a connection's protocol."""
        return FrontDoor(self, self.fallback)

    def door_to(self, handler: Callable[[], BoundedHandler]) -> Callable[[], FrontDoor]:
        """What makes the protocols of another port, which takes no webhooks."""
        return lambda: FrontDoor(self, handler, takes_webhooks=False)

    def enter(self, door: FrontDoor) -> None:
        """Look at a connection's deadline until it leaves."""
        self.doors.add(door)
        if self._next_look is None:
            self._look()

    async def close(self, within_s: float) -> None:
        """Close what is idle, and the rest as it is answered; deadlines are still looked at.

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

    def _look(self) -> None:
        """Look at all deadlines, now and for as long as there are connections."""
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(LOOK_S, self._look) if self.doors else None
        now = self.context.clock.monotonic()
        for door in [door for door in self.doors if door.deadline <= now]:
            try:
                door.expire()
            except Exception as exc:
                log.error("a deadline could not be kept", exc_info=exc)
                door.close()


class FrontDoor(asyncio.Protocol):
    """One connection; requests come over it one after the other.

    A sender that begins the next request before it has the answer to the last gets that answer and
    then the end of the connection (RFC 9112 §9.3.2 has it ask again): no known sender does.
    """

    # As of a connection that is not made yet.
    deadline = math.inf  # when `expire` is to be called; monotonic seconds
    _phase = HEAD
    _peer = ""
    _scheme = "http"
    _counted = False

    def __init__(
        self,
        front: Front,
        fallback: Callable[[], BoundedHandler],
        *,
        takes_webhooks: bool = True,
    ) -> None:
        self._front, self._fallback = front, fallback
        self._takes_webhooks = takes_webhooks
        self._context = front.context
        self._monotonic = front.context.clock.monotonic
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        if transport.get_extra_info("sslcontext"):
            self._scheme = "https"
        self._front.enter(self)
        limit = self._front.connections.enter(self._peer)
        if limit is None:
            self._counted = True
            self.deadline = self._monotonic() + HEADER_DEADLINE_S
        else:
            self._context.limited(limit, "too many connections", limit=limit, address=self._peer)
            self._enter(LINGERING, LINGER_S)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted:
            self._front.connections.leave(self._peer)
        if self._request.arriving:
            self._drop_body()
        self._leave()  # what is whole is stored all the same

    def eof_received(self) -> bool:
        """Keep the connection for a sender that ended its side and waits for the answer."""
        self._request.keep = False
        return self._phase is ANSWERING and self._scheme == "http"

    def data_received(self, data: bytes) -> None:
        phase, request = self._phase, self._request
        if phase is ANSWERING:
            self._follow()
            return
        if phase is LINGERING:
            return
        if phase is not BODY:
            request.raw.append(data)
            if request.began is None:
                request.began = self._monotonic()
        self._parse(data)
        incoming = request.incoming
        if request.error is not None:
            self._refuse(request.error)
        elif incoming is not None:
            if request.whole:
                self._store(incoming)
            else:
                self._await_body(incoming)
        elif request.method:
            self._lend()
        elif phase is IDLE:
            self._enter(HEAD, HEADER_DEADLINE_S)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._request.whole:
            self._follow()  # the next one began in the same piece

    def on_url(self, part: bytes) -> None:
        request = self._request
        if not request.whole:
            request.target += part
            if len(request.target) > MAX_LINE_BYTES:
                request.error = TargetTooLong()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.fields.append((name, value))

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        if request.whole:
            return
        request.method = parser.get_method().decode("ascii")
        request.keep = parser.should_keep_alive()
        request.version = parser.get_http_version()
        if self._front.base is not None:
            request.asked_for = request.target
            request.target = without_base(request.target, self._front.base)
        if request.error is None:
            try:
                self._admit(request)
            except RelayError as exc:
                request.error = exc.with_traceback(None)  # that holds this call, and the door

    def on_body(self, part: bytes) -> None:
        request = self._request
        incoming = request.incoming
        if request.whole or incoming is None or request.error is not None:
            return
        if not request.body:
            request.body = part  # most bodies come in one piece
        else:
            if isinstance(request.body, bytes):
                request.body = bytearray(request.body)  # a list of tiny chunks weighs 20 times more
            request.body += part
        if len(request.body) > incoming.limit:
            request.error = BodyTooLarge(incoming.limit)

    def on_message_complete(self) -> None:
        self._request.whole = True

    # What the store calls: a door is a `Waiter`.

    def done(self) -> bool:
        """True if it took too long: the sender was told to come back."""
        return self._phase is not ANSWERING

    def set_result(self, result: Appended, /) -> None:
        """The webhook is on disk."""
        self._answer(200, b'{"id": "%b"}' % result.id.encode())

    def set_exception(self, exception: Exception, /) -> None:
        """It is not stored."""
        self._answer(*ingest.refuse(self._context, self._asked, exception))

    # What the front calls.

    def expire(self) -> None:
        """The deadline of this phase is over."""
        if self._phase is BODY:
            self._refuse(BodyTooSlow())
        elif self._phase is ANSWERING:
            self._refuse(StoreTooSlow())
        else:
            self._transport.abort()

    def is_idle(self, silent_too: bool) -> bool:
        """True between requests; by choice also before the first byte of the first."""
        phase = self._phase
        return phase is IDLE or (silent_too and phase is HEAD and not self._request.raw)

    def close(self) -> None:
        """Close the connection; one that does not take its last answer is cut."""
        self._enter(LINGERING, LINGER_S)
        self._transport.close()

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and note what is wrong with the request."""
        request = self._request
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            request.keep = False
            if request.incoming is not None and not request.followed:
                request.error = request.error or NotHttp()  # what follows is no body any more
        except httptools.HttpParserCallbackError as exc:
            request.error = request.error or exc  # one of ours
        except httptools.HttpParserError:
            request.error = request.error or no_http(data)
        if not request.whole:
            # The parser keeps all of a field until its end: one that never ends would grow. So
            # would a head of too many fields, of which no more are counted.
            told = len(request.target) + len(request.fields) + len(request.body)
            request.untold = request.untold + len(data) if told == request.told else 0
            request.told = told
            if request.untold > MAX_HEAD_BYTES:
                request.error = request.error or HeadTooLarge()

    def _admit(self, request: Request) -> None:
        """Let the sender of a webhook in, or say why not, before its body is read.

        Raises:
            RelayError: A request is refused, be it a webhook or not.
        """
        if request.version not in VERSIONS:
            raise NotHttp
        fields = request.fields
        size = len(b"".join(chain.from_iterable(fields)))
        if len(fields) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            raise HeadTooLarge
        if self._takes_webhooks and ingest.is_webhook(request.target):
            request.incoming = incoming = ingest.admit(
                self._context, request.method, request.target, fields, self._peer, self._scheme
            )
            if incoming.head.shape.is_odd and incoming.head.is_doubtful(request.version):
                raise NotHttp

    def _await_body(self, incoming: Incoming) -> None:
        """Bound what is still to come of a body, and what came on all connections together."""
        request = self._request
        if self._phase is not BODY:
            request.raw.clear()
            self._enter(BODY, BODY_DEADLINE_S)
            # llhttp has seen that it is a number; Python reads none of more than 4,300 digits.
            announced = incoming.head.value(b"content-length").lstrip(b"0")
            if announced and int(announced) > incoming.limit:
                self._refuse(BodyTooLarge(incoming.limit))
                return
            if incoming.head.value(b"expect").lower() == b"100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._front.arriving += len(request.body) - request.arriving
        request.arriving = len(request.body)
        if self._front.arriving > MAX_ARRIVING_BYTES:
            self._refuse(StoreFull("more arrives than this server takes at once"))

    def _follow(self) -> None:
        """Something comes behind the request, which is not read: it is the last one here."""
        self._request.followed, self._request.keep = True, False

    def _lend(self) -> None:
        """Let aiohttp answer a request, from its first byte on."""
        request = self._request
        self._leave()
        protocol = self._fallback()
        protocol.on_lost.append(functools.partial(self._front.connections.leave, self._peer))
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        raw = b"".join(request.raw)
        if request.asked_for:
            raw = raw.replace(b" " + request.asked_for, b" " + request.target, 1)
        protocol.data_received(raw)
        # The next one may be a webhook, if this one is here, and no reader could see it end
        # elsewhere.
        shape = shape_of(tuple([name for name, _ in request.fields]))
        if request.whole and request.keep and not (request.followed or shape.is_odd):
            protocol.give_back = self._take_back

    def _take_back(self, behind: bytes) -> None:
        """The request was answered: the next one may be a webhook."""
        self._transport.set_protocol(self)
        self._parser = httptools.HttpRequestParser(self)
        self._front.enter(self)
        self._request = Request()
        self._enter(IDLE, KEEPALIVE_S)
        if behind:
            self.data_received(behind)

    def _drop_body(self) -> None:
        request = self._request
        self._front.arriving -= request.arriving
        request.arriving, request.body = 0, b""

    def _leave(self) -> None:
        self._front.doors.discard(self)
        del self._parser  # it holds this door: a cycle for each connection

    def _store(self, incoming: Incoming) -> None:
        request = self._request
        self._phase, self.deadline = ANSWERING, self._monotonic() + STORE_DEADLINE_S
        body, request.body = bytes(request.body), b""  # from here on it weighs with the store
        if request.arriving:
            self._drop_body()
        try:
            challenge = ingest.store(self._context, incoming, body, self)
        except Exception as exc:  # noqa: BLE001  (`refuse` knows what is an error of ours)
            self.set_exception(exc)
        else:
            if challenge is not None:
                self._answer(200, challenge, plain=True)

    def _refuse(self, error: Exception) -> None:
        """Answer before all of the request came, or the store said what became of it; and close."""
        self._request.keep = False
        self._drop_body()
        self._answer(*ingest.refuse(self._context, self._asked, error))

    def _answer(
        self, status: int, body: bytes, retry_after_s: int = 0, *, plain: bool = False
    ) -> None:
        """Write an answer, and go on to the next request or the connection's end.

        It is JSON, or plain text.
        """
        request, context = self._request, self._context
        if context.stopping:
            request.keep = False  # the sender's next request is to find the next server
        if not self._transport.is_closing():
            kept_as = request.version if request.keep else ""
            second = int(time.time())
            head = answer_head(status, len(body), retry_after_s, kept_as, second, plain)
            self._transport.write(head if request.method == "HEAD" else head + body)
        now, incoming = self._monotonic(), request.incoming
        channel = None if incoming is None else incoming.channel
        context.metrics.answered(channel, status, now - (request.began or now))
        if request.keep:
            self._request = Request()
            self._phase, self.deadline = IDLE, now + KEEPALIVE_S
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close; with bytes unread that would reset the connection, and the answer with it."""
        self._enter(LINGERING, LINGER_S)
        if self._request.whole and not self._request.followed:
            self._transport.close()
        elif self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    @property
    def _asked(self) -> Asked:
        request = self._request
        return Asked(request.method, request.target, request.fields, self._peer, request.incoming)

    def _enter(self, phase: _Phase, deadline_s: float) -> None:
        self._phase = phase
        self.deadline = self._monotonic() + deadline_s
