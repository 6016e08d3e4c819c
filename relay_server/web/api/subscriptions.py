"""Subscriptions of a channel."""

from __future__ import annotations

from aiohttp import web

from relay_server.errors import SubscriptionConnected, SubscriptionNotFound
from relay_server.web.access import admin, readable_channel
from relay_server.web.context import CONTEXT

routes = web.RouteTableDef()


@routes.delete("/api/v1/channels/{name}/subscriptions/{subscription}")
async def delete_subscription(request: web.Request) -> web.Response:
    """Forget a subscription that nobody reads: nothing is kept for it any more."""
    who, context = admin(request), request.app[CONTEXT]
    channel = readable_channel(request, who, request.match_info["name"])
    name = request.match_info["subscription"]
    known = [s.subscription for s in await context.store.subscription_status()]
    found = next((s for s in known if (s.channel, s.name) == (channel.name, name)), None)
    if found is None:
        raise SubscriptionNotFound(channel.name, name)
    if context.hub.state(found.number).readers:
        raise SubscriptionConnected(name)
    await context.store.unsubscribe(found.number)
    return web.Response(status=204)
