"""Channels and their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from relay_protocol.limits import MAX_BODY_BYTES
from relay_server.channels import check_config, check_new_name
from relay_server.configs import ChannelConfig, HmacAuth, SenderKind
from relay_server.errors import InvalidValue
from relay_server.web import views
from relay_server.web.access import admin, caller, readable_channel, visible_channels
from relay_server.web.api.exchange import answer, read
from relay_server.web.api.policies import PolicyFields
from relay_server.web.api.policies import changed as changed_policy
from relay_server.web.context import CONTEXT, Context

HMAC_SCHEMES = ("chatwoot",)
SIMPLE = (
    "sender",
    "token",
    "key_pointer",
    "max_body_bytes",
    "retention_days",
    "dead_days",
    "max_bytes",
    "drop_oldest",
    "rate_per_s",
)

routes = web.RouteTableDef()


class ChannelFields(msgspec.Struct, forbid_unknown_fields=True):
    """What a request may set of a channel; what is unset stays as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    sender: SenderKind | msgspec.UnsetType = msgspec.UNSET
    token: bool | msgspec.UnsetType = msgspec.UNSET
    hmac_scheme: str | msgspec.UnsetType = msgspec.UNSET
    hmac_secrets: list[str] | msgspec.UnsetType = msgspec.UNSET
    hmac_log_only: bool | msgspec.UnsetType = msgspec.UNSET
    allow_from: list[str] | msgspec.UnsetType = msgspec.UNSET
    key_pointer: str | msgspec.UnsetType = msgspec.UNSET
    max_body_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    retention_days: float | msgspec.UnsetType = msgspec.UNSET
    dead_days: float | msgspec.UnsetType = msgspec.UNSET
    max_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    drop_oldest: bool | msgspec.UnsetType = msgspec.UNSET
    rate_per_s: float | msgspec.UnsetType | None = msgspec.UNSET
    policy: PolicyFields | msgspec.UnsetType = msgspec.UNSET


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
    context, fields = request.app[CONTEXT], await read(request, ChannelFields)
    if fields.name is msgspec.UNSET:
        raise InvalidValue("a channel needs a name")
    config = _change(context, fields)(ChannelConfig())
    name = check_new_name(fields.name)
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
    fields = await read(request, ChannelFields)
    channel = readable_channel(request, who, request.match_info["name"])
    if fields.name not in (msgspec.UNSET, channel.name):
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


def _change(context: Context, fields: ChannelFields) -> Callable[[ChannelConfig], ChannelConfig]:
    """What a request changes, whatever a channel is set to by then."""
    sealed = _seal(context, fields)
    return lambda config: _configure(config, fields, sealed)


def _seal(context: Context, fields: ChannelFields) -> tuple[bytes, ...] | None:
    """The secrets that a request sets; None where it leaves them as they are."""
    if fields.hmac_secrets is msgspec.UNSET:
        return None
    given = [secret.strip() for secret in fields.hmac_secrets]
    if not all(given):
        raise InvalidValue("an HMAC secret is empty")
    return tuple(context.sealer.seal(secret.encode()) for secret in given)


def _configure(
    config: ChannelConfig, fields: ChannelFields, sealed: tuple[bytes, ...] | None
) -> ChannelConfig:
    """A channel's configuration with what a request sets of it."""
    changes: dict[str, Any] = {
        name: value for name in SIMPLE if (value := getattr(fields, name)) is not msgspec.UNSET
    }
    if fields.allow_from is not msgspec.UNSET:
        changes["allow_from"] = tuple(fields.allow_from)
    if fields.policy is not msgspec.UNSET:
        changes["policy"] = changed_policy(config.policy, fields.policy)
    changes["hmac"] = _configure_hmac(config.hmac, fields, sealed)
    limit = changes.get("max_body_bytes")
    if limit is not None and not 0 < limit <= MAX_BODY_BYTES:
        raise InvalidValue(f"a body is limited to 1 to {MAX_BODY_BYTES} bytes")
    return check_config(msgspec.structs.replace(config, **changes))


def _configure_hmac(
    current: HmacAuth | None, fields: ChannelFields, sealed: tuple[bytes, ...] | None
) -> HmacAuth | None:
    scheme = fields.hmac_scheme or (current.scheme if current else "chatwoot")
    if scheme not in HMAC_SCHEMES:
        raise InvalidValue(f"{scheme!r} is no signature scheme; there is {HMAC_SCHEMES[0]}")
    secrets = current.secrets if current else ()
    if sealed is not None:
        secrets = sealed
    log_only = fields.hmac_log_only or False
    if fields.hmac_log_only is msgspec.UNSET:
        log_only = current.log_only if current else False
    return HmacAuth(scheme, secrets, log_only) if secrets else None
