"""The messages of `relay.v1`, as tagged MessagePack: each WebSocket frame is one of them.

Or it is a *batch*, an array of several, once both ends have said that they take such frames: it
means what its messages mean one after the other.

Fields may be added in later versions: unknown ones are ignored. A message of an unknown type ends
the session.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from relay_protocol.limits import MAX_BODY_BYTES, MAX_SUBSCRIPTIONS, MAX_UNIX_MS
from relay_protocol.values import EventHead, Id, Outcome

TRACEPARENT = r"\A(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?\Z"  # W3C Trace Context, or empty


class CloseCode(enum.IntEnum):
    """WebSocket close codes with a meaning of ours (RFC 6455 §7.4)."""

    NORMAL = 1000
    RESTART = 1012
    PROTOCOL_ERROR = 4400
    TOKEN_REFUSED = 4401
    CHANNEL_REFUSED = 4403
    TAKEN_OVER = 4409


class Wanted(msgspec.Struct, frozen=True):
    """A subscription that the client asks for.

    Attributes:
        name: Of the subscription; None means the token's name.
        since: Where a new subscription starts, in Unix milliseconds; None means now.
        share: Share the work with the other connections of this name that say so, instead of
            taking over from them.
        filter: Which events it is to get from now on, empty for every one; None leaves the
            subscription as it is set.
        temporary: A new one goes soon after its last connection.
        resign: Whether each attempt is signed anew from now on; None leaves it as it is set.
    """

    channel: str
    name: str | None = None
    since: Annotated[int, Meta(ge=0, le=MAX_UNIX_MS)] | None = None
    share: bool = False
    filter: str | None = None
    temporary: bool = False
    resign: bool | None = None


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The client's first message.

    Attributes:
        window: How many deliveries it wants under way at most.
        batches: It takes batches, and would send them.
        away_ms: How long ago it heard of the relay last; None for the first connection of its life.
        verdicts: It wants to be told what follows from failed attempts.
    """

    version: str
    host: str
    subscriptions: Annotated[tuple[Wanted, ...], Meta(min_length=1, max_length=MAX_SUBSCRIPTIONS)]
    window: Annotated[int, Meta(ge=1)]
    batches: bool = False
    away_ms: Annotated[int, Meta(ge=0, le=MAX_UNIX_MS)] | None = None
    verdicts: bool = False


class Granted(msgspec.Struct, frozen=True):
    """A subscription that the server opened.

    Attributes:
        subscription: The server's number for it.
        created: It did not exist before this connection.
        backlog: Events not settled yet.
        oldest_waiting_at: When the oldest of them was received, in Unix milliseconds.
        paused: Why nothing is delivered until somebody resumes it; empty when it is not paused.
        filter: Which events it gets, empty for every one; None of a server that knows no filters.
        came: How much of the backlog was received since it was read last, without what waits for
            its next attempt; None of a server that does not say.
        came_oldest_at: When the oldest of these was received, in Unix milliseconds.
        retrying: How much of the backlog waits for its next attempt.
        next_attempt_in_ms: When the first of these is due.
        temporary: It goes soon after its last connection; None of a server that has none such.
        resign: Each attempt is signed anew; None of a server that does not.
        told_twice: Ids of two events that told it one message of Chatwoot's; empty without any.
    """

    subscription: int
    channel: str
    name: str
    created: bool
    backlog: int
    oldest_waiting_at: int | None = None
    paused: str = ""
    filter: str | None = None
    came: int | None = None
    came_oldest_at: int | None = None
    retrying: int = 0
    next_attempt_in_ms: int | None = None
    temporary: bool | None = None
    resign: bool | None = None
    told_twice: tuple[str, ...] = ()


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The server's answer to `Hello`: deliveries follow.

    Attributes:
        batches: The server takes batches, too: from now on both ends may send them.
        verdicts: The server says what follows from each failed attempt.
    """

    version: str
    epoch: int
    subscriptions: tuple[Granted, ...]
    batches: bool = False
    verdicts: bool = False


class Deliver(msgspec.Struct, frozen=True, tag="deliver", omit_defaults=True):
    """A delivery, with its body or, when chunks follow, without.

    Attributes:
        size: Bytes of the body.
        body: The whole body, or None when `Chunk` messages bring it.
        traceparent: As `Delivery` has it.
    """

    delivery: Id
    subscription: int
    attempt: int
    replay: bool
    event: EventHead
    size: Annotated[int, Meta(ge=0, le=MAX_BODY_BYTES)]
    body: bytes | None
    traceparent: Annotated[str, Meta(pattern=TRACEPARENT)] = ""


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """The next part of a body; parts of several bodies may alternate."""

    delivery: str
    data: bytes
    last: bool


class Result(msgspec.Struct, frozen=True, tag="result"):
    """How an attempt ended."""

    delivery: str
    outcome: Outcome


class Working(msgspec.Struct, frozen=True, tag="working"):
    """Deliveries that the client still holds: extends their leases."""

    deliveries: tuple[str, ...]


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """The target of a subscription is not there: send nothing more of it."""

    subscription: int


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """The target of a subscription is back."""

    subscription: int


class Follows(enum.StrEnum):
    """What becomes of a delivery after a failed attempt."""

    AGAIN = "again"
    DEAD = "dead"
    PAUSED = "paused"  # the subscription stops until somebody resumes it; then it goes again


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """What follows from a result that was no 2xx.

    Attributes:
        after_ms: When the next attempt is due, from now on; 0 for as soon as can be.
    """

    delivery: Id
    follows: Follows
    after_ms: Annotated[int, Meta(ge=0, le=MAX_UNIX_MS)] = 0


class Goaway(msgspec.Struct, frozen=True, tag="goaway"):
    """The server is about to close; come back after some seconds."""

    reason: str
    retry_after_s: float


class Error(msgspec.Struct, frozen=True, tag="error"):
    """What went wrong, for people; a close follows."""

    code: str
    text: str


ClientMessage: TypeAlias = Hello | Result | Working | Pause | Resume
ServerMessage: TypeAlias = Welcome | Deliver | Chunk | Verdict | Goaway | Error
