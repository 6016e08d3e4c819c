"""Forwards: subscriptions that the server itself reads, and posts to a URL."""

from __future__ import annotations

from aiohttp import web

from relay_server.configs import ForwardConfig
from relay_server.operations import forwards, subscriptions
from relay_server.operations.callers import readable_channel
from relay_server.values import Subscription
from relay_server.web import views
from relay_server.web.access import admin
from relay_server.web.api.requests import answer, fields_of, given, read
from relay_server.web.context import CONTEXT, Context

ONE = "/api/v1/forwards/{channel}/{name}"

NewForward = fields_of(ForwardConfig, channel=str, name=str, since=int | None)
ForwardChange = fields_of(ForwardConfig, paused=bool)

routes = web.RouteTableDef()


@routes.get("/api/v1/forwards")
async def list_forwards(request: web.Request) -> web.Response:
    """Every forward, and how it is doing."""
    admin(request)
    context = request.app[CONTEXT]
    known = await context.store.subscription_status()
    found = [status for status in known if status.subscription.config.forward is not None]
    return answer({"forwards": [views.forward(context, status) for status in found]})


@routes.post("/api/v1/forwards")
async def create_forward(request: web.Request) -> web.Response:
    """Make a forward; a server that runs begins with it at once."""
    who, context = admin(request), request.app[CONTEXT]
    rules = given(await read(request, NewForward))
    channel = readable_channel(context, who, rules.pop("channel", ""))
    name, since = rules.pop("name", forwards.DEFAULT_NAME), rules.pop("since", None)
    made = await forwards.create(context, channel, name, since, rules)
    return await _shown(context, made, status=201)


@routes.get(ONE)
async def show_forward(request: web.Request) -> web.Response:
    """One forward."""
    return await _shown(request.app[CONTEXT], await _named(request))


@routes.patch(ONE)
async def set_forward(request: web.Request) -> web.Response:
    """Change a forward, pause or resume it; that holds at once."""
    found = await _named(request)
    context, rules = request.app[CONTEXT], given(await read(request, ForwardChange))
    paused = rules.pop("paused", None)
    return await _shown(context, await forwards.change(context, found, paused, rules))


@routes.delete(ONE)
async def delete_forward(request: web.Request) -> web.Response:
    """End a forward, and forget what waits for it."""
    await request.app[CONTEXT].store.unsubscribe((await _named(request)).number)
    return web.Response(status=204)


async def _named(request: web.Request) -> Subscription:
    admin(request)
    channel, name = request.match_info["channel"], request.match_info["name"]
    return await forwards.find(request.app[CONTEXT], channel, name)


async def _shown(context: Context, forward: Subscription, status: int = 200) -> web.Response:
    found = await subscriptions.status_of(context, forward)
    return answer(views.forward(context, found), status=status)
