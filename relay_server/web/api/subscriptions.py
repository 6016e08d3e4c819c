"""Subscriptions of a channel: how each delivers, paused or not."""

from __future__ import annotations

import msgspec
from aiohttp import web

from relay_server.configs import SubscriptionConfig
from relay_server.errors import (
    Forbidden,
    InvalidValue,
    SubscriptionConnected,
    SubscriptionNotFound,
)
from relay_server.values import Subscription
from relay_server.web import views
from relay_server.web.access import Caller, admin, caller, readable_channel
from relay_server.web.api.exchange import answer, fields_of, given, read
from relay_server.web.api.policies import PolicyChangeFields, overridden
from relay_server.web.context import CONTEXT, Context

BY_HAND = "paused by hand"
ONE = "/api/v1/channels/{name}/subscriptions/{subscription}"

routes = web.RouteTableDef()


SubscriptionFields = fields_of(SubscriptionConfig, policy=PolicyChangeFields | None)


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

        def change(config: SubscriptionConfig) -> SubscriptionConfig:
            policy = overridden(config.policy, fields["policy"])
            return msgspec.structs.replace(config, policy=policy)

        change(found.config)  # what is impossible is refused here, not in the store's thread
        found = await request.app[CONTEXT].store.change_subscription(found.number, change)
    return await _shown(request, who, found)


@routes.post(ONE + "/pause")
async def pause_subscription(request: web.Request) -> web.Response:
    """Deliver nothing until somebody resumes it."""
    who = admin(request)
    found = await _named(request, who)
    if not found.config.paused:
        found = await set_paused(request.app[CONTEXT], found, BY_HAND)
    return await _shown(request, who, found)


@routes.post(ONE + "/resume")
async def resume_subscription(request: web.Request) -> web.Response:
    """Go on where it stopped; also for those who may connect under its name."""
    who = caller(request)
    found = await _named(request, who)
    check_reader(who, found)
    return await _shown(request, who, await set_paused(request.app[CONTEXT], found, ""))


@routes.delete(ONE)
async def delete_subscription(request: web.Request) -> web.Response:
    """Forget a subscription that nobody reads: nothing is kept for it any more."""
    context, found = request.app[CONTEXT], await _named(request, admin(request))
    if found.config.forward is not None:
        raise InvalidValue(f"{found.name!r} is a forward: relay-server forward delete ends it")
    if context.hub.state(found.number).readers:
        raise SubscriptionConnected(found.name)
    await context.store.unsubscribe(found.number)
    return web.Response(status=204)


def check_reader(who: Caller, subscription: Subscription) -> None:
    """Let those pass who may connect under the subscription's name, to a channel they may read.

    Raises:
        Forbidden: The server itself reads it, and whoever asks is no administrator.
    """
    if subscription.config.forward is not None and not who.admin:
        raise Forbidden(f"{subscription.name!r} is a forward: this takes the scope admin")


async def find_subscription(context: Context, channel: str, name: str) -> Subscription:
    """A subscription by its name.

    Raises:
        SubscriptionNotFound: The channel has none of this name.
    """
    for subscription in await context.store.subscriptions(channel):
        if subscription.name == name:
            return subscription
    raise SubscriptionNotFound(channel, name)


async def set_paused(context: Context, subscription: Subscription, reason: str) -> Subscription:
    """Pause a subscription, or resume it with an empty reason; that holds at once."""

    def change(config: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(config, paused=reason)

    return await context.store.change_subscription(subscription.number, change)


async def _named(request: web.Request, who: Caller) -> Subscription:
    channel = readable_channel(request, who, request.match_info["name"])
    name = request.match_info["subscription"]
    return await find_subscription(request.app[CONTEXT], channel.name, name)


async def _shown(request: web.Request, who: Caller, subscription: Subscription) -> web.Response:
    context = request.app[CONTEXT]
    statuses = await context.store.subscription_status([subscription.number])
    if not statuses:
        raise SubscriptionNotFound(subscription.channel, subscription.name)
    shown = views.subscription_rules(context, statuses[0])
    return answer(shown if who.admin else views.for_readers(shown))
