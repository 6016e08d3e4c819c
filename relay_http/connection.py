"""One connection to a target: requests go out byte for byte, and each brings one answer.

Requests are written as they are given, since their bytes are the sender's. Answers are read by
llhttp (httptools), which calls the `on_…` methods below. One exchange at a time:

    begin()  ──head, body──▶  target
                                │ data_received ──▶ parser ──▶ on_header, on_body, …
    ended(answer) ◀─────────────┘

An ordinary exchange costs no task, no future and no timer of its own: the answer is handed over
where its last byte is read, and the one timer of a connection is set anew only when it goes off.

    HEAD ──on_headers_complete──▶ BODY ──on_message_complete──▶ COMPLETE
      ▲ 1xx: begins anew            │ more than is kept of it      ▲ its end came: kept
      └─────────────────            ▼                              │ too much, too slow: closed
                                 DISCARDING ───────────────────────┘

A connection is used again only while both ends agree where the answer ended (`_keeps`): a byte of
one answer that is left must never begin the next one. So whatever leaves a doubt closes it: bytes
behind the answer, a second answer, framing fields among the trailers, a request that was not read
to its end, an exchange that was cancelled. The answer itself counts all the same.

What a target can cost: the parser is fed at most `_room` bytes, first for all heads together, then
for what follows the answer's own; 64 KiB of the body are kept, and the rest of it is read for
`DISCARD_S` and `MAX_DISCARDED_BYTES` at most; the deadline is one for all.
"""

from __future__ import annotations

import asyncio
import functools
import select
import sys
import time
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from relay_protocol.limits import MAX_RESULT_BODY_BYTES, MAX_RESULT_HEADERS
from relay_protocol.values import HeaderList, Response

# Of one answer, with all informational answers before it: a longer head fails the attempt.
_MAX_ANSWER_HEAD_BYTES = 65_536
# What may follow the head; more fails the attempt. 64 KiB in chunks of one byte are 384 KiB.
_MAX_ANSWER_REST_BYTES = 1_048_576
# Of a body, beyond what is kept of it: such an answer ends where more comes, or when its rest takes
# longer, and the connection is closed. Reading so much costs less than a new connection by TLS (a
# framework's page about an error has some 100 KiB), and the result waits for it no longer.
MAX_DISCARDED_BYTES = 524_288
DISCARD_S = 0.25  # for the rest of a body that is not kept
# A longer body is handed to the system by itself; up to here a copy costs less than a second call.
_JOINED_BYTES = 65_536
_LOWEST_STATUS = 100  # RFC 9110 §15
# As trailers, too, they change how the parser reads what follows.
_FRAMING = frozenset(
    {b"transfer-encoding", b"content-length", b"connection", b"proxy-connection", b"upgrade"}
)


Ended = Callable[["Response | Exception"], None]


class Broken(Exception):
    """The connection ended before the whole answer."""


class NotHttp(Exception):
    """The bytes are no HTTP answer, or one without bounds."""


