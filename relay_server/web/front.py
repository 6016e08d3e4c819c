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
webhook, where all of the request came in one piece with its head and is plain (`_is_plain`).
Otherwise aiohttp closes it after the answer.
"""

from __future__ import annotations

import asyncio
import email.utils
import enum
import functools
import math
import time
from collections.abc import Callable
from http import HTTPStatus
from itertools import chain
from typing import cast

import httptools
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_server.errors import BodyTooLarge, StoreFull, StoreUnavailable
from relay_server.values import Appended, Channel
from relay_server.web import ingest
from relay_server.web.capture import below, read_head, without_base
from relay_server.web.context import Context
from relay_server.web.ingest import Asked, Incoming
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


class BodyTooSlow(RelayError, code="body_timeout", status=408):
    """The body did not come whole in time."""

    message = f"the body did not arrive whole within {BODY_DEADLINE_S:.0f} s"


class StoreTooSlow(StoreUnavailable, code="store_timeout"):
    """The disk did not take the webhook in time; it may still, and then a repeat is known."""

    message = f"the webhook was not on disk within {STORE_DEADLINE_S:g} s"


class TargetTooLong(RelayError, code="target_too_long", status=414):
    """Path and query are too long."""

    message = f"path and query are longer than {MAX_LINE_BYTES} bytes"


class HeadTooLarge(RelayError, code="headers_too_large", status=431):
    """All header fields together are too large."""

    message = f"the header fields are too many, or larger than {MAX_HEAD_BYTES} bytes together"


class NotHttp(RelayError, code="bad_request", status=400):
    """The bytes are no HTTP/1 request, or one that two readers could read differently."""

    message = "this is no HTTP/1 request, or one for two hosts, with an upgrade or a strange coding"


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

    def __init__(
        self,
        front: Front,
        fallback: Callable[[], BoundedHandler],
        *,
        takes_webhooks: bool = True,
    ) -> None:
        self.deadline = math.inf  # when `expire` is to be called; monotonic seconds
        self._front, self._fallback = front, fallback
        self._takes_webhooks = takes_webhooks
        self._context = front.context
        self._monotonic = front.context.clock.monotonic
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._phase = HEAD
        self._peer = ""
        self._counted = False
        self._scheme = "http"
        self._expect_request()

    def _expect_request(self) -> None:
        self._began: float | None = None  # when its first byte came; monotonic seconds
        self._raw: list[bytes] = []  # what came of its head, to be lent
        self._target = b""  # once the head is whole, below the public URL's path
        self._asked_for = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._method = ""  # set once its head is whole
        self._version = ""
        self._incoming: Incoming | None = None  # set once its sender was let in
        self._body: bytes | bytearray = b""
        self._arriving = 0  # bytes of its body, as counted by the front
        self._whole = False  # all of its body came
        self._followed = False  # more came behind it
        self._keep = True  # the connection may be used again after it
        self._error: Exception | None = None  # why it is refused
        self._told = self._untold = 0  # what the parser gave away so far; what it has taken since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        limit = self._front.connections.enter(self._peer)
        self._counted = limit is None
        if transport.get_extra_info("sslcontext"):
            self._scheme = "https"
        self._front.enter(self)
        if limit is None:
            self.deadline = self._monotonic() + HEADER_DEADLINE_S
        else:
            self._context.limited(limit, "too many connections", limit=limit, address=self._peer)
            self._enter(LINGERING, LINGER_S)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted:
            self._front.connections.leave(self._peer)
        self._drop_body()
        self._leave()  # what is whole is stored all the same

    def eof_received(self) -> bool:
        """Keep the connection for a sender that ended its side and waits for the answer."""
        self._keep = False
        return self._phase is ANSWERING and self._scheme == "http"

    def data_received(self, data: bytes) -> None:
        if self._phase is ANSWERING:
            self._follow()
            return
        if self._phase is LINGERING:
            return
        if self._phase is not BODY:
            self._raw.append(data)
            if self._began is None:
                self._began = self._monotonic()
        self._parse(data)
        if self._error is not None:
            self._refuse(self._error)
        elif self._incoming is not None:
            if self._whole:
                self._store(self._incoming)
            else:
                self._count_body()
        elif self._method:
            self._lend()
        elif self._phase is IDLE:
            self._enter(HEAD, HEADER_DEADLINE_S)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._whole:
            self._follow()  # the next one began in the same piece

    def on_url(self, part: bytes) -> None:
        if not self._whole:
            self._target += part
            if len(self._target) > MAX_LINE_BYTES:
                self._error = TargetTooLong()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._fields) < MAX_HEADERS:
            self._fields.append((name, value))
        elif not self._whole:
            self._error = HeadTooLarge()

    def on_headers_complete(self) -> None:
        if self._whole:
            return
        parser = self._parser
        self._method = parser.get_method().decode("ascii")
        self._keep = parser.should_keep_alive()
        self._version = parser.get_http_version()
        self._asked_for = self._target
        self._target = without_base(self._target, self._front.base)
        if self._error is None and self._version not in VERSIONS:
            self._error = NotHttp()
        if len(b"".join(chain.from_iterable(self._fields))) > MAX_HEAD_BYTES:
            self._error = HeadTooLarge()
        if self._error is None and self._takes_webhooks and ingest.is_webhook(self._target):
            try:
                self._admit()
            except RelayError as exc:
                self._error = exc.with_traceback(None)  # that holds this call, and the door

    def on_body(self, part: bytes) -> None:
        if self._whole or self._incoming is None or self._error is not None:
            return
        if not self._body:
            self._body = part  # most bodies come in one piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)  # a list of tiny chunks weighs 20 times more
            self._body += part
        if len(self._body) > self._incoming.limit:
            self._error = BodyTooLarge(self._incoming.limit)

    def on_message_complete(self) -> None:
        self._whole = True

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
        return self._phase is IDLE or (silent_too and self._phase is HEAD and not self._raw)

    def close(self) -> None:
        """Close the connection; one that does not take its last answer is cut."""
        self._enter(LINGERING, LINGER_S)
        self._transport.close()

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and note what is wrong with the request."""
        error: Exception | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._keep = False
            if self._incoming is not None and not self._followed:
                error = NotHttp()  # what follows is no body any more
        except httptools.HttpParserCallbackError as exc:
            error = exc  # one of ours
        except httptools.HttpParserError:
            error = NotHttp()
        if error is None and not self._whole:
            # The parser keeps all of a field until its end: one that never ends would grow.
            told = len(self._target) + len(self._fields) + len(self._body)
            self._untold = self._untold + len(data) if told == self._told else 0
            self._told = told
            if self._untold > MAX_HEAD_BYTES:
                error = HeadTooLarge()
        self._error = self._error or error

    def _admit(self) -> None:
        """Let the sender in, or say why not, before its body is read.

        Raises:
            RelayError: It is refused.
        """
        incoming = self._incoming = ingest.admit(
            self._context, self._method, self._target, self._fields, self._peer, self._scheme
        )
        head = incoming.head
        if head.shape.is_odd and head.is_doubtful(self._version):
            raise NotHttp
        # llhttp has seen that it is a number; Python reads none of more than 4,300 digits.
        announced = head.value(b"content-length").lstrip(b"0")
        if announced and int(announced) > incoming.limit:
            raise BodyTooLarge(incoming.limit)
        if head.value(b"expect").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _count_body(self) -> None:
        """Bound what has come of bodies on all connections together."""
        if self._phase is not BODY:
            self._raw.clear()
            self._enter(BODY, BODY_DEADLINE_S)
        self._front.arriving += len(self._body) - self._arriving
        self._arriving = len(self._body)
        if self._front.arriving > MAX_ARRIVING_BYTES:
            self._refuse(StoreFull("more arrives than this server takes at once"))

    def _follow(self) -> None:
        """Something comes behind the request, which is not read: it is the last one here."""
        self._followed, self._keep = True, False

    def _lend(self) -> None:
        """Let aiohttp answer a request, from its first byte on."""
        self._leave()
        protocol = self._fallback()
        protocol.on_lost.append(functools.partial(self._front.connections.leave, self._peer))
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        raw = b"".join(self._raw)
        if self._asked_for != self._target:
            raw = raw.replace(b" " + self._asked_for, b" " + self._target, 1)
        protocol.data_received(raw)
        if self._is_plain():
            protocol.give_back = self._take_back

    def _is_plain(self) -> bool:
        """True if a request is here, whole and alone, and no reader could see it end elsewhere."""
        if not self._whole or self._followed or not self._keep:
            return False
        return not read_head(self._fields).shape.is_odd

    def _take_back(self, behind: bytes) -> None:
        """The request was answered: the next one may be a webhook."""
        self._transport.set_protocol(self)
        self._parser = httptools.HttpRequestParser(self)
        self._front.enter(self)
        self._expect_request()
        self._enter(IDLE, KEEPALIVE_S)
        if behind:
            self.data_received(behind)

    def _drop_body(self) -> None:
        self._front.arriving -= self._arriving
        self._arriving, self._body = 0, b""

    def _leave(self) -> None:
        self._front.doors.discard(self)
        del self._parser  # it holds this door: a cycle for each connection

    def _store(self, incoming: Incoming) -> None:
        self._enter(ANSWERING, STORE_DEADLINE_S)
        body = bytes(self._body)
        self._drop_body()  # from here on it weighs with the store
        try:
            challenge = ingest.store(self._context, incoming, body, self)
        except Exception as exc:  # noqa: BLE001  (`refuse` knows what is an error of ours)
            self.set_exception(exc)
        else:
            if challenge is not None:
                self._answer(200, challenge, plain=True)

    def _refuse(self, error: Exception) -> None:
        """Answer before all of the request came, or the store said what became of it; and close."""
        self._keep = False
        self._drop_body()
        self._answer(*ingest.refuse(self._context, self._asked, error))

    def _answer(
        self, status: int, body: bytes, retry_after_s: int = 0, *, plain: bool = False
    ) -> None:
        """Write an answer, and go on to the next request or the connection's end.

        It is JSON, or plain text.
        """
        if self._context.stopping:
            self._keep = False  # the sender's next request is to find the next server
        if not self._transport.is_closing():
            kept_as = self._version if self._keep else ""
            what = status, len(body), retry_after_s, kept_as, int(time.time()), plain
            head = _answer_head(*what)
            self._transport.write(head if self._method == "HEAD" else head + body)
        now = self._monotonic()
        self._context.metrics.answered(self._channel, status, now - (self._began or now))
        if self._keep:
            self._expect_request()
            self._enter(IDLE, KEEPALIVE_S)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close; with bytes unread that would reset the connection, and the answer with it."""
        self._enter(LINGERING, LINGER_S)
        if self._whole and not self._followed:
            self._transport.close()
        elif self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    @property
    def _asked(self) -> Asked:
        return Asked(self._method, self._target, self._fields, self._peer, self._incoming)

    @property
    def _channel(self) -> Channel | None:
        return self._incoming.channel if self._incoming else None

    def _enter(self, phase: _Phase, deadline_s: float) -> None:
        self._phase = phase
        self.deadline = self._monotonic() + deadline_s


@functools.lru_cache(maxsize=32)
def _answer_head(
    status: int, length: int, retry_after_s: int, kept_as: str, second: int, plain: bool
) -> bytes:
    """An answer's bytes up to its body: those of a second are mostly the same.

    `kept_as` is the HTTP version of a connection that stays open, and empty for one that does not.
    """
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: text/plain; charset=utf-8" if plain else "Content-Type: application/json",
        f"Content-Length: {length}",
        f"Date: {email.utils.formatdate(second, usegmt=True)}",
    ]
    if plain:  # what a sender chose is not to be taken for anything else
        lines.append("X-Content-Type-Options: nosniff")
    if retry_after_s:
        lines.append(f"Retry-After: {retry_after_s}")
    if kept_as != "1.1":  # else it is what the version means by itself
        lines.append(f"Connection: {'keep-alive' if kept_as else 'close'}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")
