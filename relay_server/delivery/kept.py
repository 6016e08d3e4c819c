"""What is kept of how an attempt ended: what a target said to it, or what went wrong. Pure."""

from __future__ import annotations

import functools

from relay_protocol.values import Failure, HeaderList, Outcome, Response
from relay_server.bodies.inflating import inflated
from relay_server.delivery.lanes import Entry
from relay_server.values import Attempt

TEXT_BYTES = 4_096  # kept of a failed answer's body: a framework's errors in JSON are whole
TAKEN_BYTES = 256  # the same of a 2xx answer's, of which nearly every delivery has one
CUT = "…"  # behind what is not all of an answer
# Of an answer's headers these are kept: what it is, how large, when to come again, and who says it.
KEPT_HEADERS = frozenset({b"content-type", b"content-length", b"retry-after", b"server"})
HEADER_BYTES = 200  # kept of the value of each
MAX_DIGITS = 15  # of a size that an answer says itself
ALIKE = 64  # answers whose headers are remembered as they are kept: a target's are much the same


def attempt_of(entry: Entry, outcome: Outcome, now_ms: int) -> Attempt:
    """An attempt that ended now."""
    elapsed_ms = outcome.elapsed_ms
    begun = entry.sequence, entry.attempt, now_ms - elapsed_ms, elapsed_ms
    if isinstance(outcome, Failure):
        return Attempt(*begun, outcome.kind.value, text=outcome.text[:TEXT_BYTES])
    text = beginning_of(outcome) if outcome.body else ""
    answer = outcome.status, text, size_of(outcome), headers_of(outcome)
    return Attempt(*begun, "response", *answer)


def beginning_of(answer: Response) -> str:
    """The beginning of an answer's body, as text: it helps to see what a target did."""
    body, most = answer.body, TAKEN_BYTES if answer.delivered else TEXT_BYTES
    if (plain := inflated(body, answer.headers, most + 1)) is not None:
        body = plain
    if len(body) <= most:
        return body.decode("utf-8", "replace")
    return body[:most].decode("utf-8", "replace").rstrip("\ufffd") + CUT


def size_of(answer: Response) -> int | None:
    """Bytes of an answer's body as it came; of one that was cut, what it said itself, if it did."""
    if not answer.truncated:
        return len(answer.body)
    said = next((v for name, v in answer.headers if name.lower() == b"content-length"), b"")
    return int(said) if said.isdigit() and len(said) <= MAX_DIGITS else None


def headers_of(answer: Response) -> str:
    """The headers of an answer that are kept, a line each; of those of a name the first."""
    return _written(tuple([one for one in answer.headers if one[0].lower() in KEPT_HEADERS]))


@functools.lru_cache(ALIKE)
def _written(headers: HeaderList) -> str:
    found = dict[bytes, bytes]()
    for name, value in headers:
        found.setdefault(name.lower(), value[:HEADER_BYTES])
    return b"\n".join(b"%b: %b" % one for one in found.items()).decode("latin-1")
