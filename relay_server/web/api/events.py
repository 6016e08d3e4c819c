"""Events, and the state of their deliveries."""

from __future__ import annotations

from aiohttp import web

from relay_server.operations import events
from relay_server.operations.callers import readable_channel
from relay_server.web import views
from relay_server.web.access import caller
from relay_server.web.api.requests import answer, limit, number
from relay_server.web.context import CONTEXT

routes = web.RouteTableDef()


@routes.get("/api/v1/events")
async def list_events(request: web.Request) -> web.Response:
    """The newest events of a channel, and what became of each."""
    context = request.app[CONTEXT]
    name = request.query.get("channel", context.settings.default_channel)
    channel = readable_channel(context, caller(request), name)
    most, before = limit(request), number(request, "before", 0) or None
    found = await context.store.list_events(channel.number, before, most)
    deliveries = await context.store.deliveries(channel.number, [e.sequence for e in found])
    lines = [views.summary(channel, e, d) for e, d in zip(found, deliveries, strict=True)]
    return answer({"events": lines})


@routes.get("/api/v1/events/{id}")
async def show_event(request: web.Request) -> web.Response:
    """One event, whole."""
    context = request.app[CONTEXT]
    channel, event = await events.find(context, caller(request), request.match_info["id"])
    deliveries = await context.store.deliveries(channel.number, [event.head.sequence])
    return answer(views.event(channel, event, deliveries[0]))
