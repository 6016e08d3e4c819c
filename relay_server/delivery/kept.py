"""What is kept of how an attempt ended: what a target said to it, or what went wrong. Pure."""

from __future__ import annotations

from relay_protocol.values import Failure, Outcome, Response
from relay_server.bodies.inflating import inflated
from relay_server.delivery.lanes import Entry
from relay_server.values import Attempt

TEXT_BYTES = 1_024  # kept of a failed answer's body, for `events show`
TAKEN_BYTES = 256  # the same of a 2xx answer's, of which nearly every delivery has one
CUT = "…"  # behind what is not all of an answer


def attempt_of(entry: Entry, outcome: Outcome, now_ms: int) -> Attempt:
    """An attempt that ended now."""
    return Attempt(
        sequence=entry.sequence,
        attempt=entry.attempt,
        started_at=now_ms - outcome.elapsed_ms,
        elapsed_ms=outcome.elapsed_ms,
        outcome="response" if isinstance(outcome, Response) else outcome.kind.value,
        status=outcome.status if isinstance(outcome, Response) else None,
        text=text_of(outcome),
    )


def text_of(outcome: Outcome) -> str:
    """The part of an outcome that helps to see what a target did with an event."""
    match outcome:
        case Response(body=b""):
            return ""
        case Response():
            return _beginning(outcome, TAKEN_BYTES if outcome.delivered else TEXT_BYTES)
        case Failure(text=text):
            return text[:TEXT_BYTES]


def _beginning(answer: Response, most: int) -> str:
    """The beginning of an answer's body, as text."""
    plain = inflated(answer.body, answer.headers, most + 1)
    body = answer.body if plain is None else plain
    text = body[:most].decode("utf-8", "replace")
    return text if len(body) <= most else text.rstrip("\ufffd") + CUT
