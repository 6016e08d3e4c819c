"""Which of many like log lines are written."""

from __future__ import annotations

import itertools

import pytest

from relay_server.throttle import FIRST_PAUSE_S, LONGEST_PAUSE_S, QUIET_S, Throttle


def lines(throttle: Throttle, every_s: float, for_s: float) -> list[tuple[float, int]]:
    """When lines are due of what happens again and again, and how many each counts."""
    times = [n * every_s for n in range(round(for_s / every_s))]
    return [(now, count) for now in times if (count := throttle.due("kind", now))]


def test_the_first_of_a_kind_gets_a_line_and_then_one_each_pause() -> None:
    throttle = Throttle()

    assert lines(throttle, 1.0, 100.0) == [(0, 1), *((now, 10) for now in range(10, 100, 10))]
    assert throttle.due("other", 5.0) == 1


def test_pauses_double_up_to_the_longest() -> None:
    """Ever more rarely, but whoever looks at the log of today finds it."""
    due_at = [now for now, _ in lines(Throttle(LONGEST_PAUSE_S), 10.0, 2 * 86_400.0)]

    pauses = [after - before for before, after in itertools.pairwise(due_at)]
    assert pauses[:4] == [FIRST_PAUSE_S, 20.0, 40.0, 80.0]
    assert pauses == sorted(pauses)
    assert pauses[-30:] == pytest.approx([LONGEST_PAUSE_S] * 30)


def test_a_kind_that_was_quiet_is_news_again() -> None:
    """However rarely it got a line in the end."""
    throttle = Throttle(LONGEST_PAUSE_S)
    lines(throttle, QUIET_S, 3_000.0)  # the next line would come half an hour later

    news_at = 3_000.0 + QUIET_S + 1
    assert throttle.due("kind", news_at) > 0
    assert throttle.due("kind", news_at + FIRST_PAUSE_S - 1) == 0
    assert throttle.due("kind", news_at + FIRST_PAUSE_S) == 2


def test_kinds_beyond_a_bound_share_a_line_until_one_is_quiet() -> None:
    throttle = Throttle(kinds=2)

    assert [throttle.due(kind, 0.0) for kind in "abacbd"] == [1, 1, 0, 1, 0, 0]
    assert len(throttle._kinds) == 3
    assert throttle.due("c", QUIET_S + 1) == 1
    assert len(throttle._kinds) == 3


def test_errors_that_differ_in_every_number_get_few_lines() -> None:
    throttle = Throttle(LONGEST_PAUSE_S, kinds=8)

    due = [throttle.due(f"page {n} is locked", float(n)) for n in range(1_000)]

    assert sum(count > 0 for count in due) < 8 + 8
