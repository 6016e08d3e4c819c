"""Which delivery may go next, when, and what is known of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Outcome, Response
from relay_server.configs import Policy
from relay_server.delivery.order import Order
from relay_server.delivery.retry import Next, Verdict
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK, mark, outline
from tests.unit.delivery.support import HOLDER, ORDINARY, STRICT, Line

OTHER = object()
GONE = Response(410)
OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from([OK, BROKEN, LOST, DOWN])


# Order


def test_one_of_a_key_goes_at_a_time_in_order() -> None:
    line = Line("a", "b", "a", "c", "b")

    assert line.begin() == [1, 2, 4]
    assert line.begin() == []
    line.finish(2)
    assert line.begin() == [5]
    line.finish(1)
    assert line.begin() == [3]


def test_the_oldest_go_first_whatever_their_key() -> None:
    line = Line("b", "a", "c", "b")

    assert line.pick(2) == [1, 2]
    assert line.pick() == [1, 2, 3]


def test_what_was_put_back_is_picked_again() -> None:
    line = Line("a", "b")

    assert [line.pick(), line.pick()] == [[1, 2], [1, 2]]
    picked = line.order.pick(1)
    assert line.pick() == [2]
    for entry in picked:
        line.order.put_back(entry)
    assert line.pick() == [1, 2]


def test_what_was_picked_does_not_begin_once_an_older_one_may_go() -> None:
    """An event let go of its key becomes due while the next one is fetched."""
    line = Line("a", "a")
    for seconds in (5, 30, 120):
        line.begin()
        line.finish(1, BROKEN)
        line.wait(0 if seconds == 120 else seconds)
    picked = line.order.pick(9)
    assert [e.sequence for e in picked] == [2]

    line.wait(120)

    assert not line.order.begin(picked[0], HOLDER, line.now)
    assert line.begin() == [1]
    line.finish(1)
    assert line.begin() == [2]


# Floor


def test_the_floor_is_below_the_first_that_is_not_settled() -> None:
    line = Line("a", "b", "c")
    line.begin()

    line.finish(2)
    assert line.order.floor == 0
    line.finish(1)
    assert line.order.floor == 2
    line.finish(3, Response(200))
    assert (line.order.floor, line.order.unsettled) == (3, 0)


def test_events_that_are_gone_do_not_hold_the_floor() -> None:
    line = Line(floor=10)
    line.feed([outline(15, "a"), outline(20, "b")])

    assert line.order.floor == 14
    [first, second] = line.order.pick(9)
    line.order.vanish(first)
    assert line.order.floor == 19
    line.order.put_back(second)
    assert line.begin() == [20]


# Results


@pytest.mark.parametrize("outcome", [OK, BROKEN, DOWN, LOST])
def test_late_and_repeated_results_change_nothing(outcome: Outcome) -> None:
    line = Line("a", "a")
    line.begin()
    assert line.finish(1, outcome, OTHER) is None
    assert line.finish(2, outcome) is None
    assert line.finish(99, outcome) is None

    assert line.finish(1) is not None
    assert line.finish(1, outcome) is None

    assert line.marks() == {}  # the floor says it
    assert line.order.floor == 1


def test_what_is_given_back_goes_again_at_once_as_the_same_attempt() -> None:
    line = Line("a", "a")
    line.begin()

    entry = line.finish(1, DOWN)

    assert entry is not None
    assert (entry.attempt, entry.failures) == (0, 0)
    assert line.begin() == [1]
    assert line.marks()[1].attempt == 1


def test_a_target_that_vanishes_costs_an_attempt_and_no_failure() -> None:
    line = Line("a", "a")
    line.begin()

    line.finish(1, LOST)

    assert line.begin() == [1]
    again = line.marks()[1]
    assert (again.attempt, again.failures) == (2, 0)


def test_a_dead_delivery_is_noted_below_the_floor() -> None:
    line = Line("a", "a")
    for seconds in (5, 30, 0):
        assert line.begin() == [1]
        line.finish(1, Response(404))
        line.wait(seconds)

    assert line.order.floor == 1
    dead = Mark(1, MarkState.DEAD, 3, 2, 0, START_MS, "the target answered 404", START_MS + 35_000)
    assert line.marks() == {1: dead}
    assert line.marks() == {}
    assert line.begin() == [2]


# Retries and holds


def test_a_failing_event_holds_its_key_for_three_tries() -> None:
    line = Line("a", "b", "a")
    line.begin()
    line.finish(1, BROKEN)
    assert line.order.next_timer == 5.0
    line.finish(2)

    line.wait(4.9)
    assert line.begin() == []
    line.wait(0.1)
    assert line.begin() == [1]
    line.finish(1, BROKEN)
    assert line.begin() == []
    line.wait(24.9)
    assert line.begin() == []  # two tries, and not yet 30 s
    line.wait(0.1)
    assert line.begin() == [3]


def test_a_third_failure_lets_the_key_go_on_at_once() -> None:
    line = Line("a", "a")
    answer = Response(503, ((b"Retry-After", b"1"),))
    for _ in range(2):
        assert line.begin() == [1]
        line.finish(1, answer)
        assert line.begin() == []
        line.wait(1)
    assert line.begin() == [1]
    line.finish(1, answer)

    assert line.begin() == [2]
    line.wait(1)
    assert line.begin() == []  # still one of a key at a time
    line.finish(2)
    assert line.begin() == [1]


def test_a_hold_ends_though_the_next_try_is_far_away() -> None:
    line = Line("a", "a")
    line.begin()
    line.finish(1, Response(503, ((b"Retry-After", b"3600"),)))

    line.wait(29.9)
    assert line.begin() == []
    line.wait(0.1)
    assert line.begin() == [2]
    line.wait(3_570)
    line.finish(2)
    assert line.begin() == [1]


def test_what_comes_back_takes_its_place_among_its_key() -> None:
    """Neither before an older one that came back earlier, nor behind a younger one."""
    line = Line("a", "a", "a")
    slow, slower = (Response(503, ((b"Retry-After", after),)) for after in (b"60", b"120"))
    for sequence, answer in ((1, slow), (2, slower)):
        assert line.begin() == [sequence]
        line.finish(sequence, answer)
        line.wait(30)  # the hold ends

    assert line.begin() == [1]
    line.wait(0)
    line.order.release(HOLDER)
    line.wait(90)
    order = []
    for _ in range(3):
        [sequence] = line.begin()
        order.append(sequence)
        line.finish(sequence)

    assert order == [1, 2, 3]


# Leases


def test_a_lease_that_runs_out_lets_the_delivery_go_again() -> None:
    line = Line("a", "a")
    line.begin()

    line.wait(LEASE_S - 0.1)
    assert line.begin() == []
    line.wait(0.1)
    assert line.finish(1) is None
    assert line.begin() == [1]
    assert line.marks()[1].attempt == 2


def test_a_lease_is_extended_by_its_holder_alone() -> None:
    line = Line("a", "b")
    line.begin()

    for _ in range(5):
        line.wait(LEASE_S - 1)
        line.order.extend(1, HOLDER, line.now)
        line.order.extend(99, HOLDER, line.now)
        line.order.extend(2, OTHER, line.now)

    assert line.begin() == [2]
    assert line.finish(1) is not None


def test_what_a_lost_holder_had_goes_again_in_order() -> None:
    line = Line("a", "b", "a")
    line.begin()

    line.order.release(OTHER)
    assert line.begin() == []
    line.order.release(HOLDER)

    assert line.begin(OTHER) == [1, 2]
    assert line.finish(1, OK, HOLDER) is None
    assert line.finish(1, OK, OTHER) is not None


def test_what_is_under_way_is_noted_by_a_look_at_the_clock_once() -> None:
    """An ordinary delivery is over by then, and costs no mark."""
    line = Line("a", "b")
    line.begin()
    line.finish(1)
    assert line.marks() == {}

    line.wait(1)
    assert {s: m.state for s, m in line.marks().items()} == {2: MarkState.UNDER_WAY}
    line.wait(1)
    assert line.marks() == {}
    line.finish(2)
    states = {s: m.state for s, m in line.marks().items()}
    assert (states, line.order.floor) == ({2: MarkState.DELIVERED}, 2), "if it was given up since"


# Going on where an earlier reader left off


def test_a_new_order_goes_on_where_the_last_one_was() -> None:
    """Settled ones stay settled, attempts go on counting, waiting ones wait on."""
    now_ms = START_MS
    marks = (
        mark(2, MarkState.DEAD),
        Mark(3, MarkState.UNDER_WAY, 4, 1, 0, now_ms - 1_000, "x"),
        Mark(4, MarkState.WAITING, 1, 1, now_ms + 5_000, now_ms, "x"),
        mark(6),
    )
    line = Line("a", "b", "c", "d", "d", "d", "a", marks=marks)

    assert line.begin() == [1, 3]
    line.finish(1)
    assert line.order.floor == 2
    assert line.begin() == [7]
    line.wait(5)
    assert line.begin() == [4]
    line.finish(4)
    assert line.begin() == [5]
    assert {s: m.attempt for s, m in line.marks().items() if s in (3, 4)} == {3: 5, 4: 2}


def test_a_hold_goes_on_after_a_restart_for_what_is_left_of_it() -> None:
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS - 20_000, "x")
    line = Line("a", "a", marks=(waiting,))

    line.wait(9.9)
    assert line.begin() == []
    line.wait(0.1)
    assert line.begin() == [2]


def test_what_became_due_meanwhile_goes_at_once_and_in_order() -> None:
    due = tuple(
        Mark(s, MarkState.WAITING, 9, 5, START_MS - s, START_MS - 99, "") for s in (1, 2, 3)
    )
    line = Line("a", "a", "a", "a", marks=due)

    order = []
    for _ in range(4):
        [sequence] = line.begin()
        order.append(sequence)
        line.finish(sequence)

    assert order == [1, 2, 3, 4]


def test_times_survive_a_restart_on_another_monotonic_clock() -> None:
    line = Line("a")
    line.wait(100)
    line.begin()
    line.finish(1, BROKEN)
    [waiting] = line.order.changes(line.order.floor)
    assert (waiting.due_at, waiting.failing_since) == (START_MS + 105_000, START_MS + 100_000)

    later = Order(Claim(1, 2, Progress(0, (waiting,))), Policy(), 7_000.0, START_MS + 102_000)
    later.load([outline(1, "a")], 7_000.0, 0, 1)

    assert later.next_timer == 7_003.0


# Strict order


def test_in_strict_order_a_key_waits_until_its_first_is_settled() -> None:
    line = Line("a", "a", "b", policy=STRICT)
    assert line.begin() == [1, 3]
    line.finish(3)
    line.finish(1, BROKEN)
    for seconds in (5, 30, 120, 600):
        line.wait(seconds - 1)
        assert line.begin() == []
        line.wait(1)
        assert line.begin() == [1]
        line.finish(1, BROKEN)
    line.wait(1_800)
    line.begin()
    line.finish(1)

    assert line.begin() == [2]


def test_in_strict_order_the_dead_let_their_key_go() -> None:
    line = Line("a", "a", policy=Policy(retry_delays_s=(), strict_order=True))
    line.begin()
    line.finish(1, BROKEN)

    assert line.begin() == [2]


def test_order_becomes_strict_while_one_waits() -> None:
    """Also where its hold was over: what had not begun yet waits for it again."""
    line = Line("a", "a", "a")
    line.fail(1, 5, 30, 0)
    assert line.begin() == [2]
    line.finish(2)

    line.order.set_policy(STRICT, line.now)
    assert line.begin() == []
    line.wait(120)
    assert line.begin() == [1]
    line.finish(1)
    assert line.begin() == [3]


def test_order_ceases_to_be_strict_while_one_waits() -> None:
    line = Line("a", "a", policy=STRICT)
    line.fail(1, 5, 30, 0)
    assert line.begin() == []

    line.order.set_policy(ORDINARY, line.now)

    assert line.begin() == [2]
    line.finish(2)
    line.wait(120)
    assert line.begin() == [1]


def test_a_longer_hold_applies_to_what_waits_already() -> None:
    line = Line("a", "a")
    line.fail(1, 0)
    line.order.set_policy(Policy(hold_s=2.0), line.now)
    line.wait(1.9)
    assert line.begin() == []
    line.wait(0.1)
    assert line.begin() == [2]


def test_several_that_wait_go_in_strict_order_after_a_restart() -> None:
    """The order was not strict before, so that several of a key wait."""
    waiting = [
        Mark(s, MarkState.WAITING, 9, 5, START_MS + 1_000 * due, START_MS, "", START_MS)
        for s, due in ((1, 100), (2, 300), (3, 200))
    ]
    line = Line("a", "a", "a", "a", policy=STRICT, marks=waiting)
    order = []
    for _ in range(400):
        line.wait(1)
        for sequence in line.begin():
            order.append((sequence, line.now))
            line.finish(sequence)

    assert order == [(1, 100.0), (2, 300.0), (3, 300.0 + 1), (4, 302.0)]


def test_one_that_may_go_is_not_held_by_a_later_one() -> None:
    """The second fails while the first, which its key had gone on without, waits."""
    line = Line("a", "a", "a")
    line.fail(1, 5, 30, 119)
    assert line.begin() == [2]
    line.finish(2, BROKEN)
    line.wait(1)

    assert line.begin() == [1]
    line.finish(1)
    assert line.begin() == []  # the third is held by the second
    line.wait(4)
    assert line.begin() == [2]


@given(
    keys=st.lists(st.sampled_from("ab"), min_size=1, max_size=8),
    steps=st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([OK, BROKEN, LOST, DOWN]),
            st.sampled_from([0.0, 5.0, 600.0]),
        ),
        max_size=40,
    ),
)
def test_in_strict_order_nothing_ever_passes_what_is_not_settled(
    keys: list[str], steps: list[tuple[bool, Outcome, float]]
) -> None:
    line = Line(*keys, policy=STRICT)
    unsettled = dict(enumerate(keys, 1))
    for all_of_them, outcome, seconds in steps:
        begun = line.begin()
        for sequence in begun:
            assert sequence == min(s for s, key in unsettled.items() if key == keys[sequence - 1])
        for sequence in begun:
            ends = outcome if all_of_them else OK
            line.finish(sequence, ends)
            if ends is OK or line.order._entries.get(sequence) is None:
                del unsettled[sequence]
        line.wait(seconds)
        assert line.order.ahead >= 0
        assert line.order.unsettled == len(unsettled)


# 410


def test_a_target_that_wants_no_more_costs_no_failure() -> None:
    """The delivery goes back to where it was, and again once somebody resumes."""
    line = Line("a", "a")
    line.begin()

    finished = line.order.finish(1, HOLDER, GONE, 0.0, 0.0)

    assert finished is not None
    assert finished[1] == Verdict(Next.PAUSED, "the target answered 410")
    [stored] = line.marks().values()
    assert (stored.state, stored.failures, stored.due_at) == (MarkState.WAITING, 0, 0)
    assert line.begin() == [1]
    assert Line("a", marks=(stored,)).begin() == [1]


# Shared keys


def test_a_key_is_under_way_once_among_orders_that_share_it() -> None:
    shared = set[str]()
    live, replay = Line("a", "b", shared=shared), Line("a", "a", "c", shared=shared)

    assert live.begin() == [1, 2]
    assert replay.begin() == [3]
    live.finish(1)
    assert replay.begin() == [1]
    assert live.begin() == []
    replay.finish(1, BROKEN)
    assert shared == {"b", "c"}


def test_a_key_goes_free_with_the_lease_the_holder_and_the_order() -> None:
    shared = set[str]()
    live, replay = Line("a", "a", shared=shared), Line("a", "a", shared=shared)
    assert (live.begin(), replay.begin()) == ([1], [])
    live.wait(LEASE_S)
    replay.now = live.now
    assert (replay.begin(), live.begin()) == ([1], [])
    replay.order.release(HOLDER)
    assert live.begin() == [1]
    live.order.close()
    assert replay.begin() == [1]
    replay.finish(1)
    assert replay.begin() == [2]


def test_what_both_picked_only_one_begins() -> None:
    shared = set[str]()
    live, replay = Line("a", shared=shared), Line("a", shared=shared)
    mine, theirs = live.order.pick(9), replay.order.pick(9)

    assert live.order.begin(mine[0], HOLDER, 0.0)
    assert not replay.order.begin(theirs[0], HOLDER, 0.0)
    assert replay.begin() == []
    live.finish(1)
    assert replay.begin() == [1]


class Sharing:
    """Three orders with keys in common, and what is under way by (order, sequence)."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        shared, keys = set[str](), st.lists(st.sampled_from("abc"), max_size=6)
        self.lines = [Line(*data.draw(keys), shared=shared) for _ in range(3)]
        self.under_way: dict[tuple[int, int], str] = {}

    def begin(self) -> None:
        """Begin some of what one order picks."""
        index = self.data.draw(st.integers(0, 2))
        line = self.lines[index]
        for entry in line.order.pick(self.data.draw(st.integers(1, 4))):
            if self.data.draw(st.booleans()):
                line.order.put_back(entry)
            elif line.order.begin(entry, HOLDER, line.now):
                assert entry.key not in self.under_way.values()
                self.under_way[index, entry.sequence] = entry.key

    def finish(self) -> None:
        if self.under_way:
            one = self.data.draw(st.sampled_from(sorted(self.under_way)))
            outcome = self.data.draw(OUTCOMES)
            self.lines[one[0]].finish(one[1], outcome)
            del self.under_way[one]

    def release(self) -> None:
        index = self.data.draw(st.integers(0, 2))
        self.lines[index].order.release(HOLDER)
        self.under_way = {one: key for one, key in self.under_way.items() if one[0] != index}

    def wait(self) -> None:
        """Longer than a lease."""
        for line in self.lines:
            line.wait(40)
        self.under_way.clear()

    def heal(self) -> None:
        """With time, and a target that answers, everything is settled."""
        for one in self.under_way:
            self.lines[one[0]].finish(one[1])
        for _ in range(60):
            for line in self.lines:
                for sequence in line.begin():
                    line.finish(sequence)
                line.wait(40_000)


