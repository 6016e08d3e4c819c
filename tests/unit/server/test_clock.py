"""Looks at the clock that fall together."""

from __future__ import annotations

import pytest

from relay_server.clock import until_next


@pytest.mark.parametrize(
    ("now", "wait_s"),
    [
        (10.0, 1.0),
        (10.3, 0.7),
        (10.999, 1.001),  # a timer that went off a moment early: not a second time for one look
        (11.001, 0.999),
    ],
)
def test_looks_fall_on_the_multiples_of_their_period(now: float, wait_s: float) -> None:
    assert until_next(1.0, now) == pytest.approx(wait_s)
