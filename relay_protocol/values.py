"""Values that both ends of the tunnel speak of."""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from relay_protocol.limits import (
    MAX_ELAPSED_MS,
    MAX_HEAD_FIELDS,
    MAX_ID_CHARS,
    MAX_RESULT_BODY_BYTES,
    MAX_RESULT_HEADERS,
)

HeaderList: TypeAlias = tuple[tuple[bytes, bytes], ...]
# Bounds on what a peer may say. The codec holds each frame to them as it reads it; whoever makes
# such a value keeps to them by itself.
Id: TypeAlias = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
Elapsed: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_ELAPSED_MS)]

# Answers of a target that tell what follows: the server decides, and the client says so to people.
GONE = 410  # RFC 9110 §15.5.11: it wants no more, of anything, so its subscription is paused
# Beside 5xx: of the moment rather than of the event (Too Early is RFC 8470's).
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})

# Fields, in lower case, between two ends of one connection (RFC 9110 §7.6.1), and Expect: whoever
# passes a request on has its body, and nobody needs to be asked first.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class RequestHead(msgspec.Struct, frozen=True, gc=False):  # no cycle can go through it
    """An HTTP request as its sender made it, but for the body.

    Attributes:
        method: Uppercase, e.g. `"POST"`.
        request_target: Path and query below the channel, from `/` on (RFC 9112 §3.2), raw.
        headers: (name, value) pairs in arrival order, case and repeats kept, hop-by-hop
            fields (RFC 9110 §7.6.1) and the relay's own secrets removed.
        sender: Address of the sender, e.g. `"203.0.113.9"`; empty when unknown.
        scheme: `"http"` or `"https"`, as the sender saw it.
    """

    method: str
    request_target: str
    headers: Annotated[HeaderList, Meta(max_length=MAX_HEAD_FIELDS)]
    sender: str = ""
    scheme: str = "http"


class EventHead(msgspec.Struct, frozen=True, gc=False):  # as `RequestHead`
    """One stored webhook, but for its body.

    Attributes:
        id: `evt_` and a UUID version 7.
        sequence: Position within the channel, from 1, without gaps at the time of storing.
        received_at: Unix milliseconds.
        key: What order is kept by; empty stands for the channel itself.
        kind: The sender's name for what happened, e.g. `"message_created"`; may be empty.
    """

    id: Id
    sequence: int
    received_at: int
    key: str
    kind: str
    request: RequestHead


class FailureKind(enum.StrEnum):
    """The cause of an attempt without an HTTP answer."""

    TARGET_DOWN = "target_down"  # nothing listens there: no byte of the event was sent
    TARGET_LOST = "target_lost"  # the target went away while it had the event
    NOT_STARTED = "not_started"  # the client gave the delivery back
    NETWORK = "network"
    TIMEOUT = "timeout"
    REFUSED = "refused"  # the client will not replay this request, whoever asks


class Response(msgspec.Struct, frozen=True, tag="response"):
    """The target's HTTP answer.

    Attributes:
        body: At most `MAX_RESULT_BODY_BYTES` of it.
        truncated: There was more.
        elapsed_ms: From the first byte sent to the last byte kept.
    """

    status: Annotated[int, Meta(ge=100, le=999)]
    headers: Annotated[HeaderList, Meta(max_length=MAX_RESULT_HEADERS)] = ()
    body: Annotated[bytes, Meta(max_length=MAX_RESULT_BODY_BYTES)] = b""
    truncated: bool = False
    elapsed_ms: Elapsed = 0

    @property
    def delivered(self) -> bool:
        """True if the target took the event."""
        return 200 <= self.status < 300

    @property
    def retryable(self) -> bool:
        """True if another attempt may well end otherwise."""
        return self.status >= 500 or self.status in RETRYABLE_STATUSES


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """An attempt that brought no HTTP answer."""

    kind: FailureKind
    text: Annotated[str, Meta(max_length=MAX_RESULT_BODY_BYTES)] = ""
    elapsed_ms: Elapsed = 0

    @property
    def delivered(self) -> bool:
        """False: the target did not take the event, or nobody knows."""
        return False


Outcome: TypeAlias = Response | Failure


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to one subscription, whole.

    Attributes:
        id: The same for every attempt, so that a duplicate can be known.
        subscription: The server's number for it.
        attempt: From 1.
        traceparent: The field of this name that the target is to get; empty for the sender's own.
    """

    id: str
    subscription: int
    channel: str
    attempt: int
    replay: bool
    event: EventHead
    body: bytes
    traceparent: str = ""
