"""Builders of requests, events and deliveries, each with defaults that a test can overrule."""

from __future__ import annotations

import itertools

from relay_protocol.values import (
    Delivery,
    EventHead,
    Failure,
    FailureKind,
    HeaderList,
    RequestHead,
    Response,
)
from relay_server.values import Attempt, Mark, MarkState, NewEvent, Outline
from tests.support.clock import START_MS

HEADERS: HeaderList = ((b"Content-Type", b"application/json"), (b"X-Chatwoot-Delivery", b"d-1"))

OK = Response(200)
BROKEN = Response(500, body=b"Traceback")
DOWN = Failure(FailureKind.TARGET_DOWN, "connection refused")
LOST = Failure(FailureKind.TARGET_LOST, "connection reset")
NOT_STARTED = Failure(FailureKind.NOT_STARTED)

_numbers = itertools.count(1)


def request(
    request_target: str = "/webhook?a=%2F", headers: HeaderList = HEADERS, method: str = "POST"
) -> RequestHead:
    """A webhook's request but for the body."""
    return RequestHead(method, request_target, headers, "203.0.113.9", "https")


def new_event(
    body: bytes = b'{"event":"message_created"}',
    *,
    id: str | None = None,  # noqa: A002  (named like the field)
    key: str = "7",
    kind: str = "message_created",
    received_at: int = START_MS,
    sender_id: str | None = None,
    head: RequestHead | None = None,
) -> NewEvent:
    """An event to be stored, with an id of its own."""
    name = id or f"evt_{next(_numbers):012d}"
    return NewEvent(name, received_at, key, kind, head or request(), body, sender_id)


def event_head(sequence: int = 1, key: str = "7", id: str | None = None) -> EventHead:  # noqa: A002
    """The head of a stored event."""
    name = id or f"evt_{sequence:012d}"
    return EventHead(name, sequence, START_MS, key, "message_created", request())


def delivery(
    sequence: int = 1,
    body: bytes = b"{}",
    *,
    subscription: int = 1,
    channel: str = "chatwoot",
    attempt: int = 1,
    key: str = "7",
) -> Delivery:
    """A delivery whose id is that of the reader for this sequence."""
    head = event_head(sequence, key)
    name = f"{subscription}.{sequence}"
    return Delivery(name, subscription, channel, attempt, False, head, body)


def outline(sequence: int, key: str = "7", size: int = 2) -> Outline:
    """What scheduling knows of an event."""
    return Outline(sequence, key, size)


def mark(sequence: int, state: MarkState = MarkState.DELIVERED, attempt: int = 1) -> Mark:
    """How far a delivery is."""
    return Mark(sequence, state, attempt, changed_at=START_MS)


def attempt(sequence: int, number: int = 1, status: int | None = 200) -> Attempt:
    return Attempt(sequence, number, START_MS, 12, "response", status, "")


def waiting(sequence: int) -> Mark:
    """A mark of a delivery that waits for its next try."""
    return Mark(sequence, MarkState.WAITING, 1, 1, START_MS + 5_000, START_MS, "it answered 500")
