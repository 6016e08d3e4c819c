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
    elapsed_ms = outcome.elapsed_ms
    begun = entry.sequence, entry.attempt, now_ms - elapsed_ms, elapsed_ms
    if isinstance(outcome, Failure):
        return Attempt(*begun, outcome.kind.value, text=outcome.text[:TEXT_BYTES])
    text = beginning_of(outcome) if outcome.body else ""
    return Attempt(*begun, "response", outcome.status, text)


def beginning_of(answer: Response) -> str:
    """The beginning of an answer's body, as text: it helps to see what a target did."""
    body, most = answer.body, TAKEN_BYTES if answer.delivered else TEXT_BYTES
    if (plain := inflated(body, answer.headers, most + 1)) is not None:
        body = plain
    if len(body) <= most:
        return body.decode("utf-8", "replace")
    return body[:most].decode("utf-8", "replace").rstrip("\ufffd") + CUT
