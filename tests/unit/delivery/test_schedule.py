"""Which delivery may go next, when, and what is known of each."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Self

import pytest

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Outcome, Response
from relay_server.configs import Policy
from relay_server.delivery import schedule as schedule_module
from relay_server.delivery.lanes import Entry
from relay_server.delivery.schedule import LOOK_AHEAD, Schedule
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK, mark, outline

CLIENT, OTHER = object(), object()


class Driver:
    """A schedule and its time."""

    def __init__(self, *keys: str, floor: int = 0, marks: tuple[Mark, ...] = ()) -> None:
        self.now = 0.0
        claim = Claim(1, 1, Progress(floor, marks))
        self.schedule = Schedule(claim, Policy(), 0.0, START_MS)
        self.load(*keys)

    def load(self, *keys: str) -> None:
        """Add the next events, each of its key."""
        first = self.schedule.read_up_to + 1
        outlines = [outline(sequence, key) for sequence, key in enumerate(keys, first)]
        self.schedule.load(outlines, self.now)

    def pick(self, limit: int = 99) -> list[int]:
        """Sequences that may go now; they are put back."""
        picked = self.schedule.pick(limit)
        self.schedule.put_back(picked)
        return [entry.sequence for entry in picked]

    def begin(self, holder: object = CLIENT) -> list[int]:
        """Begin all that may go."""
        picked = self.schedule.pick(99)
        return [e.sequence for e in picked if self.schedule.begin(e, holder, self.now)]

    def finish(self, sequence: int, outcome: Outcome = OK, holder: object = CLIENT) -> Entry | None:
        """A result comes, without jitter."""
        finished = self.schedule.finish(sequence, holder, outcome, self.now, 0.0)
        return finished.entry if finished else None

    def wait(self, seconds: float) -> None:
        """Time passes, and is looked at."""
        self.now += seconds
        self.schedule.tick(self.now)

    def marks(self) -> dict[int, Mark]:
        """What changed."""
        return {m.sequence: m for m in self.schedule.changes()}


# Order


def test_one_of_a_key_goes_at_a_time_in_order() -> None:
    driver = Driver("a", "b", "a", "c", "b")

    assert driver.begin() == [1, 2, 4]
    assert driver.begin() == []
    driver.finish(2)
    assert driver.begin() == [5]
    driver.finish(1)
    assert driver.begin() == [3]


def test_the_oldest_go_first_whatever_their_key() -> None:
    driver = Driver("b", "a", "c", "b")

    assert driver.pick(2) == [1, 2]
    assert driver.pick() == [1, 2, 3]


def test_what_was_put_back_is_picked_again() -> None:
    driver = Driver("a", "b")

    assert [driver.pick(), driver.pick()] == [[1, 2], [1, 2]]
    picked = driver.schedule.pick(1)
    assert driver.pick() == [2]
    driver.schedule.put_back(picked)
    assert driver.pick() == [1, 2]


def test_what_was_picked_does_not_begin_once_an_older_one_may_go() -> None:
    """An event let go of its key becomes due while the next one is fetched."""
    driver = Driver("a", "a")
    for seconds in (5, 30, 120):
        driver.begin()
        driver.finish(1, BROKEN)
        driver.wait(0 if seconds == 120 else seconds)
    picked = driver.schedule.pick(9)
    assert [e.sequence for e in picked] == [2]

    driver.wait(120)

    assert not driver.schedule.begin(picked[0], CLIENT, driver.now)
    assert driver.begin() == [1]
    driver.finish(1)
    assert driver.begin() == [2]


# Floor


def test_the_floor_is_below_the_first_that_is_not_settled() -> None:
    driver = Driver("a", "b", "c")
    driver.begin()

    driver.finish(2)
    assert driver.schedule.floor == 0
    driver.finish(1)
    assert driver.schedule.floor == 2
    driver.finish(3, Response(200))
    assert (driver.schedule.floor, driver.schedule.unsettled) == (3, 0)


def test_events_that_are_gone_do_not_hold_the_floor() -> None:
    driver = Driver(floor=10)
    driver.schedule.load([outline(15, "a"), outline(20, "b")], 0.0)

    assert driver.schedule.floor == 14
    [first, second] = driver.schedule.pick(9)
    driver.schedule.vanish(first)
    assert driver.schedule.floor == 19
    driver.schedule.put_back([second])
    assert driver.begin() == [20]


def test_an_event_that_vanishes_lets_its_key_go_on() -> None:
    driver = Driver("a", "a")
    [first] = driver.schedule.pick(9)

    driver.schedule.vanish(first)

    assert driver.begin() == [2]
    assert driver.schedule.floor == 1


# Results


@pytest.mark.parametrize("outcome", [OK, BROKEN, DOWN, LOST])
def test_late_and_repeated_results_change_nothing(outcome: Outcome) -> None:
    driver = Driver("a", "a")
    driver.begin()
    assert driver.finish(1, outcome, OTHER) is None
    assert driver.finish(2, outcome) is None
    assert driver.finish(99, outcome) is None

    assert driver.finish(1) is not None
    assert driver.finish(1, outcome) is None

    assert driver.marks() == {}  # the floor says it
    assert driver.schedule.floor == 1


def test_what_is_given_back_goes_again_at_once_as_the_same_attempt() -> None:
    driver = Driver("a", "a")
    driver.begin()

    entry = driver.finish(1, DOWN)

    assert entry is not None
    assert (entry.attempt, entry.failures) == (0, 0)
    assert driver.begin() == [1]
    assert driver.marks()[1].attempt == 1


def test_a_target_that_vanishes_costs_an_attempt_and_no_failure() -> None:
    driver = Driver("a", "a")
    driver.begin()

    driver.finish(1, LOST)

    assert driver.begin() == [1]
    again = driver.marks()[1]
    assert (again.attempt, again.failures) == (2, 0)


def test_a_dead_delivery_is_noted_below_the_floor() -> None:
    driver = Driver("a", "a")
    for seconds in (5, 30, 0):
        assert driver.begin() == [1]
        driver.finish(1, Response(404))
        driver.wait(seconds)

    assert driver.schedule.floor == 1
    dead = Mark(1, MarkState.DEAD, 3, 2, 0, START_MS, "the target answered 404", START_MS + 35_000)
    assert driver.marks() == {1: dead}
    assert driver.marks() == {}
    assert driver.begin() == [2]


# Retries and holds


def test_a_failing_event_holds_its_key_for_three_tries() -> None:
    driver = Driver("a", "b", "a")
    driver.begin()
    driver.finish(1, BROKEN)
    assert driver.schedule.next_timer == 5.0
    driver.finish(2)

    driver.wait(4.9)
    assert driver.begin() == []
    driver.wait(0.1)
    assert driver.begin() == [1]
    driver.finish(1, BROKEN)
    assert driver.begin() == []
    driver.wait(24.9)
    assert driver.begin() == []  # two tries, and not yet 30 s
    driver.wait(0.1)
    assert driver.begin() == [3]


def test_a_third_failure_lets_the_key_go_on_at_once() -> None:
    driver = Driver("a", "a")
    answer = Response(503, ((b"Retry-After", b"1"),))
    for _ in range(2):
        assert driver.begin() == [1]
        driver.finish(1, answer)
        assert driver.begin() == []
        driver.wait(1)
    assert driver.begin() == [1]
    driver.finish(1, answer)

    assert driver.begin() == [2]
    driver.wait(1)
    assert driver.begin() == []  # still one of a key at a time
    driver.finish(2)
    assert driver.begin() == [1]


def test_a_hold_ends_though_the_next_try_is_far_away() -> None:
    driver = Driver("a", "a")
    driver.begin()
    driver.finish(1, Response(503, ((b"Retry-After", b"3600"),)))

    driver.wait(29.9)
    assert driver.begin() == []
    driver.wait(0.1)
    assert driver.begin() == [2]
    driver.wait(3_570)
    driver.finish(2)
    assert driver.begin() == [1]


def test_what_comes_back_takes_its_place_among_its_key() -> None:
    """Neither before an older one that came back earlier, nor behind a younger one."""
    driver = Driver("a", "a", "a")
    slow, slower = (Response(503, ((b"Retry-After", after),)) for after in (b"60", b"120"))
    for sequence, answer in ((1, slow), (2, slower)):
        assert driver.begin() == [sequence]
        driver.finish(sequence, answer)
        driver.wait(30)  # the hold ends

    assert driver.begin() == [1]
    driver.wait(0)
    driver.schedule.release(CLIENT)
    driver.wait(90)
    order = []
    for _ in range(3):
        [sequence] = driver.begin()
        order.append(sequence)
        driver.finish(sequence)

    assert order == [1, 2, 3]


def test_other_keys_do_not_wait_for_one_that_fails() -> None:
    driver = Driver("a", "a", "b", "b")
    driver.begin()
    driver.finish(1, BROKEN)
    driver.finish(3)

    assert driver.begin() == [4]


# Leases


def test_a_lease_that_runs_out_lets_the_delivery_go_again() -> None:
    driver = Driver("a", "a")
    driver.begin()

    driver.wait(LEASE_S - 0.1)
    assert driver.begin() == []
    driver.wait(0.1)
    assert driver.finish(1) is None
    assert driver.begin() == [1]
    assert driver.marks()[1].attempt == 2


def test_a_lease_is_extended_by_its_holder_alone() -> None:
    driver = Driver("a", "b")
    driver.begin()

    for _ in range(5):
        driver.wait(LEASE_S - 1)
        driver.schedule.extend([1, 99], CLIENT, driver.now)
        driver.schedule.extend([2], OTHER, driver.now)

    assert driver.begin() == [2]
    assert driver.finish(1) is not None


def test_what_a_lost_holder_had_goes_again_in_order() -> None:
    driver = Driver("a", "b", "a")
    driver.begin()

    driver.schedule.release(OTHER)
    assert driver.begin() == []
    driver.schedule.release(CLIENT)

    assert driver.begin(OTHER) == [1, 2]
    assert driver.finish(1, OK, CLIENT) is None
    assert driver.finish(1, OK, OTHER) is not None


# Going on where an earlier reader left off


def test_a_new_schedule_goes_on_where_the_last_one_was() -> None:
    """Settled ones stay settled, attempts go on counting, waiting ones wait on."""
    now_ms = START_MS
    marks = (
        mark(2, MarkState.DEAD),
        Mark(3, MarkState.UNDER_WAY, 4, 1, 0, now_ms - 1_000, "x"),
        Mark(4, MarkState.WAITING, 1, 1, now_ms + 5_000, now_ms, "x"),
        mark(6),
    )
    driver = Driver("a", "b", "c", "d", "d", "d", "a", marks=marks)

    assert driver.begin() == [1, 3]
    driver.finish(1)
    assert driver.schedule.floor == 2
    assert driver.begin() == [7]
    driver.wait(5)
    assert driver.begin() == [4]
    driver.finish(4)
    assert driver.begin() == [5]
    assert {s: m.attempt for s, m in driver.marks().items() if s in (3, 4)} == {3: 5, 4: 2}


def test_a_hold_goes_on_after_a_restart_for_what_is_left_of_it() -> None:
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS - 20_000, "x")
    driver = Driver("a", "a", marks=(waiting,))

    driver.wait(9.9)
    assert driver.begin() == []
    driver.wait(0.1)
    assert driver.begin() == [2]


def test_what_became_due_meanwhile_goes_at_once_and_in_order() -> None:
    due = tuple(
        Mark(s, MarkState.WAITING, 9, 5, START_MS - s, START_MS - 99, "") for s in (1, 2, 3)
    )
    driver = Driver("a", "a", "a", "a", marks=due)

    order = []
    for _ in range(4):
        [sequence] = driver.begin()
        order.append(sequence)
        driver.finish(sequence)

    assert order == [1, 2, 3, 4]


def test_times_survive_a_restart_on_another_monotonic_clock() -> None:
    driver = Driver("a")
    driver.wait(100)
    driver.begin()
    driver.finish(1, BROKEN)
    [waiting] = driver.schedule.changes()
    assert (waiting.due_at, waiting.failing_since) == (START_MS + 105_000, START_MS + 100_000)

    later = Schedule(Claim(1, 2, Progress(0, (waiting,))), Policy(), 7_000.0, START_MS + 102_000)
    later.load([outline(1, "a")], 7_000.0)

    assert later.next_timer == 7_003.0


# Size


def test_it_says_how_much_more_it_takes() -> None:
    driver = Driver(*["a"] * 10)
    driver.begin()

    assert driver.schedule.room == LOOK_AHEAD - 10
    driver.finish(1)
    assert (driver.schedule.room, driver.schedule.unsettled) == (LOOK_AHEAD - 9, 9)


class Effort:
    """Counts the lines of the schedule that run, its loops included."""

    def __init__(self) -> None:
        self.lines = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Effort | None:
        return self if frame.f_code.co_filename == schedule_module.__file__ else None

    def __call__(self, _frame: FrameType, event: str, _arg: object) -> Effort:
        self.lines += event == "line"
        return self


def effort(count: int, keys: int, marks: tuple[Mark, ...] = ()) -> int:
    """What it takes to load and finish so many deliveries."""
    schedule = Schedule(Claim(1, 1, Progress(0, marks)), Policy(), 0.0, START_MS)
    with Effort() as effort:
        schedule.load([outline(n, str(n % keys)) for n in range(1, count + 1)], 0.0)
        while picked := schedule.pick(32):
            for entry in picked:
                schedule.begin(entry, CLIENT, 0.0)
            for entry in picked:
                schedule.finish(entry.sequence, CLIENT, OK, 0.0, 0.0)
    assert (schedule.floor, schedule.unsettled) == (count, 0)
    return effort.lines


@pytest.mark.parametrize("one_key", [True, False])
def test_many_deliveries_cost_as_much_each_as_few(one_key: bool) -> None:
    few, many = (effort(count, 1 if one_key else count) for count in (1_000, 10_000))

    assert many < few * 10 * 1.5


def test_many_retries_that_became_due_cost_as_much_each_as_few() -> None:
    def due(count: int) -> tuple[Mark, ...]:
        sequences = range(1, count + 1)
        return tuple(Mark(s, MarkState.WAITING, 3, 3, START_MS - 1, START_MS) for s in sequences)

    few, many = (effort(count, 1, due(count)) for count in (500, 5_000))

    assert many < few * 10 * 2
