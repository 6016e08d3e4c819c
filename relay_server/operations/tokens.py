"""Tokens made and listed; revoking one is the store's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from relay_server.auth import digest, new_secret
from relay_server.channels import CANARY_PREFIX, check_name
from relay_server.errors import ChannelNotFound, InvalidValue
from relay_server.operations import Parts
from relay_server.values import Scope, Token


def listed(parts: Parts) -> list[Token]:
    """The tokens that somebody made, by name; those of canaries are nobody's business."""
    found = parts.store.catalog.tokens.values()
    mine = [token for token in found if not token.name.startswith(CANARY_PREFIX)]
    return sorted(mine, key=lambda token: token.name)


async def create(
    parts: Parts, name: str, scopes: Collection[Scope], channels: Collection[str] | None
) -> tuple[Token, str]:
    """Make a token that is good for some channels, or for all.

    Returns:
        It, and its secret, which is kept nowhere.
    """
    if not scopes:
        raise InvalidValue("a token needs at least one scope: send, subscribe or admin")
    if Scope.ADMIN in scopes and channels is not None:
        raise InvalidValue("the scope admin is good for every channel: name none with it")
    for channel in channels or ():
        if channel not in parts.store.catalog.channels:
            raise ChannelNotFound(channel)
    return await keep(parts, check_name(name), scopes, channels)


async def keep(
    parts: Parts, name: str, scopes: Iterable[Scope], channels: Iterable[str] | None
) -> tuple[Token, str]:
    """Keep a new token's digest, whatever its name."""
    secret = new_secret()
    allowed = None if channels is None else frozenset(channels)
    made_at = parts.clock.unix_ms()
    token = Token(name, digest(secret.encode()), frozenset(scopes), allowed, made_at)
    await parts.store.create_token(token)
    return token, secret
