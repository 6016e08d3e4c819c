"""The time line of an event: bars in order, on one scale, that tell what is longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.dashboard.timeline import WIDTH, TimeLine, time_line, what_follows
from relay_server.operations.events import AttemptLine, DeliveryLine

CAME, NOW = 1_000_000, 1_100_000


def attempt(number: int, start: int, took: int, status: int | None = 500) -> AttemptLine:
    return AttemptLine("ana", None, number, CAME + start, took, "response", status, "")


def drawn(state: str, *tries: AttemptLine, due_at: int | None = None) -> TimeLine:
    delivery = DeliveryLine("ana", state, len(tries), due_at=due_at)
    return time_line(CAME, [delivery], tries, (), NOW)


def test_attempts_and_the_waits_around_them_follow_each_other() -> None:
    [lane] = drawn("delivered", attempt(1, 2, 300), attempt(2, 30_302, 40, 200)).lanes
    assert [bar.kind for bar in lane.bars] == ["wait", "bad", "wait", "good"]
    assert [one.waited_ms for one in lane.tries] == [2, 30_000]
    short, failed, long, _ = [bar.width for bar in lane.bars]
    assert short < failed < long
    assert lane.waits_ms is None


def test_what_is_to_come_is_drawn_up_to_when_it_is_due() -> None:
    found = drawn("waiting", attempt(1, 0, 100), due_at=NOW + 60_000)
    assert found.end == NOW + 60_000
    assert [bar.kind for bar in found.lanes[0].bars] == ["bad", "ahead"]
    assert found.lanes[0].waits_ms == NOW - CAME - 100


def test_what_is_under_way_is_drawn_up_to_now() -> None:
    found = drawn("under_way")
    assert found.end == NOW
    assert [bar.kind for bar in found.lanes[0].bars] == ["under-way"]


def test_an_event_for_nobody_has_a_moment_and_no_lane() -> None:
    assert time_line(CAME, [], [], (), NOW) == TimeLine(CAME, CAME, [], [])


def test_the_reply_stands_where_it_came() -> None:
    tries = [attempt(1, 0, 100, 200)]
    delivery = DeliveryLine("ana", "delivered", 1, 200)
    found = time_line(CAME, [delivery], tries, (), NOW, replied_at=CAME + 1_200)
    [reply] = found.reply
    [answer] = found.lanes[0].bars
    assert found.end == CAME + 1_200
    assert reply.x > answer.x + answer.width


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (204, "response", "2xx settles it"),
        (503, "response", "503 is tried again"),
        (429, "response", "429 is tried again"),
        (404, "response", "404 is tried three times in all"),
        (410, "response", "410 pauses the subscription"),
        (None, "target_down", "it waits for the target, and uses up no attempt"),
        (None, "timeout", "it is tried again"),
    ],
)
def test_what_an_answer_means_is_said(status: int | None, outcome: str, words: str) -> None:
    assert what_follows(AttemptLine("ana", None, 1, 0, 0, outcome, status, "")) == words


@given(st.lists(st.tuples(st.integers(-5, 10**9), st.integers(0, 10**7)), max_size=20))
def test_whatever_was_recorded_bars_stay_on_the_line_and_in_order(
    times: list[tuple[int, int]],
) -> None:
    tries = [attempt(n, start, took) for n, (start, took) in enumerate(times, 1)]
    [lane] = drawn("dead", *tries).lanes
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in lane.bars)
    assert [bar.x for bar in lane.bars] == sorted(bar.x for bar in lane.bars)
