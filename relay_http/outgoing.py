"""The request that a delivery becomes, checked before anything is opened."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from relay_http.target import Target, leads_upwards
from relay_protocol.times import rfc3339
from relay_protocol.values import HOP_BY_HOP, Delivery, HeaderList, RequestHead

_METHOD = re.compile(r"[A-Z]{1,20}")
_NEVER_METHODS = frozenset({"CONNECT", "TRACE"})  # these make a target act as a proxy or an echo
_FORBIDDEN_IN_TARGET = re.compile(r"[\x00-\x20\x7f#\ud800-\udfff]")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_FORBIDDEN_BYTES = bytes([*range(9), *range(10, 32), 127])  # in a value: RFC 9110 §5.5
_SENDERS_FORBIDDEN = "a header's value has characters that no header has"
_OURS_FORBIDDEN = "what the relay says of the event has characters that no header has"

# Id of the event that an edited one was made of. It is stored with that one: of what a sender says,
# nothing that begins with `Relay-` is.
EDITED_FROM = b"Relay-Edited-From"
# Before the name of a sender's header that is signed anew: the server says these, never a sender.
ORIGINAL = b"Relay-Original-"

# Not passed on, or said anew by the relay.
_DROPPED = HOP_BY_HOP | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
_STORED = EDITED_FROM.lower(), ORIGINAL.lower()  # come with an event, and go on
_SAID_ONCE = frozenset({b"host", b"content-length"})
# Places of the values that the relay says, behind the sender's, as `compose` puts them there.
_REQUEST_LINE, _HOST, _LENGTH, _EVENT, _CHANNEL = range(-10, -5)
_ATTEMPT, _RECEIVED_AT, _TRACEPARENT, _SENDER, _SCHEME = range(-5, 0)


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
    names, senders = zip(*request.headers, strict=True) if request.headers else ((), ())
    said = bool(delivery.body), bool(delivery.traceparent), delivery.replay, bool(request.sender)
    plan = _plan(names, said, target.headers)
    has_host = plan.host is None or senders[plan.host] != b""
    if plan.asks or not has_host:
        plan = _plan(names, said, target.headers, _named_by_connection(request), has_host)
    try:
        values = (
            *senders,
            f"{request.method} {_path(request, target)} HTTP/1.1".encode(),
            target.authority.encode(),
            b"%d" % len(delivery.body),
            event.id.encode(),
            delivery.channel.encode(),
            b"%d" % delivery.attempt,
            _timestamp(event.received_at),
            delivery.traceparent.encode(),
            request.sender.encode(),
            request.scheme.encode(),
        )
    except UnicodeEncodeError as exc:
        raise RequestRefused(f"the request cannot be sent: {exc}") from exc
    chosen = plan.choose(values)
    # All at once, and not by a regular expression: this is done for every delivery.
    if _is_forbidden(b"\t".join(chosen)):
        is_senders = _is_forbidden(b"\t".join(senders))
        raise RequestRefused(_SENDERS_FORBIDDEN if is_senders else _OURS_FORBIDDEN)
    return plan.head % chosen


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
    if _is_forbidden(value):
        raise RequestRefused(f"the value of {name.decode()!r} has characters that no header has")


def _path(request: RequestHead, target: Target) -> str:
    if not target.path:
        return request.request_target
    _, mark, query = request.request_target.partition("?")
    return target.path + mark + query


_Line = tuple[bytes, int | None]  # how it begins, and the place of its value, if it has one


class _Plan(NamedTuple):
    """What becomes of all heads whose fields have the same names, and that have the same else.

    Attributes:
        head: With `%b` for each value.
        choose: Picks these, in their order, from the sender's and those that the relay says.
        host: The place of the host that the sender named, if it did.
        asks: There is a field Connection, which may name others that are not passed on.
    """

    head: bytes
    choose: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
    host: int | None
    asks: bool


# Senders use few heads, again and again; the largest take 4 MiB together.
@functools.lru_cache(maxsize=32)
def _plan(
    names: tuple[bytes, ...],
    said: tuple[bool, bool, bool, bool],
    added: HeaderList,
    named: frozenset[bytes] = frozenset(),
    has_host: bool = True,
) -> _Plan:
    """Lay out a head.

    Args:
        names: Of the sender's fields.
        said: Whether there are a body, a traceparent, a replay, and an address of the sender.
        added: The target's own fields, which follow those that are passed on.
        named: Fields, in lower case, that the sender's Connection names.
        has_host: The sender's Host is not empty, if there is one.
    """
    has_body, has_traceparent, _, _ = said
    left_out = named | {name.lower() for name, _ in added}
    if has_traceparent:
        left_out |= {b"traceparent"}
    passed_on, host, asks = _passed_on(names, left_out)
    if has_body and all(place != _LENGTH for _, place in passed_on):
        passed_on.append((b"Content-Length: ", _LENGTH))
    own: list[_Line] = [(name + b": " + value, None) for name, value in added]
    if any(_is_forbidden(line) for line, _ in own):
        raise RequestRefused(_OURS_FORBIDDEN)
    of_event = _of_event(said, host if has_host else None)
    lines: list[_Line] = [(b"", _REQUEST_LINE), *passed_on, *own, *of_event, (b"", None)]
    head = b"".join(
        begin.replace(b"%", b"%%") + (b"\r\n" if place is None else b"%b\r\n")
        for begin, place in lines
    )
    places = [place for _, place in lines if place is not None]
    return _Plan(head, operator.itemgetter(*places), host, asks)


def _passed_on(
    names: tuple[bytes, ...], left_out: frozenset[bytes]
) -> tuple[list[_Line], int | None, bool]:
    """The lines that go on, and the rest of a plan.

    Host and Content-Length are put right where they are first, and repeats of them left out.
    """
    lines, host, has_length, asks = list[_Line](), None, False, False
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
    return lines, host, asks


def _of_event(said: tuple[bool, bool, bool, bool], host: int | None) -> list[_Line]:
    """What the relay says of the event."""
    _, has_traceparent, is_replay, has_sender = said
    lines: list[_Line] = [
        (b"Relay-Event-Id: ", _EVENT),
        (b"Relay-Channel: ", _CHANNEL),
        (b"Relay-Attempt: ", _ATTEMPT),
        (b"Relay-Received-At: ", _RECEIVED_AT),
    ]
    if has_traceparent:
        lines.append((b"traceparent: ", _TRACEPARENT))
    if is_replay:
        lines.append((b"Relay-Replay: 1", None))
    if host is not None:
        lines.append((b"X-Forwarded-Host: ", host))
    if has_sender:
        lines.append((b"X-Forwarded-For: ", _SENDER))
    return [*lines, (b"X-Forwarded-Proto: ", _SCHEME)]


def _named_by_connection(request: RequestHead) -> frozenset[bytes]:
    named = [value for name, value in request.headers if name.lower() == b"connection"]
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))


def _is_forbidden(text: bytes) -> bool:
    return len(text.translate(None, _FORBIDDEN_BYTES)) < len(text)


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
