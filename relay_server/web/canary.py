"""A private channel for a moment, so that the whole way can be tried without disturbing anybody."""

from __future__ import annotations

import contextlib
import secrets

from aiohttp import web

from relay_server.channels import CANARY_PREFIX
from relay_server.configs import ChannelConfig
from relay_server.errors import Forbidden, TokenNotFound
from relay_server.values import Channel, Scope
from relay_server.web.access import bearer, caller, readable_channel
from relay_server.web.api.exchange import answer
from relay_server.web.api.tokens import make_token
from relay_server.web.context import CONTEXT, Context

LIFETIME_MS = 600_000  # of a canary channel that its owner forgot

routes = web.RouteTableDef()


@routes.post("/api/v1/canary")
async def create_canary(request: web.Request) -> web.Response:
    """Make a private channel for a moment, so that the whole way can be tried by its owner."""
    context, owner = request.app[CONTEXT], bearer(request, Scope.SUBSCRIBE)
    name = CANARY_PREFIX + secrets.token_hex(8)
    async with context.making_canary:
        for channel in list(context.store.catalog.channels.values()):
            if channel.config.owner == owner.name:  # one at a time
                await remove_canary(context, channel)
        config = ChannelConfig(owner=owner.name)
        await context.store.create_channel(name, config, context.clock.unix_ms())
    secret = await make_token(context, name, [Scope.SEND], [name])
    path = f"/c/{name}/webhook"
    return answer({"channel": name, "send_token": secret, "webhook_path": path}, status=201)


@routes.delete("/api/v1/canary/{name}")
async def delete_canary(request: web.Request) -> web.Response:
    """Take it away again."""
    context, name = request.app[CONTEXT], request.match_info["name"]
    channel = readable_channel(request, caller(request), name)
    if not channel.config.owner:
        raise Forbidden("this is no canary channel")
    await remove_canary(context, channel)
    return web.Response(status=204)


async def remove_forgotten(context: Context) -> None:
    """Take away the canary channels that nobody took away."""
    born_before = context.clock.unix_ms() - LIFETIME_MS
    for channel in list(context.store.catalog.channels.values()):
        if channel.config.owner and channel.created_at < born_before:
            await remove_canary(context, channel)


async def remove_canary(context: Context, channel: Channel) -> None:
    """Delete a canary channel and the token that posts to it."""
    with contextlib.suppress(TokenNotFound):  # somebody else takes it away at the same time
        await context.store.revoke_token(channel.name)
    await context.store.delete_channel(channel.name)
