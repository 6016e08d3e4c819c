"""Forwards: subscriptions that the server itself reads, and posts to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import check_subscription_name
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.delivery.allow import Allowlist
from relay_server.delivery.push import check_forward
from relay_server.errors import (
    ForwardNotFound,
    InvalidValue,
    SubscriptionExists,
    SubscriptionNotFound,
)
from relay_server.values import Subscription
from relay_server.web import views
from relay_server.web.access import admin, readable_channel
from relay_server.web.api.exchange import answer, fields_of, given, read
from relay_server.web.api.subscriptions import BY_HAND, find_subscription, set_paused
from relay_server.web.context import CONTEXT, Context

DEFAULT_NAME = "forward"
ONE = "/api/v1/forwards/{channel}/{name}"

routes = web.RouteTableDef()


NewForward = fields_of(ForwardConfig, channel=str, name=str, since=int | None)
ForwardChange = fields_of(ForwardConfig, paused=bool)


@routes.get("/api/v1/forwards")
async def list_forwards(request: web.Request) -> web.Response:
    """Every forward, and how it is doing."""
    admin(request)
    context = request.app[CONTEXT]
    known = await context.store.subscription_status()
    found = [s for s in known if s.subscription.config.forward is not None]
    return answer({"forwards": [views.forward(context, status) for status in found]})


@routes.post("/api/v1/forwards")
async def create_forward(request: web.Request) -> web.Response:
    """Make a forward; a server that runs begins with it at once."""
    who = admin(request)
    context, fields = request.app[CONTEXT], given(await read(request, NewForward))
    if "url" not in fields:
        raise InvalidValue("a forward needs a url")
    since = fields.pop("since", None)  # Unix milliseconds; None for the next event
    if since is not None and not 0 <= since <= MAX_UNIX_MS:
        raise InvalidValue(f"{since} is no time")
    channel = readable_channel(request, who, fields.pop("channel", ""))
    name = check_subscription_name(fields.pop("name", DEFAULT_NAME))
    config = _configure(context, ForwardConfig(fields["url"]), fields)
    made, new = await context.store.subscribe(
        channel.name,
        name,
        since,
        context.clock.unix_ms(),
        SubscriptionConfig(forward=config),
    )
    if not new:
        raise SubscriptionExists(channel.name, name)
    return await _shown(context, made, status=201)


@routes.get(ONE)
async def show_forward(request: web.Request) -> web.Response:
    """One forward."""
    return await _shown(request.app[CONTEXT], await _named(request))


@routes.patch(ONE)
async def set_forward(request: web.Request) -> web.Response:
    """Change a forward, pause or resume it; that holds at once."""
    found = await _named(request)
    context, fields = request.app[CONTEXT], given(await read(request, ForwardChange))
    paused = fields.pop("paused", None)
    if fields:
        found = await _change(context, found, fields)
    if paused is not None:
        reason = (found.config.paused or BY_HAND) if paused else ""
        found = await set_paused(context, found, reason)
    return await _shown(context, found)


@routes.delete(ONE)
async def delete_forward(request: web.Request) -> web.Response:
    """End a forward, and forget what waits for it."""
    context, found = request.app[CONTEXT], await _named(request)
    await context.store.unsubscribe(found.number)
    return web.Response(status=204)


async def _change(context: Context, found: Subscription, fields: Mapping[str, Any]) -> Subscription:
    assert found.config.forward is not None
    config = _configure(context, found.config.forward, fields)

    def change(old: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(old, forward=config)

    return await context.store.change_subscription(found.number, change)


def _configure(context: Context, config: ForwardConfig, fields: Mapping[str, Any]) -> ForwardConfig:
    changes = dict(fields)
    if "headers" in changes:
        changes["headers"] = _sealed(context, changes["headers"])
    config = msgspec.structs.replace(config, **changes)
    allowed = Allowlist.of(context.settings.forward_allow)
    check_forward(config, allowed, context.sealer.open)
    return config


def _sealed(context: Context, headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, context.sealer.seal(value.encode())) for name, value in headers.items())


async def _named(request: web.Request) -> Subscription:
    admin(request)
    channel, name = request.match_info["channel"], request.match_info["name"]
    try:
        found = await find_subscription(request.app[CONTEXT], channel, name)
    except SubscriptionNotFound as exc:
        raise ForwardNotFound(channel, name) from exc
    if found.config.forward is None:
        raise ForwardNotFound(channel, name)
    return found


async def _shown(context: Context, subscription: Subscription, status: int = 200) -> web.Response:
    statuses = await context.store.subscription_status([subscription.number])
    if not statuses:
        raise ForwardNotFound(subscription.channel, subscription.name)
    return answer(views.forward(context, statuses[0]), status=status)
