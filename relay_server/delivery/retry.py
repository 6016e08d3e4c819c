"""What follows from how an attempt ended. Pure: no clock, no randomness of its own."""

from __future__ import annotations

import enum
from typing import NamedTuple

from relay_protocol import times
from relay_protocol.values import GONE, Failure, FailureKind, HeaderList, Outcome, Response
from relay_server.configs import Policy

JITTER = 0.2  # of a delay, either way
FREE_LOSSES = 5  # times a target may vanish with a delivery before that counts against it
GIVEN_BACK = frozenset({FailureKind.TARGET_DOWN, FailureKind.NOT_STARTED})

RETRY_AFTER_MIN_S = 1.0  # a shorter `Retry-After` of the target counts as this
RETRY_AFTER_MAX_S = 3_600.0  # a longer one as this
REASON_CHARS = 500  # a longer reason of a failure is cut


class Next(enum.Enum):
    """What becomes of a delivery after an attempt."""

    DELIVERED = enum.auto()
    GIVEN_BACK = enum.auto()  # the target never saw it: as if this attempt had not been
    AGAIN = enum.auto()  # tried again later
    DEAD = enum.auto()
    PAUSED = enum.auto()  # the subscription stops until somebody resumes it; then it goes again


class Verdict(NamedTuple):
    """What follows from how an attempt ended.

    Attributes:
        after_s: Seconds until the next attempt, if there is to be one.
        counts: This one counts against the delivery.
    """

    next: Next
    reason: str = ""
    after_s: float = 0.0
    counts: bool = True


DELIVERED = Verdict(Next.DELIVERED)


def decide(
    outcome: Outcome, policy: Policy, attempt: int, failures: int, jitter: float, now_ms: int
) -> Verdict:
    """Say what an outcome means for a delivery.

    Args:
        outcome: How it ended.
        policy: Of its subscription.
        attempt: Which try this was, from 1.
        failures: How many earlier ones counted against the delivery.
        jitter: From -1 to 1, drawn by the caller.
        now_ms: Unix milliseconds, for a `Retry-After` that is a date.
    """
    if outcome.delivered:
        return DELIVERED
    reason, asked_s = describe(outcome), None
    match outcome:
        case Failure(kind) if kind in GIVEN_BACK:
            return Verdict(Next.GIVEN_BACK)
        case Failure(FailureKind.TARGET_LOST) if attempt - failures <= FREE_LOSSES:
            return Verdict(Next.AGAIN, reason, counts=False)
        case Failure(FailureKind.REFUSED):
            return Verdict(Next.DEAD, reason)
        case Response(status) if status == GONE:
            return Verdict(Next.PAUSED, reason)
        case Response(headers=headers) if outcome.retryable:
            asked_s = retry_after(headers, now_ms)
        case Response() if failures + 1 >= policy.other_tries:
            return Verdict(Next.DEAD, reason)
    if failures >= len(policy.retry_delays_s):
        return Verdict(Next.DEAD, reason)
    delay = policy.retry_delays_s[failures] * (1 + JITTER * jitter)
    return Verdict(Next.AGAIN, reason, delay if asked_s is None else asked_s)


def holds(policy: Policy, failures: int, failing_for_s: float) -> bool:
    """True if a delivery that waits for its next try holds back what comes after it in its key."""
    if policy.strict_order:
        return True
    return failures < policy.hold_failures and failing_for_s < policy.hold_s


def describe(outcome: Outcome) -> str:
    """Say in a few words how an attempt ended."""
    match outcome:
        case Response(status):
            return f"the target answered {status}"
        case Failure(kind, text):
            return (text or kind.value.replace("_", " "))[:REASON_CHARS]


def retry_after(headers: HeaderList, now_ms: int) -> float | None:
    """Seconds that an answer asks to wait, within our bounds; None if unsaid."""
    for name, value in headers:
        if name.lower() != b"retry-after":
            continue
        seconds = times.retry_after(value.decode("latin-1"), now_ms)
        if seconds is not None:
            return min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)
    return None
