"""Deliveries as they stood at a moment that is past."""

from __future__ import annotations

import pytest

from relay_server.operations.past import deliveries_then, moments_of
from relay_server.reported import DeliveryState
from relay_server.values import Attempt

FAILED = Attempt(1, 1, 1_000, 200, "response", 500)
TAKEN = Attempt(1, 2, 6_200, 100, "response", 200)
DELIVERED = DeliveryState("ana", "delivered", (FAILED, TAKEN))


@pytest.mark.parametrize(
    ("at", "state", "attempts", "due_at"),
    [
        (999, "pending", (), 0),
        (1_000, "under_way", (), 0),
        (1_200, "waiting", (FAILED,), 6_200),
        (6_250, "under_way", (FAILED,), 0),
        (6_300, "delivered", (FAILED, TAKEN), 0),
    ],
)
def test_a_delivery_is_what_its_attempts_had_come_to(
    at: int, state: str, attempts: tuple[Attempt, ...], due_at: int
) -> None:
    [then] = deliveries_then([DELIVERED], at)
    assert (then.state, then.attempts, then.due_at) == (state, attempts, due_at)


def test_a_replay_is_there_once_it_was_begun() -> None:
    replay = DeliveryState("ana", "delivered", (TAKEN,), replay=2)
    assert deliveries_then([replay], 6_199) == []
    assert deliveries_then([replay], 6_300) == [replay]


def test_what_its_filter_left_out_was_always_left_out() -> None:
    skipped = DeliveryState("ana", "skipped", ())
    assert deliveries_then([skipped], 1) == [skipped]


def test_something_happens_where_an_attempt_begins_or_ends() -> None:
    assert sorted(moments_of([DELIVERED])) == [1_000, 1_200, 6_200, 6_300]
