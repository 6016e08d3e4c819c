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
    elapsed_ms, text = outcome.elapsed_ms, text_of(outcome)
    if isinstance(outcome, Response):
        how, status = "response", outcome.status
    else:
        how, status = outcome.kind.value, None
    started_at = now_ms - elapsed_ms
    return Attempt(entry.sequence, entry.attempt, started_at, elapsed_ms, how, status, text)


def text_of(outcome: Outcome) -> str:
    """The part of an outcome that helps to see what a target did with an event."""
    if isinstance(outcome, Failure):
        return outcome.text[:TEXT_BYTES]
    return _beginning(outcome) if outcome.body else ""


def _beginning(answer: Response) -> str:
    """The beginning of an answer's body, as text."""
    body, most = answer.body, TAKEN_BYTES if answer.delivered else TEXT_BYTES
    if (plain := inflated(body, answer.headers, most + 1)) is not None:
        body = plain
    if len(body) <= most:
        return body.decode("utf-8", "replace")
    return body[:most].decode("utf-8", "replace").rstrip("\ufffd") + CUT
