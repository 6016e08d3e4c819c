"""Subscriptions of a channel: how each delivers, paused or not."""

from __future__ import annotations

from aiohttp import web

from relay_server.configs import Policy, SubscriptionConfig
from relay_server.operations import subscriptions
from relay_server.operations.callers import Caller, readable_channel
from relay_server.values import Subscription
from relay_server.web import views
from relay_server.web.access import admin, caller
from relay_server.web.api.requests import answer, fields_of, given, read
from relay_server.web.context import CONTEXT

ONE = "/api/v1/channels/{name}/subscriptions/{subscription}"

PolicyChangeFields = fields_of(Policy, optional=True)  # None is as its channel has it
SubscriptionFields = fields_of(SubscriptionConfig, policy=PolicyChangeFields | None)

routes = web.RouteTableDef()


@routes.get(ONE)
async def show_subscription(request: web.Request) -> web.Response:
    """One subscription: how it is doing, and how it delivers."""
    who = caller(request)
    return await _shown(request, who, await _named(request, who))


@routes.patch(ONE)
async def set_subscription(request: web.Request) -> web.Response:
    """Change how it delivers; that holds at once."""
    who, fields = admin(request), given(await read(request, SubscriptionFields))
    found = await _named(request, who)
    if "policy" in fields:
        found = await subscriptions.set_policy(request.app[CONTEXT], found, fields["policy"])
    return await _shown(request, who, found)


@routes.post(ONE + "/pause")
async def pause_subscription(request: web.Request) -> web.Response:
    """Deliver nothing until somebody resumes it."""
    who = admin(request)
    found = await _named(request, who)
    return await _shown(request, who, await subscriptions.pause(request.app[CONTEXT], found))


@routes.post(ONE + "/resume")
async def resume_subscription(request: web.Request) -> web.Response:
    """Go on where it stopped; also for those who may connect under its name."""
    who = caller(request)
    found = await _named(request, who)
    who.check_reader(found)
    return await _shown(request, who, await subscriptions.resume(request.app[CONTEXT], found))


@routes.delete(ONE)
async def delete_subscription(request: web.Request) -> web.Response:
    """Forget a subscription that nobody reads: nothing is kept for it any more."""
    found = await _named(request, admin(request))
    await subscriptions.delete(request.app[CONTEXT], found)
    return web.Response(status=204)


async def _named(request: web.Request, who: Caller) -> Subscription:
    context = request.app[CONTEXT]
    channel = readable_channel(context, who, request.match_info["name"])
    return await subscriptions.find(context, channel.name, request.match_info["subscription"])


async def _shown(request: web.Request, who: Caller, subscription: Subscription) -> web.Response:
    context = request.app[CONTEXT]
    status = await subscriptions.status_of(context, subscription)
    return answer(views.for_caller(who, views.subscription_rules(context, status)))
