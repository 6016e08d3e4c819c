"""When to connect again: after delays that grow, or at once after a sleep."""

from __future__ import annotations

import pytest

from relay_client.backoff import LONGEST_S, STABLE_S, Backoff, SleepWatch


def longest(low: float, high: float) -> float:
    assert low == 0.0
    return high


def test_delays_double_up_to_the_longest() -> None:
    """Over failures in a row, however many."""
    backoff = Backoff(longest)

    delays = [backoff.delay(0.0) for _ in range(2_000)]

    assert delays[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]
    assert set(delays[8:]) == {LONGEST_S}


def test_a_connection_that_lasted_starts_anew() -> None:
    """One that dropped at once does not."""
    backoff = Backoff(longest)
    backoff.delay(0.0)
    backoff.opened(10.0)
    assert backoff.delay(10.0 + STABLE_S - 0.01) == 0.2

    backoff.opened(20.0)
    assert backoff.delay(20.0 + STABLE_S) == 0.1


def test_an_old_connection_does_not_count_for_later_failures() -> None:
    """Time that passed without a connection is no stability."""
    backoff = Backoff(longest)
    backoff.opened(0.0)
    backoff.delay(1.0)

    assert backoff.delay(100.0) == 0.2


def test_a_reset_forgets_everything() -> None:
    """After a sleep."""
    backoff = Backoff(longest)
    for _ in range(5):
        backoff.delay(0.0)
    backoff.reset()

    assert backoff.delay(0.0) == 0.1


def test_delays_are_drawn_from_all_of_the_range() -> None:
    """Otherwise clients would come back together."""
    delays = [Backoff().delay(0.0) for _ in range(200)]

    assert 0.0 <= min(delays) < 0.05 < max(delays) <= 0.1


@pytest.mark.parametrize(
    ("wall", "monotonic", "slept"),
    [
        (1001.0, 1.0, 0.0),
        (1009.0, 1.0, 0.0),  # a clock that was put right a little
        (1011.0, 1.0, 10.0),  # Linux and macOS: the monotonic clock stood still
        (1011.0, 11.0, 11.0),  # Windows, or a process that was stopped: it went on
        (500.0, 1.0, 0.0),  # a clock put back
    ],
)
def test_a_jump_is_a_sleep(wall: float, monotonic: float, slept: float) -> None:
    """From 10 seconds on."""
    assert SleepWatch(1000.0, 0.0).slept(wall, monotonic) == slept


def test_a_jump_counts_once() -> None:
    """The next look compares with the last."""
    watch = SleepWatch(0.0, 0.0)

    assert [watch.slept(100.0, 1.0), watch.slept(101.0, 2.0)] == [99.0, 0.0]
