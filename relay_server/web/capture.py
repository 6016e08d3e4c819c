"""A request's head as it is kept: raw, but for what is not the sender's to pass on. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from relay_http.addresses import Network, is_inside
from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_BYTES
from relay_protocol.values import HOP_BY_HOP, HeaderList
from relay_server.auth import TOKEN_PREFIX

RawHeaders = Sequence[tuple[bytes, bytes]]

OUR_FIELDS = b"relay-"
FORWARDED_FOR = b"x-forwarded-for"
LISTS = frozenset({FORWARDED_FOR, b"connection"})  # each line adds to those before it

# The sender's own id of a delivery, the first that is there: Chatwoot, Standard Webhooks, Svix,
# GitHub, and the IETF draft for everyone else.
DELIVERY_ID_FIELDS = (
    b"x-chatwoot-delivery",
    b"webhook-id",
    b"svix-id",
    b"x-github-delivery",
    b"idempotency-key",
)
_PREFIX = TOKEN_PREFIX.encode()


class BadTarget(RelayError):
    """The request's target is not one that could be replayed."""

    code = "bad_request"
    status_hint = 400


class HeadTooLarge(RelayError):
    """All header fields together are too large."""

    code = "headers_too_large"
    status_hint = 431
    message = f"the header fields are too many, or larger than {MAX_HEAD_BYTES} bytes together"


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head, read before its body.

    Attributes:
        target: Path and query, without the relay's own token.
        headers: Without hop-by-hop fields, the relay's own secrets and `Relay-*`.
        shown: Secrets that it carried, wherever.
        fields: All fields by lower-case name, the last of each, without the spaces around it;
            X-Forwarded-For and Connection whole.
    """

    target: str
    headers: HeaderList
    shown: tuple[bytes, ...]
    fields: dict[bytes, bytes]

    @property
    def delivery_id(self) -> str | None:
        """The sender's own id of this delivery, if it names one."""
        for name in DELIVERY_ID_FIELDS:
            if value := self.fields.get(name):
                return value.decode("latin-1")
        return None


def read_head(raw_target: str, raw_headers: RawHeaders) -> Head:
    """Take from a request what is kept, and what lets it in.

    Raises:
        BadTarget: The target is not valid UTF-8, or no path.
        HeadTooLarge: The header fields are too large together.
    """
    target, shown = _split_token(_checked(origin_form(raw_target)))
    fields = {name.lower(): value.strip() for name, value in raw_headers}
    if len(fields) < len(raw_headers):  # some are repeated: proxies add lines of their own
        for repeated in LISTS & fields.keys():
            lines = [value for name, value in raw_headers if name.lower() == repeated]
            fields[repeated] = b",".join(lines)
    dropped = HOP_BY_HOP
    if connection := fields.get(b"connection"):
        dropped = dropped.union(part.strip().lower() for part in connection.split(b","))
    kept = []
    size = 0
    for name, value in raw_headers:
        size += len(name) + len(value)
        lower = name.lower()
        if lower in dropped or lower.startswith(OUR_FIELDS):
            continue
        if lower == b"authorization":
            parts = _authorization(value)
            shown.append(parts[-1])
            if any(_PREFIX in part for part in parts):
                continue
        elif _PREFIX in value:
            continue  # a proxy's copy of the URL, or a Referer: our token is in it
        kept.append((name, value))
    if size > MAX_HEAD_BYTES:
        raise HeadTooLarge
    return Head(target, tuple(kept), tuple(secret for secret in shown if secret), fields)


def origin_form(raw: str) -> str:
    """Path and query of a target, which may be absolute (RFC 9112 §3.2.2)."""
    if raw.startswith("/") or not raw.lower().startswith(("http://", "https://")):
        return raw
    rest = raw.split("://", 1)[1]
    cut = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    return rest[cut:] if rest[cut : cut + 1] == "/" else f"/{rest[cut:]}"


def split_channel(target: str, default: str) -> tuple[str, str]:
    """The channel that a target names, and what its subscribers see: of `/c/{channel}/…` the rest.

    Any other target is for the default channel, and seen whole.
    """
    if not target.startswith("/c/"):
        return default, target
    path, mark, query = target.removeprefix("/c/").partition("?")
    channel, _, rest = path.partition("/")
    return channel, f"/{rest}{mark}{query}"


def sender_address(peer: str, head: Head, proxies: Sequence[Network]) -> tuple[str, str | None]:
    """Who really sent it, and by which scheme, if a proxy names one that is known.

    Forwarded fields count from known proxies only.
    """
    if not is_inside(peer, proxies):
        return peer, None
    scheme = head.fields.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
    address = address_behind(peer, head.fields.get(FORWARDED_FOR, b""), proxies)
    return address, scheme if scheme in ("http", "https") else None


def address_behind(peer: str, forwarded_for: bytes, proxies: Sequence[Network]) -> str:
    """Who is behind the proxies that are known: the last hop that is none of them."""
    address = peer
    hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",")]
    hops = [hop for hop in hops if hop]
    while hops and is_inside(address, proxies):
        address = hops.pop()
    return address


def _checked(raw: str) -> str:
    try:
        raw.encode()
    except UnicodeEncodeError as exc:
        raise BadTarget("the request's path is not valid UTF-8") from exc
    if not raw.startswith("/"):
        raise BadTarget("the request's target is no path")
    return raw


def _split_token(target: str) -> tuple[str, list[bytes]]:
    """Take `token=…` out of a query, if it is one of ours; the rest stays as it was written."""
    path, mark, query = target.partition("?")
    if "token" not in query and "%" not in query:
        return target, []
    kept, shown = [], []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        secret = unquote_to_bytes(value) if unquote_to_bytes(name) == b"token" else b""
        shown.append(secret)
        if not secret.startswith(_PREFIX):
            kept.append(pair)
    rest = "&".join(kept)
    return (f"{path}{mark}{rest}" if kept else path), shown


def _authorization(value: bytes) -> tuple[bytes, ...]:
    """All that a secret may be in; the last is what lets in: a bearer token, or Basic's password.

    A token in the wrong place lets nobody in, and is a token nevertheless.
    """
    scheme, _, rest = value.strip().partition(b" ")
    rest = rest.strip()
    match scheme.lower():
        case b"bearer":
            return (rest,)
        case b"basic":
            try:
                user, _, password = base64.b64decode(rest, validate=True).partition(b":")
            except binascii.Error:
                return (rest, b"")
            return (user, password)
        case _:
            return (scheme, rest, b"")
