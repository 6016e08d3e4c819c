"""aiohttp's server with the bounds that it lacks, and what every application on it shares.

aiohttp waits for ever for the end of a request's headers, and its error pages quote the line that
it could not read, which may hold a token. `BoundedHandler` gives headers a deadline and answers
without quoting; `BoundedServer` and `BoundedRunner` are there to have aiohttp make it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from relay_protocol.errors import RelayError
from relay_server.delivery.upkeep import share
from relay_server.errors import Busy, Unauthorized
from relay_server.health import READY, STATES
from relay_server.metrics import Reading
from relay_server.operations.server import canary_state
from relay_server.web.access import error_response
from relay_server.web.context import CONTEXT, Context
from relay_server.web.limits import Limit

log = structlog.get_logger()

# The bounds of a connection, the front's too:

HEADER_DEADLINE_S = 5.0  # for a request's head to be whole; for a TLS handshake as well
KEEPALIVE_S = 75.0  # an idle connection is closed
MAX_LINE_BYTES = 8_190  # of a request's path and query; aiohttp takes no longer header line either
MAX_HEADERS = 128  # of a request; more: 431, from aiohttp 400
LINGER_S = 1.0  # to read the rest of what was refused, so that the answer is seen

SHUTDOWN_S = 3.0  # for requests under way once the last webhook was answered at a stop
READ_AGAIN_S = 5.0  # at the earliest the store is asked again for metrics
READING_DEADLINE_S = 3.0  # for its answer; without one what it said last is shown
FEED_PATH = "/api/v1/feed"  # its answers last: they have a bound of their own
# Connections that last have bounds of their own.
UNCOUNTED = frozenset({"/connect", "/health/live", FEED_PATH, "/feed"})
MAX_API_REQUESTS = 100  # under way at once, each may read much of the store; more: 503 `busy`


class BoundedHandler(web.RequestHandler):
    """One connection. Its request's headers must be whole within a deadline.

    Attributes:
        on_lost: Called once the connection is lost.
        give_back: Takes the connection back, with what came behind its request, once that is
            answered; None where the connection ends with that, or is aiohttp's for good.
    """

    __slots__ = ("_behind", "_busy", "_deadline", "give_back", "on_lost")

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._busy = False
        self._deadline: asyncio.TimerHandle | None = None
        self._behind = b""
        self.on_lost: list[Callable[[], None]] = []
        self.give_back: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        while self.on_lost:
            self.on_lost.pop()()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and self.give_back is not None:
            self._behind += data
            if self.transport is not None:
                self.transport.pause_reading()  # so that it stays one piece
            return
        if self._deadline is None and not self._busy:
            self._arm()
        super().data_received(data)

    def begun(self) -> None:
        """A request's headers are whole."""
        self._busy = True
        self._disarm()

    def ended(self) -> None:
        """It was answered; the connection may be kept, and idle."""
        self._busy = False

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer; then the connection goes back, where it is kept and nothing is left of it here.

        What aiohttp is told then is that its client is gone.
        """
        resp, lost = await super().finish_response(request, resp, start_time)
        whole = request.content.is_eof() and not self._messages
        if self.give_back is None or lost or not (resp.keep_alive and whole and self.transport):
            return resp, lost
        give_back, behind, transport = self.give_back, self._behind, self.transport
        self.give_back, self.transport = None, None  # or aiohttp would close it
        self.on_lost.clear()
        self.connection_lost(None)
        give_back(behind)
        if behind:
            transport.resume_reading()
        return resp, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.Response:
        """Answer what no handler saw, without quoting it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status >= 500:
            log.error("request failed", status=status, exc_info=exc)
            response = error_response(status, "error", "the request could not be answered")
        else:
            log.info("request not understood", status=status, error=type(exc).__name__)
            response = error_response(status, "bad_request", "this is no HTTP request")
        response.headers["Server"] = "relay"  # no `on_response_prepare` is called here
        response.force_close()
        return response

    def _arm(self) -> None:
        self._deadline = self._loop.call_later(HEADER_DEADLINE_S, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        if self.transport is not None:
            self.transport.abort()


class BoundedServer(web.Server):
    """Makes a `BoundedHandler` for each connection."""

    def __call__(self) -> BoundedHandler:
        return BoundedHandler(self, loop=self._loop, **self._kwargs)


class BoundedRunner(web.AppRunner):
    """Runs an application on `BoundedServer`; its handlers must be wrapped by `track_request`."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, shutdown_timeout=SHUTDOWN_S)

    @property
    def handler(self) -> BoundedServer:
        """The factory of connections' protocols, once the runner is set up."""
        assert isinstance(self.server, BoundedServer)
        return self.server

    async def cleanup(self) -> None:
        """Close every connection, after the requests under way; harmless when repeated."""
        if self.server is not None:
            await super().cleanup()

    async def _make_server(self) -> web.Server:
        # There is no public way to choose the server's class.
        made = await super()._make_server()
        return BoundedServer(
            made.request_handler,
            request_factory=made.request_factory,
            access_log=None,  # aiohttp's prints URLs, and with them tokens
            auto_decompress=False,  # bodies are stored as sent, and never inflated
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER_S,
            tcp_keepalive=False,  # deadlines and heartbeats find the dead sooner
        )


@web.middleware
async def track_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a request's headers are whole, and when it is answered."""
    connection = request.protocol
    assert isinstance(connection, BoundedHandler)
    connection.begun()
    try:
        return await handler(request)
    finally:
        connection.ended()


@web.middleware
async def limit_concurrency(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer so many requests at once and no more; the WebSocket and live feeds are none."""
    if request.path in UNCOUNTED:
        return await handler(request)
    context = request.app[CONTEXT]
    if context.api_requests >= MAX_API_REQUESTS:
        context.limited(Limit.REQUESTS, "too many API requests")
        raise Busy
    context.api_requests += 1
    try:
        return await handler(request)
    finally:
        context.api_requests -= 1


@web.middleware
async def keep_if_lent(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Close the connection after this request, unless it goes back to the front.

    The next request on it may be a webhook, which is none of this application's: proxies send
    different clients' requests over one connection.
    """
    response, connection = await handler(request), request.protocol
    assert isinstance(connection, BoundedHandler)
    kept = connection.give_back is not None and not request.app[CONTEXT].stopping
    # A refusal is the same everywhere, also where the connection could not have been kept.
    if not response.prepared and (not kept or response.status == Unauthorized.status_hint):
        response.force_close()
    return response


async def forbid_sniffing(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Have browsers take an answer for what it says it is: it may hold what strangers wrote."""
    response.headers["X-Content-Type-Options"] = "nosniff"


async def hide_server(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Do not say which software of which version answers."""
    response.headers.pop("Server", None)


async def live(_request: web.Request) -> web.Response:
    """`GET /health/live`: the process answers; public, so no detail."""
    return web.json_response({"status": "live"})


async def ready(request: web.Request) -> web.Response:
    """`GET /health/ready`: it works; 503 while it starts or stops, or nobody can send.

    With a full disk it is ready, too: its own refusals ask senders to come back, those of a proxy
    that took it out would not, and clients would be cut off from what they can still get. The same
    holds while its canary fails, or a renewed certificate cannot be used (the one before is served
    until it runs out): there is no other server to send to, so that is only told.
    """
    context = request.app[CONTEXT]
    if (state := context.state) != READY:
        return web.json_response({"status": state, "reason": STATES[state]}, status=503)
    answer = {"status": READY, "taking": context.store.space.taking}
    if (canary := canary_state(context)) is not None:
        answer["canary"] = msgspec.to_builtins(canary)
    if context.certificate_stale:
        answer["certificate"] = "stale"
    return web.json_response(answer)


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus' text format. A store that does not answer costs its own alone."""
    context = request.app[CONTEXT]
    last, now = context.metrics.reading, context.clock.monotonic()
    if last is None or now - last.read_at >= READ_AGAIN_S:
        try:
            async with asyncio.timeout(READING_DEADLINE_S):
                context.metrics.reading = await _read(context)
        except (TimeoutError, RelayError) as exc:
            log.warning("the store could not be asked for metrics", error=str(exc) or "no answer")
    return web.Response(
        body=request.app[CONTEXT].metrics.text(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def _read(context: Context) -> Reading:
    """What the store knows of subscriptions and channels; canaries are nobody's business."""
    store, hub, search = context.store, context.hub, context.search
    subscriptions = await store.subscription_status()
    known = {n: c for n, c in store.catalog.channels.items() if not c.config.owner}
    return Reading(
        context.clock.monotonic(),
        context.clock.unix_ms(),
        [
            (status, hub.readers.state(status.subscription.number).readers)
            for status in subscriptions
            if status.subscription.channel in known
        ],
        [
            (status, share(store, known[status.channel]))
            for status in await store.channel_status()
            if status.channel in known
        ],
        store.size(),
        store.commits,
        [(name, search.lag_ms(channel.number) / 1_000) for name, channel in known.items()]
        if search is not None
        else (),
    )
