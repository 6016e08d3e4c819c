"""Channels, people and their tokens, invitations, forwards, sessions, and the server itself."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations.channels import (
    NewToken,
    create_token,
    list_channels,
    list_tokens,
    revoke_token,
)
from relay_server.operations.forwards import list_forwards
from relay_server.operations.invitations import (
    NewInvitation,
    create_invitation,
    list_invitations,
    revoke_invitation,
)
from relay_server.operations.server import status
from relay_server.operations.sessions import end_session, list_sessions, session_id
from relay_server.values import Scope
from relay_terminal.words import _


async def setup(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /setup`."""
    return await _shown(request, visitor)


async def make_token(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/tokens`: make one; its secret is shown this once."""
    if fields.get("scope") not in set(Scope):
        raise InvalidValue(_("a token's scope is one of {scopes}").format(scopes=", ".join(Scope)))
    channel = fields.get("channel", "")
    new = NewToken(fields.get("name", ""), [Scope(fields["scope"])], [channel] if channel else None)
    return await _shown(request, visitor, token=await create_token(visitor.who, new))


async def invite(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/invitations`: make one; its line to send is shown this once."""
    new = NewInvitation(fields.get("name", ""), [fields.get("channel", "")])
    return await _shown(request, visitor, invitation=await create_invitation(visitor.who, new))


async def end(request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
    """`POST /setup/{what}/{name}/end`: revoke a token or an invitation, or log a browser out."""
    name = request.match_info["name"]
    match request.match_info["what"]:
        case "tokens":
            await revoke_token(visitor.who, name)
        case "invitations":
            await revoke_invitation(visitor.who, name)
        case _:
            await end_session(visitor.who, name)
    return see("/setup")


async def _shown(request: web.Request, visitor: Visitor, **made: object) -> web.Response:
    who = visitor.who
    values: dict[str, Any] = {"token": None, "invitation": None, **made}
    if who.admin:
        values["tokens"] = (await list_tokens(who)).tokens
        values["invitations"] = (await list_invitations(who)).invitations
        values["forwards"] = (await list_forwards(who)).forwards
    return render(
        request,
        "setup.html",
        visitor=visitor,
        channels=(await list_channels(who)).channels,
        sessions=(await list_sessions(who)).sessions,
        this_session=session_id(visitor.session.digest),
        server=await status(who),
        scopes=[str(scope) for scope in Scope],
        **values,
    )


routes = [
    web.get("/setup", page(setup)),
    web.post("/setup/tokens", form(make_token)),
    web.post("/setup/invitations", form(invite)),
    web.post("/setup/{what:tokens|invitations|sessions}/{name}/end", form(end)),
]
