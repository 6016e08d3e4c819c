"""Subscriptions, and requests that were refused."""

from __future__ import annotations

from aiohttp import web

from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.operations.refused import RefusedFields, list_refused
from relay_server.operations.server import status
from relay_server.operations.subscriptions import (
    SubscriptionFields,
    change_subscription,
    pause_subscription,
    resume_subscription,
)


async def subscriptions(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /subscriptions`."""
    found = (await status(visitor.who)).subscriptions
    mine = sorted(found, key=lambda one: (one.channel, one.name != visitor.who.name, one.name))
    return render(request, "subscriptions.html", visitor=visitor, subscriptions=mine)


async def change(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /subscriptions/{channel}/{name}`: pause it, go on with it, or sign it anew or not."""
    channel, name = request.match_info["channel"], request.match_info["name"]
    match fields.get("do"):
        case "pause":
            await pause_subscription(visitor.who, channel, name)
        case "sign" | "leave" as signing:
            signed = SubscriptionFields(resign=signing == "sign")
            await change_subscription(visitor.who, channel, name, signed)
        case _:
            await resume_subscription(visitor.who, channel, name)
    return see("/subscriptions")


async def refused(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /refused`: who was not let in, and what mends it."""
    report = await list_refused(visitor.who, RefusedFields(request.query.get("channel") or None))
    return render(request, "refused.html", visitor=visitor, report=report)


routes = [
    web.get("/subscriptions", page(subscriptions)),
    web.post("/subscriptions/{channel}/{name}", form(change)),
    web.get("/refused", page(refused)),
]
