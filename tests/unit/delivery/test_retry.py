"""What follows from each way an attempt can end."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.values import Failure, FailureKind, HeaderList, Outcome, Response
from relay_server.configs import Policy, PolicyChanges
from relay_server.delivery.retry import (
    DELIVERED,
    Next,
    Verdict,
    decide,
    describe,
    holds,
    retry_after,
)
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK
from tests.unit.delivery.support import ORDINARY, STRICT

ONCE = Policy(retry_delays_s=())
SHORT = Policy(retry_delays_s=(1.0, 2.0), other_tries=1)
STUBBORN = Policy(other_tries=99, retry_delays_s=(7.0,) * 3)
AGAIN_AFTER = Response(503, ((b"Retry-After", b"90"),))
NOT_FOUND, GONE = Response(404), Response(410)
REFUSED = Failure(FailureKind.REFUSED, "no")
FORGIVEN = Verdict(Next.AGAIN, "connection reset", counts=False)
DELAYS_S = [5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 36_000]


def verdict(outcome: Outcome, failures: int = 0, attempt: int | None = None) -> Verdict:
    """What follows without jitter; by default every attempt before counted."""
    attempt = failures + 1 if attempt is None else attempt
    return decide(outcome, Policy(), attempt, failures, 0.0, START_MS)


def after(outcome: Outcome, failures: int = 0) -> float:
    """How long it waits for its next try."""
    again = verdict(outcome, failures)
    assert again.next is Next.AGAIN
    assert again.counts
    return again.after_s


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_settles(status: int) -> None:
    assert verdict(Response(status), 9) == DELIVERED


@pytest.mark.parametrize(
    "outcome",
    [
        *(Response(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 599)),
        Failure(FailureKind.NETWORK, "connection reset"),
        Failure(FailureKind.TIMEOUT),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_ten_times(outcome: Outcome) -> None:
    assert [after(outcome, failures) for failures in range(9)] == DELAYS_S
    assert verdict(outcome, 9).next is Next.DEAD


@pytest.mark.parametrize(
    "status", [100, 199, 300, 301, 302, 307, 400, 401, 403, 404, 413, 422, 499]
)
def test_what_will_hardly_change_is_tried_three_times(status: int) -> None:
    assert [after(Response(status), failures) for failures in range(2)] == [5, 30]
    assert verdict(Response(status), 2) == Verdict(Next.DEAD, f"the target answered {status}")


@pytest.mark.parametrize("jitter", [-1.0, -0.5, 0.0, 1.0])
def test_delays_are_spread_by_a_fifth(jitter: float) -> None:
    again = decide(Response(500), Policy(), 1, 0, jitter, START_MS)

    assert again.next is Next.AGAIN
    assert again.after_s == pytest.approx(5 * (1 + 0.2 * jitter))


@pytest.mark.parametrize("kind", [FailureKind.TARGET_DOWN, FailureKind.NOT_STARTED])
def test_what_the_target_never_saw_uses_up_no_attempt(kind: FailureKind) -> None:
    assert verdict(Failure(kind), attempt=1) == Verdict(Next.GIVEN_BACK)
    assert verdict(Failure(kind), failures=9, attempt=99) == Verdict(Next.GIVEN_BACK)


def test_a_target_that_vanishes_is_forgiven_five_times() -> None:
    lost = Failure(FailureKind.TARGET_LOST, "connection reset")

    forgiven = [verdict(lost, attempt=attempt) for attempt in range(1, 6)]
    counted = verdict(lost, attempt=6)

    assert forgiven == [FORGIVEN] * 5
    assert counted == Verdict(Next.AGAIN, "connection reset", 5.0)


def test_failures_that_counted_use_up_no_forgiveness() -> None:
    lost = Failure(FailureKind.TARGET_LOST, "connection reset")

    assert verdict(lost, failures=4, attempt=9) == Verdict(
        Next.AGAIN, "connection reset", counts=False
    )
    assert verdict(lost, failures=4, attempt=10) == Verdict(Next.AGAIN, "connection reset", 1_800.0)


def test_a_refused_request_is_dead_at_once() -> None:
    assert verdict(Failure(FailureKind.REFUSED, "not one slash")) == Verdict(
        Next.DEAD, "not one slash"
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7),
        (b" 120 ", 120),
        (b"0000000120", 120),
        (b"0", 1),
        (b"3601", 3_600),
        (b"9" * 5_000, 3_600),
        (email.utils.formatdate(START_MS / 1000 + 90, usegmt=True).encode(), 90),
        (email.utils.formatdate(START_MS / 1000 - 90, usegmt=True).encode(), 1),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 3_600),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_within_bounds(status: int, value: bytes, seconds: float) -> None:
    answer = Response(status, ((b"X-Other", b"1"), (b"retry-AFTER", value)))

    assert after(answer) == seconds
    assert after(answer, 8) == seconds
    assert verdict(answer, 9).next is Next.DEAD


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"soon",
        b"-5",
        b"1.5",
        "٣".encode(),
        b"\xb2",  # a superscript two in Latin-1: a digit, and no number
        b"\xff\x00",
        b"Mon, 99 Foo 2026 00:00:00 GMT",
        b"Mon, 01 Jan 99999 00:00:00 GMT",
        b"Thu, 02 Jul 2026 14:00:10 +99999999999999999999",
    ],
)
def test_a_retry_after_that_says_nothing_is_overlooked(value: bytes) -> None:
    headers = ((b"Retry-After", value),)

    assert retry_after(headers, START_MS) is None
    assert after(Response(503, headers)) == 5


def test_a_retry_after_on_an_answer_that_will_hardly_change_is_overlooked() -> None:
    assert after(Response(404, ((b"Retry-After", b"60"),))) == 5


@given(
    st.lists(st.tuples(st.just(b"Retry-After"), st.binary() | st.text().map(str.encode))),
    st.sampled_from(["Thu, 02 Jul 2026 14:00:10 ", "1 Jan 1 ", ""]),
    st.text("0123456789+-:", max_size=30),
)
def test_no_header_does_harm(headers: list[tuple[bytes, bytes]], date: str, zone: str) -> None:
    several: HeaderList = ((b"Retry-After", (date + zone).encode()), *headers)

    seconds = retry_after(several, START_MS)

    assert seconds is None or 1 <= seconds <= 3_600


def test_reasons_are_said_in_a_few_words() -> None:
    assert describe(Response(503)) == "the target answered 503"
    assert describe(Failure(FailureKind.TIMEOUT)) == "timeout"
    assert describe(Failure(FailureKind.TARGET_LOST)) == "target lost"
    assert describe(Failure(FailureKind.NETWORK, "x" * 9_999)) == "x" * 500


# Holding a key back


@pytest.mark.parametrize(
    ("failures", "failing_for_s", "held"),
    [(2, 29.9, True), (3, 29.9, False), (3, 0.0, False), (2, 30.0, False)],
)
def test_a_key_is_held_for_three_failures_or_half_a_minute(
    failures: int, failing_for_s: float, held: bool
) -> None:
    assert holds(Policy(), failures, failing_for_s) is held
    assert holds(Policy(strict_order=True), failures, failing_for_s)


# Policies


def kind(verdict: Verdict) -> object:
    """A verdict without its words: after how many seconds, or which one."""
    return verdict.after_s if verdict.next is Next.AGAIN else verdict.next


@pytest.mark.parametrize("policy", [ORDINARY, ONCE, SHORT, STUBBORN, STRICT])
@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (OK, Next.DELIVERED),
        (DOWN, Next.GIVEN_BACK),
        (REFUSED, Next.DEAD),
        (GONE, Next.PAUSED),
        (LOST, 0.0),
    ],
)
def test_some_outcomes_mean_the_same_whatever_the_policy(
    policy: Policy, outcome: Outcome, verdict: object
) -> None:
    assert kind(decide(outcome, policy, 1, 0, 0.0, START_MS)) == verdict
    if outcome is not LOST:
        assert kind(decide(outcome, policy, 99, 9, 0.0, START_MS)) == verdict


@pytest.mark.parametrize(
    ("policy", "outcome", "verdicts"),
    [
        (ORDINARY, BROKEN, [5.0, 30.0, 120.0]),
        (ORDINARY, NOT_FOUND, [5.0, 30.0, Next.DEAD]),
        (ORDINARY, AGAIN_AFTER, [90.0, 90.0, 90.0]),
        (ONCE, BROKEN, [Next.DEAD]),
        (ONCE, NOT_FOUND, [Next.DEAD]),
        (ONCE, AGAIN_AFTER, [Next.DEAD]),
        (SHORT, BROKEN, [1.0, 2.0, Next.DEAD]),
        (SHORT, NOT_FOUND, [Next.DEAD]),
        (SHORT, AGAIN_AFTER, [90.0, 90.0, Next.DEAD]),
        (STUBBORN, NOT_FOUND, [7.0, 7.0, 7.0, Next.DEAD]),
        (STRICT, BROKEN, [5.0, 30.0]),
        (ORDINARY, Failure(FailureKind.TIMEOUT), [5.0, 30.0]),
        (SHORT, Failure(FailureKind.NETWORK), [1.0, 2.0, Next.DEAD]),
    ],
)
def test_each_failure_leads_to_the_next_delay(
    policy: Policy, outcome: Outcome, verdicts: list[object]
) -> None:
    found = [kind(decide(outcome, policy, n + 1, n, 0.0, START_MS)) for n in range(len(verdicts))]

    assert found == verdicts


def test_a_subscription_changes_what_it_names_and_no_more() -> None:
    changes = PolicyChanges(other_tries=1, strict_order=True)

    assert changes.applied_to(SHORT) == Policy((1.0, 2.0), 1, 3, 30.0, strict_order=True)
    assert PolicyChanges().applied_to(SHORT) == SHORT
    assert PolicyChanges(strict_order=False).applied_to(STRICT) == ORDINARY
