"""What is posted to the target: a delivery's request, checked before anything is opened."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from relay_client.target import Target
from relay_protocol.values import Delivery, RequestHead

_METHOD = re.compile(r"[A-Z]{1,20}")
_NEVER_METHODS = frozenset({"CONNECT", "TRACE"})  # these make a target act as a proxy or an echo
_FORBIDDEN_IN_TARGET = re.compile(r"[\x00-\x20\x7f#\ud800-\udfff]")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){2}(?=/|;|$)", re.IGNORECASE)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FORBIDDEN_IN_BYTES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Between two ends of one connection (RFC 9110 §7.6.1), or said anew by the relay.
_DROPPED = frozenset(
    {
        b"connection",
        b"expect",  # the body is here already: nobody needs to be asked first
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)
_SAID_ONCE = frozenset({b"host", b"content-length"})


class RequestRefused(Exception):
    """The client will not send this request, whoever asks."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes to the target.

    Attributes:
        path: With the query, raw.
        headers: In order, case and repeats kept.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]


def compose(delivery: Delivery, target: Target) -> Outgoing:
    """Make the request that brings a delivery to its target.

    Raises:
        RequestRefused: It could reach something else than the target, or mislead it.
    """
    request = delivery.event.request
    if not _METHOD.fullmatch(request.method) or request.method in _NEVER_METHODS:
        raise RequestRefused(f"the method {request.method[:40]!r} is not replayed")
    _check_request_target(request.request_target)
    return Outgoing(request.method, _path(request, target), _headers(delivery, target))


def _check_request_target(text: str) -> None:
    path = text.partition("?")[0]
    if not text.startswith("/") or text.startswith("//"):
        raise RequestRefused(f"the path {text[:80]!r} does not begin with one slash")
    if _FORBIDDEN_IN_TARGET.search(text) or "\\" in path:
        raise RequestRefused(f"the path {text[:80]!r} has characters that no path has")
    if _DOT_SEGMENT.search(path):
        raise RequestRefused(f"the path {text[:80]!r} leads upwards")


def _path(request: RequestHead, target: Target) -> str:
    if not target.path:
        return request.request_target
    _, mark, query = request.request_target.partition("?")
    return target.path + mark + query


def _headers(delivery: Delivery, target: Target) -> list[tuple[str, str]]:
    """The event's own, with Host and Content-Length put right in place, then the relay's."""
    kept = _kept(delivery.event.request)
    length = str(len(delivery.body))
    headers = _corrected(kept, {b"host": target.authority, b"content-length": length})
    names = {lower for _, lower, _ in kept}
    if b"host" not in names:
        headers.insert(0, ("Host", target.authority))
    if b"content-length" not in names and delivery.body:
        headers.append(("Content-Length", length))
    original_host = next((value for _, lower, value in kept if lower == b"host"), "")
    return headers + _added(delivery, original_host)


def _kept(request: RequestHead) -> list[tuple[str, bytes, str]]:
    """Give (name, name in lower case, value) of what goes on to the target."""
    # All at once: this is done for every delivery.
    if _FORBIDDEN_IN_BYTES.search(b"\t".join([value for _, value in request.headers])):
        raise RequestRefused("a header's value has characters that no header has")
    connection_only = _named_by_connection(request)
    kept = []
    for raw_name, raw_value in request.headers:
        name, lower, dropped = _header_name(raw_name)
        if not dropped and lower not in connection_only:
            kept.append((name, lower, _text(raw_value)))
    return kept


def _corrected(
    kept: list[tuple[str, bytes, str]], corrections: dict[bytes, str]
) -> list[tuple[str, str]]:
    """Put corrections where the first header of their name is, and leave repeats of it out."""
    headers = []
    for name, lower, value in kept:
        if lower not in _SAID_ONCE:
            headers.append((name, value))
        elif lower in corrections:
            headers.append((name, corrections.pop(lower)))
    return headers


def _added(delivery: Delivery, host: str) -> list[tuple[str, str]]:
    event = delivery.event
    added = [
        ("Relay-Event-Id", event.id),
        ("Relay-Channel", delivery.channel),
        ("Relay-Attempt", str(delivery.attempt)),
        ("Relay-Received-At", _timestamp(event.received_at)),
    ]
    if delivery.replay:
        added.append(("Relay-Replay", "1"))
    if host:
        added.append(("X-Forwarded-Host", host))
    if event.request.sender:
        added.append(("X-Forwarded-For", event.request.sender))
    added.append(("X-Forwarded-Proto", event.request.scheme))
    if _FORBIDDEN_IN_VALUE.search("\t".join([value for _, value in added])):
        raise RequestRefused("what the relay says of the event has characters that no header has")
    return added


def _named_by_connection(request: RequestHead) -> frozenset[bytes]:
    named = [value for name, value in request.headers if name.lower() == b"connection"]
    if not named:
        return frozenset()
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))


@functools.lru_cache(maxsize=512)  # senders use few names, again and again
def _header_name(raw: bytes) -> tuple[str, bytes, bool]:
    """Give a name as text, in lower case, and whether it is left out."""
    if not _TOKEN.fullmatch(raw):
        raise RequestRefused(f"{raw[:40]!r} is not the name of a header")
    lower = raw.lower()
    return raw.decode("ascii"), lower, lower in _DROPPED or lower.startswith(b"relay-")


def _text(raw: bytes) -> str:
    # aiohttp sends text as UTF-8, so a value in UTF-8 goes out byte for byte. Other bytes, which
    # no known sender uses, are taken for Latin-1 (RFC 9110 §5.5) and go out as UTF-8.
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _timestamp(unix_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError) as exc:
        raise RequestRefused(f"{unix_ms} is no time that an event can have come at") from exc
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
