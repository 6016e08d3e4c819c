"""The JSON API behind the commands: by token on the public port, by file mode on the host."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from relay_protocol.limits import MAX_BODY_BYTES
from relay_server.auth import digest, new_secret
from relay_server.channels import check_config, check_new_name
from relay_server.errors import (
    ChannelNotFound,
    EventNotFound,
    Forbidden,
    InvalidValue,
    SubscriptionConnected,
    SubscriptionNotFound,
)
from relay_server.values import Channel, ChannelConfig, HmacAuth, Scope, SenderKind, Token
from relay_server.web import views
from relay_server.web.access import ON_HOST, Caller, admin, caller, readable_channel
from relay_server.web.context import CONTEXT, Context

V = TypeVar("V")

MAX_LISTED = 500
MAX_REQUEST_BYTES = 65_536
HMAC_SCHEMES = ("chatwoot",)

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
    rate_per_s: float | msgspec.UnsetType | None = msgspec.UNSET


class TokenFields(msgspec.Struct, forbid_unknown_fields=True):
    """What makes a token."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


class BackupFields(msgspec.Struct, forbid_unknown_fields=True):
    """Where a backup goes."""

    file: str


@routes.get("/api/v1/whoami")
async def whoami(request: web.Request) -> web.Response:
    """Who the bearer of this token is."""
    token = caller(request).token
    who = views.token(token) if token else views.SOMEBODY_ON_HOST
    return answer(who | {"server_version": views.VERSION})


@routes.get("/api/v1/status")
async def status(request: web.Request) -> web.Response:
    """How channels and subscriptions are doing, as far as the caller may know."""
    context, who = request.app[CONTEXT], caller(request)
    visible = {c.name for c in _visible(context, who)}
    subscriptions = await context.store.subscription_status()
    report: dict[str, Any] = {
        "version": views.VERSION,
        "public_url": context.settings.url,
        "uptime_s": round(context.clock.monotonic() - context.started_at),
        "store": {"taking": context.space.taking},
        "channels": [
            {"name": s.channel, "events": s.events, "last_received_at": s.last_received_at}
            for s in await context.store.channel_status()
            if s.channel in visible
        ],
        "subscriptions": [
            views.subscription(context, s)
            for s in subscriptions
            if s.subscription.channel in visible
        ],
    }
    if who.admin:
        report["store"]["reason"] = context.space.reason
        report["connections"] = context.hub.connections
        report["settings"] = views.settings(context)
    return answer(report)


@routes.get("/api/v1/channels")
async def list_channels(request: web.Request) -> web.Response:
    """The channels that the caller may read."""
    context = request.app[CONTEXT]
    found = _visible(context, caller(request))
    return answer({"channels": [views.channel(context, channel) for channel in found]})


@routes.post("/api/v1/channels")
async def create_channel(request: web.Request) -> web.Response:
    """Make a channel."""
    admin(request)
    context, fields = request.app[CONTEXT], await read(request, ChannelFields)
    if fields.name is msgspec.UNSET:
        raise InvalidValue("a channel needs a name")
    config = _configure(context, ChannelConfig(), fields)
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
    config = _configure(context, channel.config, fields)
    return answer(views.channel(context, await context.store.set_channel(channel.name, config)))


@routes.delete("/api/v1/channels/{name}")
async def delete_channel(request: web.Request) -> web.Response:
    """Delete a channel with all that is in it."""
    who, context = admin(request), request.app[CONTEXT]
    channel = readable_channel(request, who, request.match_info["name"])
    if channel.name == context.settings.default_channel:
        raise InvalidValue("the default channel stays: /webhook leads to it")
    context.hub.close_channel(channel.number)
    await context.store.delete_channel(channel.name)
    context.rates.forget(channel.number)
    return web.Response(status=204)


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


@routes.get("/api/v1/tokens")
async def list_tokens(request: web.Request) -> web.Response:
    """The tokens there are; never their secrets."""
    admin(request)
    tokens = request.app[CONTEXT].store.catalog.tokens.values()
    shown = sorted((t for t in tokens if not views.is_canary(t)), key=lambda t: t.name)
    return answer({"tokens": [views.token(token) for token in shown]})


@routes.post("/api/v1/tokens")
async def create_token(request: web.Request) -> web.Response:
    """Make a token; its secret is in this answer and nowhere else."""
    admin(request)
    context, fields = request.app[CONTEXT], await read(request, TokenFields)
    if not fields.scopes:
        raise InvalidValue("a token needs at least one scope: send, subscribe or admin")
    for name in fields.channels or ():
        if name not in context.store.catalog.channels:
            raise ChannelNotFound(name)
    secret = await make_token(context, check_new_name(fields.name), fields.scopes, fields.channels)
    token = context.store.catalog.tokens[digest(secret.encode())]
    return answer(views.token(token) | {"token": secret}, status=201)


