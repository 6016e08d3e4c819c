"""`GET /api/v1/feed`: what happens, as it happens, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import msgspec
import structlog
from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.errors import Forbidden, TooMany
from relay_server.filters.language import InvalidFilter, parse
from relay_server.live.feeds import Feeds
from relay_server.live.positions import parse_positions
from relay_server.live.views import View, Viewer, Write
from relay_server.operations import Caller
from relay_server.values import Scope
from relay_server.web.access import caller
from relay_server.web.api import from_query
from relay_server.web.context import CONTEXT
from relay_server.web.limits import Limit
from relay_server.web.server import BoundedHandler

log = structlog.get_logger()

CLOSE_S = 3.0  # for what a feed was sent last to be read; then its connection is cut

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx, and others that follow it, pass it on as it comes
}


class FeedFields(msgspec.Struct, rename={"from_": "from"}):
    """What a feed is of.

    Attributes:
        channel: Names with commas between them; none for every channel that may be seen.
        q: A filter; empty for every event.
        state: What becomes of deliveries, subscriptions and channels is told, too.
        from_: A position to go on from, as `Last-Event-ID`, which goes before it.
    """

    channel: str = ""
    q: str = ""
    state: bool = False
    from_: str = ""


async def feed(request: web.Request) -> web.StreamResponse:
    """Tell a reader what it missed, and then what happens, until either side ends it."""
    who, fields = caller(request), await from_query(request, FeedFields)
    view, since = _view(who, fields), _since(request, fields)
    context = request.app[CONTEXT]
    try:
        with context.feeds.admitted(who.name) as viewer:
            return await _follow(request, context.feeds, viewer, view, since)
    except TooMany:
        context.limited(Limit.FEEDS, "too many live feeds", of=who.name, token=who.name)
        raise


async def _follow(
    request: web.Request, feeds: Feeds, viewer: Viewer, view: View, since: Mapping[str, int] | None
) -> web.StreamResponse:
    connection = request.protocol
    assert isinstance(connection, BoundedHandler)
    connection.on_lost.append(viewer.gone)
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


async def _write(viewer: Viewer, missed: AsyncIterator[bytes], write: Write) -> None:
    """Write what a viewer missed and then what it is offered, until its end."""
    try:
        async for chunk in missed:
            if not await viewer.write(chunk, write):
                return
    except RelayError as exc:  # the store is not well
        log.warning("a live feed ends", error=str(exc))
        viewer.end("error")
    await viewer.write_all(write)


def _since(request: web.Request, fields: FeedFields) -> Mapping[str, int] | None:
    """The position that a reader brings back; None where it brings none."""
    text = request.headers.get("Last-Event-ID", fields.from_)
    return parse_positions(text) if text else None


def _view(who: Caller, fields: FeedFields) -> View:
    """What a caller asks to see; a channel that is not for it is not there."""
    if who.token is not None and not who.token.scopes & {Scope.SUBSCRIBE, Scope.ADMIN}:
        raise Forbidden("this takes a token with the scope subscribe")
    filter_ = parse(fields.q, who.now())
    if filter_.needs_outcome:
        raise InvalidFilter(
            "a feed tells of events as they are stored: what becomes of them (`is:failed`,"
            " `status:`) comes as `delivery`, with state=1"
        )
    names = [name for name in fields.channel.split(",") if name]
    wanted = frozenset(who.channel(name).name for name in names)
    return View(who, wanted or None, filter_, fields.state)
