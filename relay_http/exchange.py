"""One connection to a target: requests go out byte for byte, and each brings one answer."""

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

_MAX_ANSWER_HEAD_BYTES = 65_536  # with all informational answers before it
# What may follow the head: 64 KiB of body in chunks of one byte are 384 KiB.
_MAX_ANSWER_REST_BYTES = 1_048_576
_JOINED_BYTES = 65_536  # up to here a copy costs less than a second system call
_LOWEST_STATUS = 100  # RFC 9110 §15
# As trailers, too, they change how the parser reads what follows.
_FRAMING = frozenset(
    {b"transfer-encoding", b"content-length", b"connection", b"proxy-connection", b"upgrade"}
)


class Broken(Exception):
    """The connection ended before the whole answer."""


class NotHttp(Exception):
    """What came is no HTTP answer, or one without bounds."""


class Connection(asyncio.Protocol):
    """Carries one exchange after the other; make it where an event loop runs.

    Attributes:
        is_open: It can take an exchange.
        heard: Something of the last exchange's answer came.
        opened_at: When it was opened, by the loop's clock.
        idle_since: For the pool, by the loop's clock.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.heard = False
        self.opened_at = self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        # A developer's server may be sloppy, and only harms its own answer.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._end: asyncio.Future[None] | None = None
        self._begin(bodiless=False)

    @property
    def peer(self) -> str:
        """The address at the other end; empty when it is not known any more."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing came that nobody asked for, though the loop has not read it yet.

        It would be taken for the answer to the next request.
        """
        return not self._is_readable()

    @functools.cached_property
    def _is_readable(self) -> Callable[[], bool]:
        return _watch(self._transport.get_extra_info("socket").fileno())

    def _begin(self, bodiless: bool) -> None:
        self.heard = False
        self._bodiless = bodiless
        self._room = _MAX_ANSWER_HEAD_BYTES
        self._status = 0  # until the head of the answer itself is whole
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._truncated = False
        self._complete = False
        self._keeps = False

    async def exchange(
        self, head: bytes, body: bytes, deadline: float, *, bodiless: bool = False
    ) -> Response:
        """Send a request and collect its answer. Unless both are whole, the connection is closed.

        Args:
            head: With the empty line at its end.
            body: As long as the head says.
            deadline: For the whole answer, by the loop's clock.
            bodiless: The answer has no body whatever its head says, as after HEAD.

        Raises:
            TimeoutError: The deadline passed.
            Broken: The target closed the connection.
            NotHttp: The answer cannot be read.
        """
        if not self.is_open:
            raise Broken
        started = time.perf_counter()
        self._begin(bodiless)
        self._end = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._expire)
        try:
            self._send(head, body)
            await self._end
        finally:
            timer.cancel()
            self._end = None
            whole = self._complete and self._keeps  # not when it was cancelled within the answer
            # With a part of the request still unsent, the target answered out of turn.
            if not whole or self._transport.get_write_buffer_size():
                self.close()
        elapsed_ms = round((time.perf_counter() - started) * 1000)
        headers: HeaderList = tuple(self._headers[:MAX_RESULT_HEADERS])
        return Response(self._status, headers, bytes(self._body), self._truncated, elapsed_ms)

    def close(self) -> None:
        """Close at once."""
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol, as are the next three."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.is_open = True
        self.opened_at = self._loop.time()

    def data_received(self, data: bytes) -> None:
        if self._end is None or self._end.done():
            self._keeps = False
            self.close()  # nobody asked for this
            return
        self.heard = True
        try:
            self._read(data)
        except HttpParserUpgrade:
            self._finish(NotHttp("it changes to another protocol"))
        except HttpParserError as exc:
            self._finish(NotHttp(str(exc)[:200]))
        except NotHttp as exc:
            self._finish(exc)
        if self._complete and not self._end.done():
            self._end.set_result(None)

    def eof_received(self) -> None:
        if self._status and _ends_with_connection(self._headers):
            self._complete = True
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

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
        if len(self._body) > MAX_RESULT_BODY_BYTES:
            del self._body[MAX_RESULT_BODY_BYTES:]
            self._truncated = self._complete = True
            self._keeps = False

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True

    def _send(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def _read(self, data: bytes) -> None:
        while data and not self._complete:
            if not self._room:
                raise NotHttp("it has no end" if self._status else "its head is too long")
            part, data = data[: self._room], data[self._room :]
            self._room -= len(part)
            self._parser.feed_data(part)
        if data:
            self._keeps = False

    def _lose(self) -> None:
        self.is_open = False
        self._finish(Broken())

    def _expire(self) -> None:
        self._finish(TimeoutError())

    def _finish(self, problem: Exception) -> None:
        """End the exchange, with the answer if it is whole; the connection has done its work."""
        self._keeps = False
        if self._end is None or self._end.done():
            return
        if self._complete:
            self._end.set_result(None)
        else:
            self._end.set_exception(problem)


if sys.platform == "win32":

    def _watch(fileno: int) -> Callable[[], bool]:
        """Give what says whether an open socket has something to be read."""
        return lambda: bool(select.select([fileno], [], [], 0)[0])

else:

    def _watch(fileno: int) -> Callable[[], bool]:
        """Give what says whether an open socket has something to be read."""
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(fileno, select.POLLIN)
        return lambda: bool(poll.poll(0))


def _ends_with_connection(headers: list[tuple[bytes, bytes]]) -> bool:
    """Say whether an answer has neither a length nor chunks (RFC 9112 §6.3)."""
    for name, value in headers:
        match name.lower():
            case b"content-length":
                return False
            case b"transfer-encoding" if b"chunked" in value.lower():
                return False
    return True
