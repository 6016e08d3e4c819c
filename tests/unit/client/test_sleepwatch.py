"""Noticing a sleep by the clocks."""

from __future__ import annotations

import pytest

from relay_client.sleepwatch import SleepWatch


@pytest.mark.parametrize(
    ("wall", "monotonic", "slept"),
    [
        (1001.0, 1.0, False),
        (1009.0, 1.0, False),  # a clock that was put right a little
        (1011.0, 1.0, True),  # Linux and macOS: the monotonic clock stood still
        (1011.0, 11.0, True),  # Windows: it went on
        (500.0, 1.0, False),  # a clock put back
    ],
)
def test_a_jump_is_a_sleep(wall: float, monotonic: float, slept: bool) -> None:
    """From 10 seconds on."""
    assert SleepWatch(1000.0, 0.0).slept(wall, monotonic) is slept


def test_a_jump_counts_once() -> None:
    """The next look compares with the last."""
    watch = SleepWatch(0.0, 0.0)

    assert [watch.slept(100.0, 1.0), watch.slept(101.0, 2.0)] == [True, False]
