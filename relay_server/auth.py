"""Who may do what: tokens, scopes and addresses. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from ipaddress import ip_network

from relay_http.addresses import is_inside
from relay_protocol.tokens import TOKEN_PREFIX
from relay_server.channels import CANARY_PREFIX
from relay_server.errors import Unauthorized
from relay_server.values import Catalog, Channel, Scope, Token

ADDRESS_NOT_ALLOWED = "the sender's address is not allowed"


def new_secret() -> str:
    """Make the secret of a token: 256 bits of randomness, so a plain digest guards it."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest(secret: bytes) -> bytes:
    """What is kept of a token's secret."""
    return hashlib.sha256(secret).digest()


def find_token(catalog: Catalog, secret: bytes) -> Token | None:
    """The token of a secret, if there is one. Looked up by digest: nothing to time."""
    return catalog.tokens.get(digest(secret))


def lets_nobody_send(catalog: Catalog) -> bool:
    """True where each channel asks for a token, and there is none; those of canaries aside."""
    channels = [c for c in catalog.channels.values() if not c.config.owner]
    tokens = [t for t in catalog.tokens.values() if not t.name.startswith(CANARY_PREFIX)]
    return not tokens and all(channel.config.token for channel in channels)


def allows(token: Token, scope: Scope, channel: Channel) -> bool:
    """Whether a token lets its bearer do something with a channel."""
    if channel.config.owner and scope is Scope.SUBSCRIBE:
        return channel.config.owner == token.name
    if scope in token.scopes and (token.channels is None or channel.name in token.channels):
        return True
    return Scope.ADMIN in token.scopes


def check_sender(
    channel: Channel, catalog: Catalog, shown: Sequence[bytes], address: str
) -> Token | None:
    """Which token lets who showed these secrets post here, whatever the body; None if none need.

    Raises:
        Unauthorized: They may not.
    """
    config = channel.config
    if config.allow_from and not is_inside(address, tuple(map(ip_network, config.allow_from))):
        raise Unauthorized(ADDRESS_NOT_ALLOWED)
    return check_token(channel, catalog, shown) if config.token else None


def check_token(channel: Channel, catalog: Catalog, shown: Sequence[bytes]) -> Token:
    """The token among these secrets that may post here; raise `Unauthorized` without one."""
    if not shown:
        raise Unauthorized("no token")
    known = False
    for secret in shown:
        if (token := find_token(catalog, secret)) is not None:
            if allows(token, Scope.SEND, channel):
                return token
            known = True
    reason = "the token is not for sending to this channel" if known else "unknown token"
    raise Unauthorized(reason)
