"""Tokens: who may send, read and administer."""

from __future__ import annotations

import msgspec
from aiohttp import web

from relay_server.operations import tokens
from relay_server.values import Scope
from relay_server.web import views
from relay_server.web.access import admin
from relay_server.web.api.requests import answer, read
from relay_server.web.context import CONTEXT

routes = web.RouteTableDef()


class TokenFields(msgspec.Struct, forbid_unknown_fields=True):
    """Fields of a request for a token."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


@routes.get("/api/v1/tokens")
async def list_tokens(request: web.Request) -> web.Response:
    """The tokens there are; never their secrets."""
    admin(request)
    return answer({"tokens": list(map(views.token, tokens.listed(request.app[CONTEXT])))})


@routes.post("/api/v1/tokens")
async def create_token(request: web.Request) -> web.Response:
    """Make a token; its secret is in this answer and nowhere else."""
    admin(request)
    context, fields = request.app[CONTEXT], await read(request, TokenFields)
    made, secret = await tokens.create(context, fields.name, fields.scopes, fields.channels)
    return answer(views.token(made) | {"token": secret}, status=201)


@routes.delete("/api/v1/tokens/{name}")
async def revoke_token(request: web.Request) -> web.Response:
    """Revoke a token; its connections are closed."""
    admin(request)
    await request.app[CONTEXT].store.revoke_token(request.match_info["name"])
    return web.Response(status=204)
