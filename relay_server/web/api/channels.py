"""Channels and their rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from relay_server.channels import check_new_name
from relay_server.configs import HMAC_SCHEMES, ChannelConfig, HmacAuth, Policy, check
from relay_server.errors import InvalidValue
from relay_server.web import views
from relay_server.web.access import admin, caller, readable_channel, visible_channels
from relay_server.web.api.exchange import answer, fields_of, given, read
from relay_server.web.api.policies import PolicyFields
from relay_server.web.context import CONTEXT, Context

routes = web.RouteTableDef()


ChannelFields = fields_of(ChannelConfig, name=str, policy=PolicyFields)


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
    context, fields = request.app[CONTEXT], given(await read(request, ChannelFields))
    name = fields.pop("name", None)
    if name is None:
        raise InvalidValue("a channel needs a name")
    config = _change(context, fields)(ChannelConfig())
    check_new_name(name)
    channel = await context.store.create_channel(name, config, context.clock.unix_ms())
    return answer(views.channel(context, channel), status=201)


@routes.get("/api/v1/channels/{name}")
async def show_channel(request: web.Request) -> web.Response:
    """One channel."""
    channel = readable_channel(request, caller(request), request.match_info["name"])
    return answer(views.channel(request.app[CONTEXT], channel))


@routes.patch("/api/v1/channels/{name}")
async def set_channel(request: web.Request) -> web.Response:
    """Change a channel."""
    who, context = admin(request), request.app[CONTEXT]
    fields = given(await read(request, ChannelFields))
    channel = readable_channel(request, who, request.match_info["name"])
    if fields.pop("name", channel.name) != channel.name:
        raise InvalidValue("a channel keeps its name: its URL would change")
    change = _change(context, fields)
    changed = await context.store.change_channel(channel.name, change)
    return answer(views.channel(context, changed))


@routes.delete("/api/v1/channels/{name}")
async def delete_channel(request: web.Request) -> web.Response:
    """Delete a channel with all that is in it."""
    who, context = admin(request), request.app[CONTEXT]
    channel = readable_channel(request, who, request.match_info["name"])
    if channel.name == context.settings.default_channel:
        raise InvalidValue("the default channel stays: /webhook leads to it")
    await context.store.delete_channel(channel.name)
    return web.Response(status=204)


def _change(
    context: Context, fields: Mapping[str, Any]
) -> Callable[[ChannelConfig], ChannelConfig]:
    """What a request changes, whatever a channel is set to by then."""
    policy, changes = fields.get("policy", {}), dict(fields)
    check(ChannelConfig, changes)
    check(Policy, policy)
    hmac = {n.removeprefix("hmac_"): changes.pop(n) for n in fields if n.startswith("hmac_")}
    if "secrets" in hmac:
        given = [secret.strip().encode() for secret in hmac["secrets"]]
        hmac["secrets"] = tuple(map(context.sealer.seal, given))

    def change(config: ChannelConfig) -> ChannelConfig:
        changes["policy"] = msgspec.structs.replace(config.policy, **policy)
        changes["hmac"] = _signed(config.hmac, hmac)
        return msgspec.structs.replace(config, **changes)

    return change


def _signed(current: HmacAuth | None, changes: Mapping[str, Any]) -> HmacAuth | None:
    """Without a secret there is no signature to ask for."""
    auth = msgspec.structs.replace(current or HmacAuth(HMAC_SCHEMES[0], ()), **changes)
    return auth if auth.secrets else None
