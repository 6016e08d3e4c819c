"""Tokens made, listed and revoked."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from relay_server.auth import digest, new_secret
from relay_server.channels import CANARY_PREFIX, check_name
from relay_server.errors import ChannelNotFound, InvalidValue
from relay_server.operations import Caller, ForAdmins, JsonObject
from relay_server.values import Scope, Token


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to be made; good for every channel where none is named."""

    name: str
    scopes: list[Scope]
    channels: list[str] | None = None


@ForAdmins
async def listed(who: Caller) -> JsonObject:
    """The tokens that somebody made, by name; those of canaries are nobody's business."""
    found = sorted(who.store.catalog.tokens.values(), key=lambda token: token.name)
    return {"tokens": [view(one) for one in found if not one.name.startswith(CANARY_PREFIX)]}


@ForAdmins
async def create(who: Caller, new: NewToken) -> JsonObject:
    """Make a token; its secret is in this answer and nowhere else."""
    if not new.scopes:
        raise InvalidValue("a token needs at least one scope: send, subscribe or admin")
    if Scope.ADMIN in new.scopes and new.channels is not None:
        raise InvalidValue("the scope admin is good for every channel: name none with it")
    for channel in new.channels or ():
        if channel not in who.store.catalog.channels:
            raise ChannelNotFound(channel)
    token, secret = await keep(who, check_name(new.name), new.scopes, new.channels)
    return view(token) | {"token": secret}


@ForAdmins
async def revoke(who: Caller, name: str) -> None:
    """Revoke a token; its connections are closed."""
    await who.store.revoke_token(name)


async def keep(
    who: Caller, name: str, scopes: Iterable[Scope], channels: Iterable[str] | None
) -> tuple[Token, str]:
    """Keep a new token's digest, whatever its name; give it and its secret, which nothing keeps."""
    secret = new_secret()
    allowed = None if channels is None else frozenset(channels)
    token = Token(name, digest(secret.encode()), frozenset(scopes), allowed, who.now())
    await who.store.create_token(token)
    return token, secret


def view(token: Token) -> JsonObject:
    """A token, without its secret."""
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "channels": None if token.channels is None else sorted(token.channels),
        "created_at": token.created_at,
    }
