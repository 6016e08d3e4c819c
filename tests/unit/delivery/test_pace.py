"""How fast what is replayed leaves."""

from __future__ import annotations

import pytest

from relay_server.delivery.pace import REPLAY_BURST_S, Pace


def test_a_pace_lets_go_at_its_rate_and_catches_up_little() -> None:
    pace = Pace(100.0, now=0.0)

    assert [pace.allowance(0.0), pace.allowance(0.01), pace.allowance(9.0)] == [1, 2, 6]
    for _ in range(6):
        pace.spend(9.0)
    assert pace.allowance(9.0) == 0
    assert pace.next_at == pytest.approx(9.0 - REPLAY_BURST_S + 0.06)
    assert pace.allowance(pace.next_at) == 1


def test_without_a_rate_a_pace_holds_nothing_up() -> None:
    pace = Pace(None, now=5.0)
    for _ in range(99):
        assert pace.allowance(5.0) > 0
        pace.spend(5.0)