@routes.delete("/api/v1/tokens/{name}")
async def revoke_token(request: web.Request) -> web.Response:
    """Revoke a token; its connections are closed."""
    admin(request)
    context, name = request.app[CONTEXT], request.match_info["name"]
    await context.store.revoke_token(name)
    context.hub.revoke(name)
    return web.Response(status=204)


@routes.get("/api/v1/events")
async def list_events(request: web.Request) -> web.Response:
    """The newest events of a channel, and what became of each."""
    context, who = request.app[CONTEXT], caller(request)
    name = request.query.get("channel", context.settings.default_channel)
    channel = readable_channel(request, who, name)
    limit = _number(request, "limit", 50)
    before = _number(request, "before", 0) or None
    found = await context.store.list_events(channel.number, before, min(limit, MAX_LISTED))
    deliveries = await context.store.deliveries(channel.number, [e.sequence for e in found])
    lines = [views.summary(channel, e, d) for e, d in zip(found, deliveries, strict=True)]
    return answer({"events": lines})


@routes.get("/api/v1/events/{id}")
async def show_event(request: web.Request) -> web.Response:
    """One event, whole."""
    context, who = request.app[CONTEXT], caller(request)
    id_ = request.match_info["id"]
    event = await context.store.find_event(id_)
    channels = context.store.catalog.channels.values()
    channel = next((c for c in channels if event and c.number == event.channel), None)
    if event is None or channel is None or not who.may_read(channel):
        raise EventNotFound(id_)
    deliveries = await context.store.deliveries(channel.number, [event.head.sequence])
    return answer(views.event(channel, event, deliveries[0]))


@routes.post("/api/v1/backup")
async def backup(request: web.Request) -> web.Response:
    """Write a copy of the store to a file on this host."""
    if not request.app.get(ON_HOST, False):
        raise Forbidden("a backup is made on the host itself, with relay-server backup")
    fields = await read(request, BackupFields)
    await request.app[CONTEXT].store.backup(Path(fields.file))
    return answer(
        {
            "file": fields.file,
        },
        status=201,
    )


async def read(request: web.Request, fields: type[V]) -> V:
    """Read a request's JSON body.

    Raises:
        InvalidValue: It is not what is expected; the message says where.
    """
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MAX_REQUEST_BYTES:
            raise InvalidValue(f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValue(str(exc)) from exc


def answer(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json"
    )


async def make_token(
    context: Context, name: str, scopes: Iterable[Scope], channels: Iterable[str] | None
) -> str:
    """Keep a new token's digest, and return its secret."""
    secret = new_secret()
    allowed = None if channels is None else frozenset(channels)
    made_at = context.clock.unix_ms()
    token = Token(name, digest(secret.encode()), frozenset(scopes), allowed, made_at)
    await context.store.create_token(token)
    return secret


def _configure(context: Context, config: ChannelConfig, fields: ChannelFields) -> ChannelConfig:
    """A channel's configuration with what a request sets of it."""
    simple = ("sender", "token", "key_pointer", "max_body_bytes", "retention_days", "rate_per_s")
    changes: dict[str, Any] = {
        name: value for name in simple if (value := getattr(fields, name)) is not msgspec.UNSET
    }
    if fields.allow_from is not msgspec.UNSET:
        changes["allow_from"] = tuple(fields.allow_from)
    changes["hmac"] = _configure_hmac(context, config.hmac, fields)
    limit = changes.get("max_body_bytes")
    if limit is not None and not 0 < limit <= MAX_BODY_BYTES:
        raise InvalidValue(f"a body is limited to 1 to {MAX_BODY_BYTES} bytes")
    return check_config(msgspec.structs.replace(config, **changes))


def _configure_hmac(
    context: Context, current: HmacAuth | None, fields: ChannelFields
) -> HmacAuth | None:
    scheme = fields.hmac_scheme or (current.scheme if current else "chatwoot")
    if scheme not in HMAC_SCHEMES:
        raise InvalidValue(f"{scheme!r} is no signature scheme; there is {HMAC_SCHEMES[0]}")
    secrets = current.secrets if current else ()
    if fields.hmac_secrets is not msgspec.UNSET:
        given = [secret.strip() for secret in fields.hmac_secrets]
        if not all(given):
            raise InvalidValue("an HMAC secret is empty")
        secrets = tuple(context.sealer.seal(secret.encode()) for secret in given)
    log_only = fields.hmac_log_only or False
    if fields.hmac_log_only is msgspec.UNSET:
        log_only = current.log_only if current else False
    return HmacAuth(scheme, secrets, log_only) if secrets else None


def _visible(context: Context, who: Caller) -> list[Channel]:
    """Channels that the caller may read, by name; canaries are nobody's business."""
    found = context.store.catalog.channels.values()
    mine = [c for c in found if who.may_read(c) and not c.config.owner]
    return sorted(mine, key=lambda channel: channel.name)


def _number(request: web.Request, name: str, default: int) -> int:
    value = request.query.get(name, "")
    if not value:
        return default
    if not value.isascii() or not value.isdecimal() or len(value) > 15:
        raise InvalidValue(f"{name} is no number")
    return int(value)