class Connection(asyncio.Protocol):
    """Carries one exchange after the other; make it where an event loop runs."""

    def __init__(self) -> None:
        self.is_open = False  # it can take an exchange
        self.heard = False  # something of the last exchange's answer came
        self.opened_at = 0.0  # by the loop's clock
        self.idle_since = 0.0  # the same, for the pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        # A developer's server may be sloppy, and only harms its own answer.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._ended: Ended | None = None  # who waits for the answer, while there is an exchange
        self._deadline = 0.0  # of the exchange, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reset(bodiless=False)

    @property
    def peer(self) -> str:
        """The address at the other end; empty when it is not known any more."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @functools.cached_property
    def is_stale(self) -> Callable[[], bool]:
        """Tells if the peer closed or sent bytes while the connection was idle.

        The loop may not have read them yet: they would be taken for the next request's answer.
        """
        return _watch(self._transport.get_extra_info("socket").fileno())

    def _reset(self, bodiless: bool) -> None:
        self.heard = False
        self._bodiless = bodiless
        self._room = _MAX_ANSWER_HEAD_BYTES
        self._status = 0  # until the head of the answer itself is whole
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._truncated = False
        self._discarded = 0  # bytes of the body
        self._kept_at = 0.0  # when the last byte that is kept came, if more followed
        self._complete = False
        self._keeps = False

    def begin(
        self, head: bytes, body: bytes, deadline: float, ended: Ended, *, bodiless: bool = False
    ) -> None:
        """Send a request. Unless it and its answer are whole, the connection is closed then.

        Args:
            head: With the empty line at its end.
            body: As long as the head says.
            deadline: For the whole answer, by the loop's clock.
            ended: Gets the answer once, or `TimeoutError` (the deadline passed), `Broken` (the
                target closed the connection) or `NotHttp` (the answer cannot be read).
            bodiless: The answer has no body whatever its head says, as after HEAD.
        """
        self._started = time.perf_counter()
        self._reset(bodiless)
        self._ended = ended
        self._set_deadline(deadline)
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def exchange(
        self, head: bytes, body: bytes, deadline: float, *, bodiless: bool = False
    ) -> Response:
        """Send a request as `begin` does, and wait for the answer; its troubles are raised."""
        if not self.is_open:
            raise Broken
        answered: asyncio.Future[Response | Exception] = self._loop.create_future()
        self.begin(head, body, deadline, answered.set_result, bodiless=bodiless)
        try:
            answer = await answered
        except asyncio.CancelledError:
            self.close()
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Close at once; who waits for an answer is told nothing any more."""
        self.is_open = False
        self._ended = None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol, as are the next three."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.is_open = True
        self.opened_at = self._loop.time()

    def data_received(self, data: bytes) -> None:
        if self._ended is None:
            self.close()  # nobody asked for this
            return
        self.heard = True
        try:
            if len(data) <= self._room:
                self._room -= len(data)
                self._parser.feed_data(data)
            else:
                self._read(data)
        except HttpParserUpgrade:
            self._finish(NotHttp("it changes to another protocol"))
        except HttpParserError as exc:
            self._finish(NotHttp(str(exc)[:200]))
        except NotHttp as exc:
            self._finish(exc)
        else:
            if self._complete:
                self._hand_over()

    def eof_received(self) -> None:
        if self._status and _ends_with_connection(self._headers):
            self._complete = True
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._finish(Broken())

    def on_message_begin(self) -> None:
        """Part of the parser's callbacks, as are the next four."""
        if self._complete:
            self._keeps = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # later ones are trailers
            self._headers.append((name, value))
        elif name.lower() in _FRAMING:
            self._keeps = False

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < _LOWEST_STATUS:
            raise NotHttp(f"the status {status}")
        if status < 200:  # informational: the answer itself is still to come
            self._headers.clear()
            return
        self._status = status
        self._room += _MAX_ANSWER_REST_BYTES
        self._keeps = self._parser.should_keep_alive() and not self._bodiless
        self._complete = self._bodiless

    def on_body(self, data: bytes) -> None:
        if self._complete:
            return
        self._body += data
        excess = len(self._body) - MAX_RESULT_BODY_BYTES
        if excess > 0:
            del self._body[MAX_RESULT_BODY_BYTES:]
            self._discard(excess)

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True

    def _discard(self, size: int) -> None:
        """Count bytes of a body that are not kept; the connection may be worth waiting for them."""
        if not self._truncated:
            self._truncated = True
            self._kept_at = time.perf_counter()
            self._set_deadline(min(self._deadline, self._loop.time() + DISCARD_S))
        self._discarded += size
        # An answer that ends with its connection leaves none to be kept.
        if not self._keeps or self._discarded > MAX_DISCARDED_BYTES:
            self._keeps = False
            self._complete = True

    def _read(self, data: bytes) -> None:
        """Feed the parser with more than there is room for."""
        while data and not self._complete:
            if not self._room:
                raise NotHttp("it has no end" if self._status else "its head is too long")
            part, data = data[: self._room], data[self._room :]
            self._room -= len(part)
            self._parser.feed_data(part)
        if data:
            self._keeps = False

    def _set_deadline(self, deadline: float) -> None:
        # The timer of an earlier exchange is left as it is: it goes off first, and is set anew.
        self._deadline = deadline
        if self._timer is not None and self._timer_at > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._ended is None:
            return
        if self._loop.time() < self._deadline:
            self._set_deadline(self._deadline)
        else:
            self._finish(TimeoutError())

    def _finish(self, problem: Exception) -> None:
        """End the exchange and the connection's use, with the answer if all that is kept came."""
        self._keeps = False
        if self._complete or self._truncated:
            self._hand_over()
        elif self._ended is not None:
            ended = self._ended
            self.close()
            ended(problem)

    def _hand_over(self) -> None:
        """Give the answer to who waits for it, when the connection is ready for the next one."""
        ended, self._ended = self._ended, None
        # With a part of the request still unsent, the target answered out of turn.
        if not self._keeps or self._transport.get_write_buffer_size():
            self.close()
        if ended is not None:
            elapsed_ms = round(((self._kept_at or time.perf_counter()) - self._started) * 1000)
            headers: HeaderList = tuple(self._headers[:MAX_RESULT_HEADERS])
            body = bytes(self._body)
            ended(Response(self._status, headers, body, self._truncated, elapsed_ms))


def _watch(fileno: int) -> Callable[[], bool]:
    """Give a function that is true while an open socket has something to be read."""
    if sys.platform == "win32":  # which has no poll()
        return lambda: bool(select.select([fileno], [], [], 0)[0])
    else:  # noqa: RET505  (as the rest it would be unreachable to the type check for Windows)
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(fileno, select.POLLIN)
        return lambda: bool(poll.poll(0))


def _ends_with_connection(headers: list[tuple[bytes, bytes]]) -> bool:
    """True for an answer that has neither a length nor chunks (RFC 9112 §6.3)."""
    for name, value in headers:
        match name.lower():
            case b"content-length":
                return False
            case b"transfer-encoding" if b"chunked" in value.lower():
                return False
    return True
