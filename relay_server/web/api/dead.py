"""Dead deliveries: listed, and let go of. Replaying them is a replay."""

from __future__ import annotations

import msgspec
from aiohttp import web

from relay_server.operations import dead
from relay_server.web import views
from relay_server.web.access import admin, caller
from relay_server.web.api.requests import answer, limit, number, read
from relay_server.web.context import CONTEXT

routes = web.RouteTableDef()


class DiscardFields(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead deliveries need not be delivered: those of events, or all there are.

    Attributes:
        channel: Left out, that of the events that are named, or else every channel.
        subscription: None for every one.
    """

    channel: str | None = None
    subscription: str | None = None
    events: list[str] = []
    all: bool = False


@routes.get("/api/v1/dead")
async def list_dead(request: web.Request) -> web.Response:
    """Dead deliveries, by channel, subscription and sequence."""
    who, most, after = caller(request), limit(request), number(request, "after", 0)
    named = request.query.get("channel"), request.query.get("subscription")
    found = await dead.listed(request.app[CONTEXT], who, *named, after, most)
    return answer({"dead": [views.dead(*one) for one in found]})


@routes.post("/api/v1/dead/discard")
async def discard_dead(request: web.Request) -> web.Response:
    """Say that dead deliveries need not be delivered: their events may go."""
    who, context = admin(request), request.app[CONTEXT]
    fields = await read(request, DiscardFields)
    named = fields.channel, fields.subscription
    count = await dead.discard(context, who, *named, fields.events, everything=fields.all)
    return answer({"discarded": count})
