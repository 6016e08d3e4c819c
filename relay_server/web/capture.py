"""A request's head as it is kept: raw, but for what is not the sender's to pass on. Pure.

Senders write the same names in the same order, again and again. So what becomes of each place is
settled when a head of such a *shape* first comes, and remembered: what goes whoever sends it
(hop-by-hop fields, `Relay-*`), and where the fields are that say something to the relay. Of each
later head only values are looked at: for our token, which is never kept, and for those fields.

Targets, and what senders show in `Authorization`, are few as well: one is read when it first comes,
and remembered for a while.
"""

from __future__ import annotations

import base64
import binascii
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from relay_http.addresses import Network, address_of, is_inside
from relay_http.outgoing import RequestRefused, check_request
from relay_protocol.errors import RelayError
from relay_protocol.tokens import TOKEN_PREFIX
from relay_protocol.values import HOP_BY_HOP, HeaderList

RawHeaders = Sequence[tuple[bytes, bytes]]

FORWARDED_FOR = b"x-forwarded-for"
# The sender's own id of a delivery, the first that is there: Chatwoot, Standard Webhooks, Svix,
# GitHub, Shopify, Twilio, and the IETF draft for everyone else, GitLab among them.
DELIVERY_ID_FIELDS = (
    b"x-chatwoot-delivery",
    b"webhook-id",
    b"svix-id",
    b"x-github-delivery",
    b"x-shopify-webhook-id",
    b"i-twilio-idempotency-token",
    b"idempotency-key",
)
OURS = b"relay-"  # what names begin with that we say ourselves
_LISTS = frozenset({FORWARDED_FOR, b"connection", b"transfer-encoding"})  # lines add to each other
_PREFIX = TOKEN_PREFIX.encode()
_NAMING_NO_FIELD = frozenset({b"", b"close", b"keep-alive"})  # what `Connection` mostly says

MAX_REMEMBERED = 128  # shapes of heads, and as many targets: the largest of both take 10 MiB
MAX_AUTHORIZATIONS = 32  # values of `Authorization` that are remembered: the largest take 4 MiB


class BadTarget(RelayError, code="bad_request", status=400):
    """The request's target is not one that could be replayed."""


class Target(msgspec.Struct, frozen=True):
    """What a request line is for."""

    channel: str  # the name that it says, which may be no channel's
    request_target: str  # path and query below the channel, without the relay's own token
    shown: tuple[bytes, ...]  # secrets that the query carried
    replayable: bool  # there are targets that are sent such a request