@given(st.data())
def test_shared_keys_are_never_twice_under_way_and_all_is_settled(data: st.DataObject) -> None:
    sharing = Sharing(data)
    steps = [sharing.begin, sharing.begin, sharing.finish, sharing.release, sharing.wait]

    for _ in range(data.draw(st.integers(0, 30))):
        data.draw(st.sampled_from(steps))()
    sharing.heal()

    assert [line.order.unsettled for line in sharing.lines] == [0, 0, 0]


# A clock that jumped while nobody was there


@pytest.mark.parametrize(("hours", "after_s"), [(0, 60.0), (-1, 60.0), (2, 0.0)])
def test_a_retry_never_waits_longer_for_a_clock_that_was_set_back(
    hours: int, after_s: float
) -> None:
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS, "x", START_MS)
    now_ms = START_MS + hours * 3_600_000
    order = Order(Claim(1, 2, Progress(0, (waiting,))), ORDINARY, 500.0, now_ms)
    order.load([outline(1, "a"), outline(2, "a")], 500.0, 0, 2)

    begun = [e.sequence for e in order.pick(9)]
    assert (begun, order.next_timer is None) == (([1], True) if not after_s else ([], False))
    order.tick(500.0 + after_s)
    if after_s:
        assert min(e.sequence for e in order.pick(9)) == 1


def test_what_was_given_back_is_stored_as_waiting_for_nothing() -> None:
    line = Line("a")
    line.begin()
    line.finish(1, DOWN)

    [stored] = line.marks().values()

    assert stored == Mark(1, MarkState.WAITING, 0)
