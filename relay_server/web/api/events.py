"""What came in, and what became of it."""

from __future__ import annotations

from aiohttp import web

from relay_server.errors import EventNotFound
from relay_server.values import Channel, Event
from relay_server.web import views
from relay_server.web.access import Caller, caller, readable_channel
from relay_server.web.api.exchange import answer, number
from relay_server.web.context import CONTEXT, Context

MAX_LISTED = 500  # events or dead deliveries in one answer; a larger `limit` counts as this

routes = web.RouteTableDef()


@routes.get("/api/v1/events")
async def list_events(request: web.Request) -> web.Response:
    """The newest events of a channel, and what became of each."""
    context, who = request.app[CONTEXT], caller(request)
    name = request.query.get("channel", context.settings.default_channel)
    channel = readable_channel(request, who, name)
    limit = number(request, "limit", 50)
    before = number(request, "before", 0) or None
    found = await context.store.list_events(channel.number, before, min(limit, MAX_LISTED))
    deliveries = await context.store.deliveries(channel.number, [e.sequence for e in found])
    lines = [views.summary(channel, e, d) for e, d in zip(found, deliveries, strict=True)]
    return answer({"events": lines})


@routes.get("/api/v1/events/{id}")
async def show_event(request: web.Request) -> web.Response:
    """One event, whole."""
    context = request.app[CONTEXT]
    channel, event = await find_readable(context, caller(request), request.match_info["id"])
    deliveries = await context.store.deliveries(channel.number, [event.head.sequence])
    return answer(views.event(channel, event, deliveries[0]))


async def find_readable(context: Context, who: Caller, id_: str) -> tuple[Channel, Event]:
    """An event that the caller may read, and its channel.

    Raises:
        EventNotFound: There is none; also when it is not for the caller.
    """
    event = await context.store.find_event(id_)
    channels = context.store.catalog.channels.values()
    channel = next((c for c in channels if event and c.number == event.channel), None)
    if event is None or channel is None or not who.may_read(channel):
        raise EventNotFound(id_)
    return channel, event
