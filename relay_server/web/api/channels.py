"""Channels and their rules, and canaries: private channels, for a moment."""

from __future__ import annotations

from aiohttp import web

from relay_server.configs import ChannelConfig, Policy
from relay_server.operations import channels
from relay_server.operations.callers import readable_channel, visible_channels
from relay_server.values import Channel, Scope
from relay_server.web import views
from relay_server.web.access import admin, bearer, caller
from relay_server.web.api.requests import answer, fields_of, given, read
from relay_server.web.context import CONTEXT

ChannelFields = fields_of(ChannelConfig, name=str, policy=fields_of(Policy))

routes = web.RouteTableDef()
canary_routes = web.RouteTableDef()


@routes.get("/api/v1/channels")
async def list_channels(request: web.Request) -> web.Response:
    """The channels that the caller may read."""
    context = request.app[CONTEXT]
    found = visible_channels(context, caller(request))
    return answer({"channels": [views.channel(context, channel) for channel in found]})


@routes.post("/api/v1/channels")
async def create_channel(request: web.Request) -> web.Response:
    """Make a channel."""
    admin(request)
    rules = given(await read(request, ChannelFields))
    made = await channels.create(request.app[CONTEXT], rules.pop("name", None), rules)
    return answer(views.channel(request.app[CONTEXT], made), status=201)


@routes.get("/api/v1/channels/{name}")
async def show_channel(request: web.Request) -> web.Response:
    """One channel."""
    return answer(views.channel(request.app[CONTEXT], _named(request)))


@routes.patch("/api/v1/channels/{name}")
async def set_channel(request: web.Request) -> web.Response:
    """Change a channel."""
    admin(request)
    context, rules = request.app[CONTEXT], given(await read(request, ChannelFields))
    name = rules.pop("name", None)
    changed = await channels.change(context, _named(request), name, rules)
    return answer(views.channel(context, changed))


@routes.delete("/api/v1/channels/{name}")
async def delete_channel(request: web.Request) -> web.Response:
    """Delete a channel with all that is in it."""
    admin(request)
    await channels.delete(request.app[CONTEXT], _named(request))
    return web.Response(status=204)


@canary_routes.post("/api/v1/canary")
async def create_canary(request: web.Request) -> web.Response:
    """Make a canary of one's own."""
    owner = bearer(request, Scope.SUBSCRIBE)
    made, secret = await channels.create_canary(request.app[CONTEXT], owner)
    path = f"/c/{made.name}/webhook"
    return answer({"channel": made.name, "send_token": secret, "webhook_path": path}, status=201)


@canary_routes.delete("/api/v1/canary/{name}")
async def delete_canary(request: web.Request) -> web.Response:
    """Delete it again."""
    await channels.delete_canary(request.app[CONTEXT], _named(request))
    return web.Response(status=204)


def _named(request: web.Request) -> Channel:
    return readable_channel(request.app[CONTEXT], caller(request), request.match_info["name"])
