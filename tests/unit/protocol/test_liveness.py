"""When to ping, and when the other end is dead."""

from __future__ import annotations

from relay_protocol.liveness import Beat, Liveness


def test_it_pings_at_each_interval_and_no_more_often() -> None:
    liveness = Liveness(100.0, 15.0)
    beats = {}

    for second in range(1, 61):
        liveness.heard(100.0 + second)
        beats[second] = liveness.check(100.0 + second)

    assert [second for second, beat in beats.items() if beat is Beat.PING] == [15, 30, 45, 60]
    assert Beat.DEAD not in beats.values()


def test_it_is_dead_after_two_missed_and_a_grace() -> None:
    liveness = Liveness(0.0, 15.0)

    beats = [liveness.check(float(second)) for second in range(1, 37)]

    assert [n for n, beat in enumerate(beats, 1) if beat is Beat.PING] == [15, 30]
    assert [n for n, beat in enumerate(beats, 1) if beat is Beat.DEAD] == [35, 36]


def test_whatever_is_heard_keeps_it_alive() -> None:
    liveness = Liveness(0.0, 15.0)
    liveness.check(15.0)

    liveness.heard(34.9)

    assert liveness.check(35.0) is Beat.PING
    assert liveness.check(69.8) is not Beat.DEAD
    assert liveness.check(69.9) is Beat.DEAD


def test_the_interval_can_be_another() -> None:
    liveness = Liveness(0.0, 0.3)

    assert liveness.check(0.29) is Beat.QUIET
    assert liveness.check(0.3) is Beat.PING
    assert liveness.check(0.71) is Beat.DEAD
