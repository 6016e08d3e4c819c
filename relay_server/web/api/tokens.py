"""Tokens: who may send, read and administer."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay_server.auth import digest, new_secret
from relay_server.channels import check_new_name
from relay_server.errors import ChannelNotFound, InvalidValue
from relay_server.values import Scope, Token
from relay_server.web import views
from relay_server.web.access import admin
from relay_server.web.api.exchange import answer, read
from relay_server.web.context import CONTEXT, Context

routes = web.RouteTableDef()


class TokenFields(msgspec.Struct, forbid_unknown_fields=True):
    """What makes a token."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


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
    if Scope.ADMIN in fields.scopes and fields.channels is not None:
        raise InvalidValue("the scope admin is good for every channel: name none with it")
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
    return web.Response(status=204)


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
