"""The request that a delivery becomes, checked before anything is opened."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from relay_http.target import Target, leads_upwards
from relay_protocol.times import rfc3339
from relay_protocol.values import HOP_BY_HOP, Delivery, RequestHead

_METHOD = re.compile(r"[A-Z]{1,20}")
_NEVER_METHODS = frozenset({"CONNECT", "TRACE"})  # these make a target act as a proxy or an echo
_FORBIDDEN_IN_TARGET = re.compile(r"[\x00-\x20\x7f#\ud800-\udfff]")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_FORBIDDEN_BYTES = bytes([*range(9), *range(10, 32), 127])  # in a value: RFC 9110 §5.5

# Id of the event that an edited one was made of. It is stored with that one: of what a sender says,
# nothing that begins with `Relay-` is.
EDITED_FROM = b"Relay-Edited-From"
# Before the name of a sender's header that is signed anew: the server says these, never a sender.
ORIGINAL = b"Relay-Original-"

# Not passed on, or said anew by the relay.
_DROPPED = HOP_BY_HOP | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
_STORED = EDITED_FROM.lower(), ORIGINAL.lower()  # come with an event, and go on
_SAID_ONCE = frozenset({b"host", b"content-length"})
_HOST, _LENGTH = -2, -1  # places of the values that the relay says, behind the sender's


class RequestRefused(Exception):
    """This request is not sent, whoever asks."""


def compose(delivery: Delivery, target: Target) -> bytes:
    """Make the head of the request that brings a delivery to its target.

    Raises:
        RequestRefused: It could reach something else than the target, or mislead it.
    """
    event = delivery.event
    request = event.request
    check_request(request.method, request.request_target)
    try:
        lines = [f"{request.method} {_path(request, target)} HTTP/1.1".encode()]
        host = _pass_on(lines, delivery, target)
        lines += [
            b"Relay-Event-Id: " + event.id.encode(),
            b"Relay-Channel: " + delivery.channel.encode(),
            b"Relay-Attempt: %d" % delivery.attempt,
            b"Relay-Received-At: " + _timestamp(event.received_at),
        ]
        if delivery.traceparent:
            lines.append(b"traceparent: " + delivery.traceparent.encode())
        if delivery.replay:
            lines.append(b"Relay-Replay: 1")
        if host:
            lines.append(b"X-Forwarded-Host: " + host)
        if request.sender:
            lines.append(b"X-Forwarded-For: " + request.sender.encode())
        lines.append(b"X-Forwarded-Proto: " + request.scheme.encode())
    except UnicodeEncodeError as exc:
        raise RequestRefused(f"the request cannot be sent: {exc}") from exc
    # All at once, and not by a regular expression: this is done for every delivery.
    whole = b"\t".join(lines)
    if len(whole.translate(None, _FORBIDDEN_BYTES)) < len(whole):
        values = b"\t".join([value for _, value in request.headers])
        is_senders = len(values.translate(None, _FORBIDDEN_BYTES)) < len(values)
        what = "a header's value" if is_senders else "what the relay says of the event"
        raise RequestRefused(f"{what} has characters that no header has")
    return b"\r\n".join([*lines, b"", b""])


@functools.lru_cache(maxsize=16)  # senders use few, again and again; the longest have 64 KiB
def check_request(method: str, request_target: str) -> None:
    """See that a request line is one that any target is sent.

    Raises:
        RequestRefused: It could reach something else than the target, or mislead it.
    """
    if not _METHOD.fullmatch(method) or method in _NEVER_METHODS:
        raise RequestRefused(f"the method {method[:40]!r} is not replayed")
    path = request_target.partition("?")[0]
    if not path.startswith("/") or path.startswith("//"):
        raise RequestRefused(f"the path {request_target[:80]!r} does not begin with one slash")
    if _FORBIDDEN_IN_TARGET.search(request_target) or "\\" in path:
        raise RequestRefused(f"the path {request_target[:80]!r} has characters that no path has")
    if leads_upwards(path):
        raise RequestRefused(f"the path {request_target[:80]!r} leads upwards")


def check_header(name: bytes, value: bytes) -> None:
    """See that a field can be one of `Target.headers`.

    Raises:
        RequestRefused: It is no header field, or one that the relay says itself.
    """
    _, lower, dropped = _header_name(name)
    if dropped or lower in _SAID_ONCE or lower.startswith(b"relay-"):
        raise RequestRefused(f"{name.decode()!r} is a header that the relay says itself")
    if len(value.translate(None, _FORBIDDEN_BYTES)) < len(value):
        raise RequestRefused(f"the value of {name.decode()!r} has characters that no header has")


def _path(request: RequestHead, target: Target) -> str:
    if not target.path:
        return request.request_target
    _, mark, query = request.request_target.partition("?")
    return target.path + mark + query


class _Plan(NamedTuple):
    """What becomes of the fields of every head that has the same names.

    Attributes:
        lines: How each line begins, and where its value is: a place among the sender's fields, or
            `_HOST` or `_LENGTH`.
        host: The place of the host that the sender named, if it did.
        has_length: Content-Length is among the lines.
        asks: There is a field Connection, which may name others that are not passed on.
    """

    lines: tuple[tuple[bytes, int], ...]
    host: int | None
    has_length: bool
    asks: bool


def _pass_on(lines: list[bytes], delivery: Delivery, target: Target) -> bytes:
    """Add what goes on to the target, and give the host that the sender named.

    Host and Content-Length are put right where they are first, and repeats of them left out.
    """
    request = delivery.event.request
    names = tuple([name for name, _ in request.headers])
    left_out = frozenset([name.lower() for name, _ in target.headers])
    if delivery.traceparent:
        left_out |= {b"traceparent"}
    plan = _plan(names, left_out)
    if plan.asks:
        plan = _plan(names, left_out | _named_by_connection(request))
    values = [value for _, value in request.headers]
    said = b"" if plan.host is None else values[plan.host]
    values += [target.authority.encode(), b"%d" % len(delivery.body)]  # `_HOST` and `_LENGTH`
    lines += [begin + values[place] for begin, place in plan.lines]
    if delivery.body and not plan.has_length:
        lines.append(b"Content-Length: " + values[_LENGTH])
    lines += [name + b": " + value for name, value in target.headers]
    return said


# Senders use few heads, again and again; the largest take 4 MiB together.
@functools.lru_cache(maxsize=32)
def _plan(names: tuple[bytes, ...], left_out: frozenset[bytes]) -> _Plan:
    lines, host, has_length, asks = list[tuple[bytes, int]](), None, False, False
    for place, name in enumerate(names):
        begin, lower, dropped = _header_name(name)
        asks |= lower == b"connection"
        if dropped or lower in left_out:
            continue
        if lower not in _SAID_ONCE:
            lines.append((begin, place))
        elif lower == b"host" and host is None:
            host = place
            lines.append((begin, _HOST))
        elif lower == b"content-length" and not has_length:
            has_length = True
            lines.append((begin, _LENGTH))
    if host is None:
        lines.insert(0, (b"Host: ", _HOST))
    return _Plan(tuple(lines), host, has_length, asks)


def _named_by_connection(request: RequestHead) -> frozenset[bytes]:
    named = [value for name, value in request.headers if name.lower() == b"connection"]
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))


def _header_name(raw: bytes) -> tuple[bytes, bytes, bool]:
    """Give a name with its colon, in lower case, and whether it is left out."""
    if not _TOKEN.fullmatch(raw):
        raise RequestRefused(f"{raw[:40]!r} is not the name of a header")
    lower = raw.lower()
    is_ours = lower.startswith(b"relay-") and not lower.startswith(_STORED)
    dropped = lower in _DROPPED or is_ours
    return raw + b": ", lower, dropped


def _timestamp(unix_ms: int) -> bytes:
    try:
        return rfc3339(unix_ms).encode()
    except (OverflowError, OSError, ValueError) as exc:
        raise RequestRefused(f"{unix_ms} is no time that an event can have come at") from exc
