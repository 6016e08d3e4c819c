"""`GET /api/v1/feed`: what happens, as it happens, as server-sent events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import msgspec
import structlog
from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.errors import Forbidden, TooMany
from relay_server.filters.language import Filter, InvalidFilter
from relay_server.live.feeds import Feeds
from relay_server.live.positions import parse_positions
from relay_server.live.views import View, Viewer, Write
from relay_server.operations import Caller
from relay_server.operations.listing import Meant
from relay_server.values import Scope
from relay_server.web.access import caller
from relay_server.web.api import from_query
from relay_server.web.context import CONTEXT
from relay_server.web.limits import Limit
from relay_server.web.server import BoundedHandler

log = structlog.get_logger()

# Without a sign that what was sent arrived, such as a beat, a reader is gone: its laptop sleeps.
DEAD_MS = 30_000
CLOSE_S = 3.0  # for what a feed was sent last to be read; then its connection is cut

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx, and others that follow it, pass it on as it comes
}


FLAG = {"": False, "0": False, "false": False, "1": True, "true": True}


Until = Callable[[Callable[[], None]], Callable[[], None]]


class FeedFields(Meant, kw_only=True):
    """What a feed is of: a filter, as the list of events takes it.

    Attributes:
        channel: Names with commas between them; none for every channel that may be seen.
        state: `1`: what becomes of deliveries, subscriptions and channels is told, too.
        version: `1`: beats say whether what lists show may be another.
        edited: `1`: edited events are told of, too.
        from_: A position to go on from, as `Last-Event-ID`, which goes before it.
    """

    channel: str | None = None
    state: str = ""
    version: str = ""
    edited: str = ""
    from_: str = msgspec.field(name="from", default="")

    @property
    def position(self) -> str:
        """Empty where `from` says who is behind an event: a position alone has a `=`."""
        return self.from_ if "=" in self.from_ else ""

    def meant(self, now_ms: int) -> Filter:
        """Which events are told of.

        Raises:
            InvalidFilter: It cannot be, or asks what only deliveries can answer.
        """
        direction = "" if self.position else self.from_
        state = "" if self.state.lower() in FLAG else self.state
        found = msgspec.structs.replace(self, from_=direction, state=state).filter(now_ms)
        if found.needs_outcome:
            raise InvalidFilter(
                "a feed tells of events as they are stored: what becomes of them (`is:failed`,"
                " `status:`) comes as `delivery`, with state=1"
            )
        return found


async def feed(request: web.Request) -> web.StreamResponse:
    """Tell a reader what it missed, and then what happens, until either side ends it."""
    return await serve_feed(request, caller(request))


async def serve_feed(
    request: web.Request, who: Caller, until: Until | None = None
) -> web.StreamResponse:
    """The same, to whoever asks, until what `until` is given is called."""
    fields = await from_query(request, FeedFields)
    view, since = _view(who, fields), _since(request, fields)
    context = request.app[CONTEXT]
    try:
        with context.feeds.admitted(who.name) as viewer:
            forget = until(lambda: viewer.end("revoked", None)) if until else None
            try:
                return await _follow(request, context.feeds, viewer, view, since)
            finally:
                if forget is not None:
                    forget()
    except TooMany:
        context.limited(Limit.FEEDS, "too many live feeds", of=who.name, token=who.name)
        raise


async def _follow(
    request: web.Request, feeds: Feeds, viewer: Viewer, view: View, since: Mapping[str, int] | None
) -> web.StreamResponse:
    connection = request.protocol
    assert isinstance(connection, BoundedHandler)
    connection.on_lost.append(viewer.gone)
    _notice_death(request.transport)
    at = await feeds.positions(view, since)
    response = web.StreamResponse(headers=HEADERS)
    response.force_close()
    with suppress(ConnectionError):
        await response.prepare(request)
        missed = feeds.catch_up(viewer, view, at)
        await _write(viewer, missed, response.write)
        if not await viewer.say_goodbye(response.write) and request.transport is not None:
            asyncio.get_running_loop().call_later(CLOSE_S, request.transport.abort)
    return response


def _notice_death(transport: asyncio.Transport | None) -> None:
    """Have the system say when the other end is gone, as nothing ever comes from there."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)


async def _write(viewer: Viewer, missed: AsyncIterator[bytes], write: Write) -> None:
    """Write what a viewer missed and then what it is offered, until its end."""
    await _write_missed(viewer, missed, write)
    await viewer.write_all(write)


async def _write_missed(viewer: Viewer, missed: AsyncIterator[bytes], write: Write) -> None:
    """Apart from what comes, which takes hours, and would keep the last of it."""
    try:
        async for chunk in missed:
            if not await viewer.write(chunk, write):
                return
    except RelayError as exc:  # the store is not well
        log.warning("a live feed ends", error=str(exc))
        viewer.end("error")


def _since(request: web.Request, fields: FeedFields) -> Mapping[str, int] | None:
    """The position that a reader brings back; None where it brings none."""
    text = request.headers.get("Last-Event-ID", fields.position)
    return parse_positions(text) if text else None


def _view(who: Caller, fields: FeedFields) -> View:
    """What a caller asks to see; a channel that is not for it is not there."""
    if who.token is not None and not who.token.scopes & {Scope.SUBSCRIBE, Scope.ADMIN}:
        raise Forbidden("this takes a token with the scope subscribe")
    names = [name for name in (fields.channel or "").split(",") if name]
    wanted = frozenset(who.channel(name).name for name in names)
    told, version, edited = (
        FLAG.get(flag.lower(), False) for flag in (fields.state, fields.version, fields.edited)
    )
    return View(who, wanted or None, fields.meant(who.now()), told, version, edited)
