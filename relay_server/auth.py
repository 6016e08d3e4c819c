"""Who may do what: tokens, scopes, signatures and addresses. Pure: the time is passed in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from relay_http.addresses import is_inside
from relay_server.channels import CANARY_PREFIX
from relay_server.errors import Unauthorized
from relay_server.values import Catalog, Channel, Scope, Token

ADDRESS_NOT_ALLOWED = "the sender's address is not allowed"
TOKEN_PREFIX = "rly_"  # noqa: S105  (what our tokens begin with, so that leaks are found)
# Of a signature's timestamp, either way; Chatwoot itself states none. Beyond: 401.
SIGNATURE_TOLERANCE_S = 300


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


def check_sender(channel: Channel, catalog: Catalog, shown: Sequence[bytes], address: str) -> None:
    """Raise `Unauthorized` unless who showed these secrets may post here, whatever the body."""
    config = channel.config
    if config.allow_from and not is_inside(address, tuple(map(ip_network, config.allow_from))):
        raise Unauthorized(ADDRESS_NOT_ALLOWED)
    if not config.token:
        return
    if not shown:
        raise Unauthorized("no token")
    known = False
    for secret in shown:
        if (token := find_token(catalog, secret)) is not None:
            if allows(token, Scope.SEND, channel):
                return
            known = True
    reason = "the token is not for sending to this channel" if known else "unknown token"
    raise Unauthorized(reason)


def check_chatwoot_signature(
    hmac_secrets: Iterable[bytes],
    signature: bytes | None,
    timestamp: bytes | None,
    body: bytes,
    now_s: float,
) -> None:
    """Check `X-Chatwoot-Signature`: HMAC-SHA256 over timestamp, dot, body. Or `Unauthorized`."""
    if signature is None or timestamp is None:
        raise Unauthorized("no signature")
    if not timestamp.isdigit() or len(timestamp) > 12:
        raise Unauthorized("the signature's timestamp is no time")
    if abs(now_s - int(timestamp)) > SIGNATURE_TOLERANCE_S:
        raise Unauthorized("the signature's timestamp is too far from now")
    given = signature.removeprefix(b"sha256=")
    made = [chatwoot_signature(secret, timestamp, body) for secret in hmac_secrets]
    if not any(hmac.compare_digest(one, given) for one in made):
        raise Unauthorized("the signature fits no secret")


def chatwoot_signature(secret: bytes, timestamp: bytes, body: bytes) -> bytes:
    """HMAC-SHA256 over timestamp, dot, body; in hex, and without `sha256=` before it."""
    return hmac.digest(secret, timestamp + b"." + body, "sha256").hex().encode()