class Shape(msgspec.Struct, frozen=True):
    """What the names of header fields say.

    Attributes:
        places: By lower-case name.
        kept: Places of fields that stay; `Authorization` is judged by its value.
        pick: Takes those out of fields, or out of their values.
        authorizations: Places of `Authorization`.
        delivery_ids: Places of senders' own ids of a delivery, the one that counts first.
        is_odd: There are transfer codings, or two hosts.
    """

    places: Mapping[bytes, tuple[int, ...]]
    kept: tuple[int, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    authorizations: tuple[int, ...]
    delivery_ids: tuple[int, ...]
    is_odd: bool


class Head(msgspec.Struct, frozen=True):
    """A request's header fields."""

    headers: HeaderList  # without hop-by-hop fields, the relay's own secrets and `Relay-*`
    shown: tuple[bytes, ...]  # secrets that they carried
    shape: Shape
    _values: Sequence[bytes]

    def value(self, name: bytes) -> bytes:
        """What the fields of a name in lower case say: the last one; of a list all of them.

        Empty for none. Spaces around a value are no part of it (RFC 9112 §5).
        """
        places = self.shape.places.get(name)
        if places is None:
            return b""
        if name in _LISTS:
            return b",".join([self._values[place].strip() for place in places])
        return self._values[places[-1]].strip()

    def is_doubtful(self, version: str) -> bool:
        """True if another reader could see another request in it.

        That is one for two hosts (RFC 9112 §3.2), or with a transfer coding that would have to be
        undone, or that HTTP/1.0 does not have (§6.1).
        """
        if len(self.shape.places.get(b"host", ())) > 1:
            return True
        coding = b"transfer-encoding"
        if coding not in self.shape.places:
            return False
        return version == "1.0" or self.value(coding).lower() != b"chunked"

    @property
    def delivery_id(self) -> str | None:
        """The sender's own id of this delivery, if it names one."""
        for place in self.shape.delivery_ids:
            if value := self._values[place].strip():
                return value.decode("latin-1")
        return None


def read_head(raw: RawHeaders) -> Head:
    """Take from header fields what is kept, and what lets in."""
    names, values = zip(*raw, strict=True) if raw else ((), ())
    shape = shape_of(names)
    headers, shown = _kept(raw, values, shape)
    head = Head(headers, shown, shape, values)
    if b"connection" not in shape.places:
        return head
    named = {part.strip().lower() for part in head.value(b"connection").split(b",")}
    if named <= _NAMING_NO_FIELD:
        return head
    # What it names goes as well, and lets nobody in.
    named.add(b"connection")
    rest = read_head([field for field in raw if field[0].lower() not in named])
    return Head(rest.headers, rest.shown, shape, values)


def _kept(
    raw: RawHeaders, values: Sequence[bytes], shape: Shape
) -> tuple[HeaderList, tuple[bytes, ...]]:
    """The fields that are kept, and the secrets in them that may let in."""
    headers: HeaderList = shape.pick(raw)
    shown, foreign = tuple[bytes, ...](), tuple[int, ...]()
    for place in shape.authorizations:
        secret, is_ours = _authorization(values[place])
        if secret:
            shown = (*shown, secret)
        if not is_ours:
            foreign = (*foreign, place)
    if foreign:
        headers = tuple([raw[place] for place in sorted(shape.kept + foreign)])
    # A proxy's copy of the URL, or a Referer, may have our token in it: hardly ever, so all are
    # searched at once.
    if _PREFIX in b" ".join(shape.pick(values)):
        headers = tuple([field for field in headers if _PREFIX not in field[1]])
    return headers, shown


@functools.lru_cache(MAX_REMEMBERED)
def shape_of(names: tuple[bytes, ...]) -> Shape:
    """What these names say, in this order."""
    kept, places = [], dict[bytes, tuple[int, ...]]()
    for place, name in enumerate(names):
        lower = name.lower()
        places[lower] = (*places.get(lower, ()), place)
        if not (lower in HOP_BY_HOP or lower.startswith(OURS) or lower == b"authorization"):
            kept.append(place)
    return Shape(
        places,
        tuple(kept),
        _picker(kept),
        places.get(b"authorization", ()),
        tuple([places[name][-1] for name in DELIVERY_ID_FIELDS if name in places]),
        is_odd=b"transfer-encoding" in places or len(places.get(b"host", ())) > 1,
    )


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What takes some places out of a sequence: no step of Python's for each of them."""
    if len(places) > 1:
        return operator.itemgetter(*places)  # of one place it would give what is there
    return lambda every: tuple([every[place] for place in places])


@functools.lru_cache(MAX_REMEMBERED)
def read_target(method: str, raw: bytes, default: str) -> Target:
    """Read what a request line is for; without a channel in it, for the default one.

    Raises:
        BadTarget: The target is not valid UTF-8, or no path.
    """
    try:
        path = origin_form(raw.decode())
    except UnicodeDecodeError as exc:
        raise BadTarget("the request's path is not valid UTF-8") from exc
    if not path.startswith("/"):
        raise BadTarget("the request's target is no path")
    rest, shown = _split_token(path)
    channel, seen = split_channel(rest, default)
    try:
        check_request(method, seen)
    except RequestRefused:
        return Target(channel, seen, shown, replayable=False)
    return Target(channel, seen, shown, replayable=True)


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


def below(base_path: str) -> re.Pattern[bytes] | None:
    """What a target begins with that stands below a path; None where there is none.

    A target in absolute form is one, too.
    """
    if not base_path:
        return None
    origin = rb"(?i:https?://[^/?#]*)?"
    return re.compile(origin + re.escape(base_path.encode()) + rb"(?=[/?]|$)")


def without_base(raw_target: bytes, base: re.Pattern[bytes] | None) -> bytes:
    """A target as it is below a path; one that a proxy has cut already stays as it is."""
    found = base.match(raw_target) if base is not None else None
    if found is None:
        return raw_target
    rest = raw_target[found.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def sender_address(
    peer: str, scheme: str, head: Head, proxies: Sequence[Network]
) -> tuple[str, str]:
    """Who really sent it and by which scheme: what a proxy says of it counts if that is known."""
    if not is_inside(peer, proxies):
        return peer, scheme
    # Of several proxies, some add what they saw: the first says how the sender came.
    said = head.value(b"x-forwarded-proto").decode("latin-1").partition(",")[0].strip().lower()
    address = address_behind(peer, head.value(FORWARDED_FOR), proxies)
    return address, said if said in ("http", "https") else scheme


def address_behind(peer: str, forwarded_for: bytes, proxies: Sequence[Network]) -> str:
    """Who is behind the proxies that are known: the last hop that is none of them."""
    address, hops = peer, forwarded_for.decode("latin-1").split(",")
    while hops and is_inside(address, proxies):
        address = address_of(hops.pop()) or address  # an empty one says nothing
    return address


def _split_token(target: str) -> tuple[str, tuple[bytes, ...]]:
    """Take `token=…` out of a query, if it is one of ours; the rest stays as it was written."""
    path, mark, query = target.partition("?")
    if "token" not in query and "%" not in query:
        return target, ()
    kept, shown = [], []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        secret = unquote_to_bytes(value) if unquote_to_bytes(name) == b"token" else b""
        if secret:
            shown.append(secret)
        if not secret.startswith(_PREFIX):
            kept.append(pair)
    rest = "&".join(kept)
    return (f"{path}{mark}{rest}" if kept else path), tuple(shown)


@functools.lru_cache(MAX_AUTHORIZATIONS)
def _authorization(value: bytes) -> tuple[bytes, bool]:
    """What lets in, a bearer token or Basic's password; and whether a token of ours is in it.

    A token in the wrong place lets nobody in, and is a token nevertheless.
    """
    scheme, _, rest = value.strip().partition(b" ")
    rest = rest.strip()
    match scheme.lower():
        case b"bearer":
            parts: tuple[bytes, ...] = (rest,)
        case b"basic":
            try:
                user, _, password = base64.b64decode(rest, validate=True).partition(b":")
            except binascii.Error:
                parts = (rest, b"")
            else:
                parts = (user, password)
        case _:
            parts = (scheme, rest, b"")
    return parts[-1], _PREFIX in b" ".join(parts)
