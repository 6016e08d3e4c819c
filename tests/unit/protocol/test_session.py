"""The credit window that both ends count with; when to ping, and when the other end is dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.session import Liveness, Window

SIZE = 10
SIZES = st.sampled_from([0, 1, 4, 9, SIZE, SIZE + 1, 3 * SIZE])


def test_a_window_takes_deliveries_bytes_and_one_larger_body() -> None:
    window = Window(3, SIZE)
    window.take("a", SIZE)

    assert (window.credit, window.accepts(0), window.accepts(1)) == (2, True, False)
    assert window.refusal(1) == "more bytes than the window allows"
    window.take("large", 3 * SIZE)
    assert window.refusal(SIZE + 1) == "a second body that is larger than the window"
    window.take("b", 0)
    assert (window.credit, window.refusal(0)) == (0, "more deliveries than the window allows")
    assert list(window) == ["a", "large", "b"]


def test_what_is_given_back_makes_room_once() -> None:
    window = Window(2, SIZE)
    window.take("a", SIZE)
    window.take("large", SIZE + 1)

    assert [window.give_back("large"), window.give_back("large")] == [SIZE + 1, None]
    assert window.accepts(SIZE + 1)
    assert not window.accepts(1)
    assert (window.give_back("a"), window.give_back("never")) == (SIZE, None)
    assert window.accepts(SIZE)


def test_nothing_is_counted_twice_or_beyond_the_bounds() -> None:
    window = Window(2, SIZE)
    window.take("a", SIZE)

    with pytest.raises(AssertionError, match="counted twice"):
        window.take("a", 0)
    with pytest.raises(AssertionError, match="more bytes"):
        window.take("b", 1)


@given(
    deliveries=st.integers(1, 4),
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), SIZES), max_size=60),
)
def test_a_window_is_what_is_under_way(deliveries: int, steps: list[tuple[bool, str, int]]) -> None:
    """Against a model that counts anew each time, and loses no credit in the end."""
    window, model = Window(deliveries, SIZE), dict[str, int]()
    for sends, name, size in steps:
        fitting = [s for s in model.values() if s <= SIZE]
        larger = len(model) - len(fitting)
        fits = not larger if size > SIZE else sum(fitting) + size <= SIZE
        assert window.accepts(size) == (len(model) < deliveries and fits)
        if not sends:
            assert window.give_back(name) == model.pop(name, None)
        elif name not in model and window.accepts(size):
            window.take(name, size)
            model[name] = size
        assert (window.credit, list(window)) == (deliveries - len(model), list(model))

    for name in model:
        window.give_back(name)
    assert (window.credit, window.accepts(SIZE), window.accepts(9 * SIZE)) == (
        deliveries,
        True,
        True,
    )


def test_a_connection_that_is_gone_takes_its_count_with_it() -> None:
    window = Window(2, SIZE)
    window.take("a", SIZE)
    window.take("large", SIZE + 1)

    window.clear()

    assert (len(window), window.accepts(SIZE), window.accepts(SIZE + 1)) == (0, True, True)


# Heartbeats


def test_it_pings_at_each_interval_and_no_more_often() -> None:
    """Whatever is heard keeps it alive, but puts no ping off."""
    liveness, pings = Liveness(100.0, 15.0), []

    for second in range(1, 61):
        liveness.heard(100.0 + second)
        assert not liveness.is_dead(100.0 + second)
        if liveness.ping_is_due(100.0 + second):
            pings.append(second)

    assert pings == [15, 30, 45, 60]


@pytest.mark.parametrize(("interval", "last", "dead"), [(15.0, 34.9, 35.0), (0.3, 0.69, 0.71)])
def test_it_is_dead_after_two_missed_and_a_grace(interval: float, last: float, dead: float) -> None:
    liveness = Liveness(0.0, interval)

    assert not liveness.ping_is_due(interval - 0.01)
    assert liveness.ping_is_due(interval)
    assert [liveness.is_dead(now) for now in (last, dead)] == [False, True]
    liveness.heard(last)
    assert [liveness.is_dead(last + now) for now in (last, dead)] == [False, True]
