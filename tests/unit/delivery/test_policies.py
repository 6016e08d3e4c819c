"""What policies change: which failures count, what is held, and who shares a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.configs import Policy, PolicyChanges
from relay_server.delivery.lanes import Keys
from relay_server.delivery.retry import (
    Delivered,
    GiveBack,
    GiveUp,
    Pause,
    TryAgain,
    Verdict,
    decide,
)
from relay_server.delivery.schedule import LOOK_AHEAD, MOST_KNOWN, Schedule
from relay_server.values import Claim, Mark, MarkState, Outline, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK, outline

HOLDER = object()
OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from([OK, BROKEN, LOST, DOWN])
ORDINARY = Policy()
ONCE = Policy(retry_delays_s=())
SHORT = Policy(retry_delays_s=(1.0, 2.0), other_tries=1)
STUBBORN = Policy(other_tries=99, retry_delays_s=(7.0,) * 3)
STRICT = Policy(strict_order=True)

AGAIN_AFTER = Response(503, ((b"Retry-After", b"90"),))
NOT_FOUND, GONE = Response(404), Response(410)
REFUSED = Failure(FailureKind.REFUSED, "no")


def kind(verdict: Verdict) -> object:
    """A verdict without its words: after how many seconds, or which one."""
    return verdict.after_s if isinstance(verdict, TryAgain) else type(verdict)


@pytest.mark.parametrize("policy", [ORDINARY, ONCE, SHORT, STUBBORN, STRICT])
@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [(OK, Delivered), (DOWN, GiveBack), (REFUSED, GiveUp), (GONE, Pause), (LOST, 0.0)],
)
def test_some_outcomes_mean_the_same_whatever_the_policy(
    policy: Policy, outcome: Outcome, verdict: object
) -> None:
    assert kind(decide(outcome, policy, 1, 0, 0.0, START_MS)) == verdict
    if outcome is not LOST:
        assert kind(decide(outcome, policy, 99, 9, 0.0, START_MS)) == verdict


@pytest.mark.parametrize(
    ("policy", "outcome", "verdicts"),
    [
        (ORDINARY, BROKEN, [5.0, 30.0, 120.0]),
        (ORDINARY, NOT_FOUND, [5.0, 30.0, GiveUp]),
        (ORDINARY, AGAIN_AFTER, [90.0, 90.0, 90.0]),
        (ONCE, BROKEN, [GiveUp]),
        (ONCE, NOT_FOUND, [GiveUp]),
        (ONCE, AGAIN_AFTER, [GiveUp]),
        (SHORT, BROKEN, [1.0, 2.0, GiveUp]),
        (SHORT, NOT_FOUND, [GiveUp]),
        (SHORT, AGAIN_AFTER, [90.0, 90.0, GiveUp]),
        (STUBBORN, NOT_FOUND, [7.0, 7.0, 7.0, GiveUp]),
        (STRICT, BROKEN, [5.0, 30.0]),
        (ORDINARY, Failure(FailureKind.TIMEOUT), [5.0, 30.0]),
        (SHORT, Failure(FailureKind.NETWORK), [1.0, 2.0, GiveUp]),
    ],
)
def test_each_failure_leads_to_the_next_delay(
    policy: Policy, outcome: Outcome, verdicts: list[object]
) -> None:
    found = [kind(decide(outcome, policy, n + 1, n, 0.0, START_MS)) for n in range(len(verdicts))]

    assert found == verdicts


def test_a_subscription_changes_what_it_names_and_no_more() -> None:
    changes = PolicyChanges(other_tries=1, strict_order=True)

    assert changes.applied_to(SHORT) == Policy((1.0, 2.0), 1, 3, 30.0, strict_order=True)
    assert PolicyChanges().applied_to(SHORT) == SHORT
    assert PolicyChanges(strict_order=False).applied_to(STRICT) == ORDINARY


class Line:
    """A schedule, perhaps beside others that share its keys."""

    def __init__(
        self,
        *keys: str,
        policy: Policy = ORDINARY,
        shared: Keys | None = None,
        marks: tuple[Mark, ...] = (),
    ) -> None:
        self.now = 0.0
        claim = Claim(1, 1, Progress(0, marks))
        self.schedule = Schedule(claim, policy, 0.0, START_MS, shared)
        self.schedule.load([outline(n, key) for n, key in enumerate(keys, 1)], 0.0)

    def begin(self) -> list[int]:
        picked = self.schedule.pick(99)
        return [e.sequence for e in picked if self.schedule.begin(e, HOLDER, self.now)]

    def finish(self, sequence: int, outcome: Outcome = OK) -> None:
        assert self.schedule.finish(sequence, HOLDER, outcome, self.now, 0.0) is not None

    def fail(self, sequence: int, *waits: float) -> None:
        """Fail again and again, each time after a while."""
        for seconds in waits:
            assert sequence in self.begin()
            self.finish(sequence, BROKEN)
            self.wait(seconds)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.schedule.tick(self.now)

    def stored(self) -> tuple[Mark, ...]:
        return tuple(sorted(self.schedule.changes(), key=lambda m: m.sequence))


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

    line.schedule.set_policy(STRICT, line.now)
    assert line.begin() == []
    line.wait(120)
    assert line.begin() == [1]
    line.finish(1)
    assert line.begin() == [3]


def test_order_ceases_to_be_strict_while_one_waits() -> None:
    line = Line("a", "a", policy=STRICT)
    line.fail(1, 5, 30, 0)
    assert line.begin() == []

    line.schedule.set_policy(ORDINARY, line.now)

    assert line.begin() == [2]
    line.finish(2)
    line.wait(120)
    assert line.begin() == [1]


def test_a_longer_hold_applies_to_what_waits_already() -> None:
    line = Line("a", "a")
    line.fail(1, 0)
    line.schedule.set_policy(Policy(hold_s=2.0), line.now)
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
    line = Line("a", "a", "a", "a", policy=STRICT, marks=tuple(waiting))
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
            if ends is OK or line.schedule._entries.get(sequence) is None:
                del unsettled[sequence]
        line.wait(seconds)
        assert line.schedule.ready_or_lent >= 0
        assert line.schedule.unsettled == len(unsettled)


# 410


def test_a_target_that_wants_no_more_costs_no_failure() -> None:
    """The delivery goes back to where it was, and again once somebody resumes."""
    line = Line("a", "a")
    line.begin()

    finished = line.schedule.finish(1, HOLDER, GONE, 0.0, 0.0)

    assert finished is not None
    assert finished.verdict == Pause("the target answered 410")
    [stored] = line.stored()
    assert (stored.state, stored.failures, stored.due_at) == (MarkState.WAITING, 0, 0)
    assert line.begin() == [1]
    assert Line("a", marks=(stored,)).begin() == [1]


# Shared keys


def test_a_key_is_under_way_once_among_schedules_that_share_it() -> None:
    shared = Keys()
    live, replay = Line("a", "b", shared=shared), Line("a", "a", "c", shared=shared)

    assert live.begin() == [1, 2]
    assert replay.begin() == [3]
    live.finish(1)
    assert replay.begin() == [1]
    assert live.begin() == []
    replay.finish(1, BROKEN)
    assert shared.taken("a") is False


def test_a_key_goes_free_with_the_lease_the_holder_and_the_schedule() -> None:
    shared = Keys()
    live, replay = Line("a", "a", shared=shared), Line("a", "a", shared=shared)
    assert (live.begin(), replay.begin()) == ([1], [])
    live.wait(LEASE_S)
    replay.now = live.now
    assert (replay.begin(), live.begin()) == ([1], [])
    replay.schedule.release(HOLDER)
    assert live.begin() == [1]
    live.schedule.close()
    assert replay.begin() == [1]
    replay.finish(1)
    assert replay.begin() == [2]


def test_what_both_picked_only_one_begins() -> None:
    shared = Keys()
    live, replay = Line("a", shared=shared), Line("a", shared=shared)
    mine, theirs = live.schedule.pick(9), replay.schedule.pick(9)

    assert live.schedule.begin(mine[0], HOLDER, 0.0)
    assert not replay.schedule.begin(theirs[0], HOLDER, 0.0)
    assert replay.begin() == []
    live.finish(1)
    assert replay.begin() == [1]


class Sharing:
    """Three schedules with keys in common, and what is under way by (schedule, sequence)."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        shared, keys = Keys(), st.lists(st.sampled_from("abc"), max_size=6)
        self.lines = [Line(*data.draw(keys), shared=shared) for _ in range(3)]
        self.under_way: dict[tuple[int, int], str] = {}

    def begin(self) -> None:
        """Begin some of what one schedule picks."""
        index = self.data.draw(st.integers(0, 2))
        line = self.lines[index]
        for entry in line.schedule.pick(self.data.draw(st.integers(1, 4))):
            if self.data.draw(st.booleans()):
                line.schedule.put_back([entry])
            elif line.schedule.begin(entry, HOLDER, line.now):
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
        self.lines[index].schedule.release(HOLDER)
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

    assert [line.schedule.unsettled for line in sharing.lines] == [0, 0, 0]


# Size


def test_what_waits_hides_nothing_behind_it() -> None:
    """Neither what waits for its own retry, nor what waits in its key."""
    line = Line(*["a"] * 100, "b", policy=STRICT)
    before = line.schedule.room
    assert before == LOOK_AHEAD - 101
    assert line.begin() == [1, 101]
    line.finish(1, BROKEN)

    assert line.schedule.room == LOOK_AHEAD - 1
    assert line.schedule.ready_or_lent == 1
    line.schedule.load([outline(102, "a"), outline(103, "c")], line.now)
    assert line.schedule.ready_or_lent == 2
    line.wait(5)
    assert line.schedule.ready_or_lent == 103
    for sequence in range(1, 101):
        assert sequence in line.begin()
        line.finish(sequence)
    assert line.schedule.ready_or_lent == 3


def test_what_is_known_is_bounded_whatever_waits() -> None:
    many = [Outline(n, "a", 1) for n in range(1, MOST_KNOWN + 1)]
    line = Line(policy=STRICT)
    line.schedule.load(many[:1], 0.0)
    line.begin()
    line.finish(1, BROKEN)
    line.schedule.load(many[1:], 0.0)

    assert line.schedule.room == 0


def test_one_that_waits_for_hours_makes_nothing_pile_up_behind_it() -> None:
    line = Line("a")
    line.fail(1, 5, 30, 0)
    for start in range(2, 5 * LOOK_AHEAD, 1_000):
        line.schedule.load([outline(n, str(n)) for n in range(start, start + 1_000)], line.now)
        while begun := line.begin():
            for sequence in begun:
                line.finish(sequence)
        line.stored()

    assert line.schedule.unsettled == 1
    assert len(line.schedule._loaded) <= LOOK_AHEAD + 1_002
    assert line.schedule.floor == 0


# A clock that jumped while nobody was there


@pytest.mark.parametrize(("hours", "after_s"), [(0, 60.0), (-1, 60.0), (2, 0.0)])
def test_a_retry_never_waits_longer_for_a_clock_that_was_set_back(
    hours: int, after_s: float
) -> None:
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS, "x", START_MS)
    now_ms = START_MS + hours * 3_600_000
    schedule = Schedule(Claim(1, 2, Progress(0, (waiting,))), ORDINARY, 500.0, now_ms)
    schedule.load([outline(1, "a"), outline(2, "a")], 500.0)

    begun = [e.sequence for e in schedule.pick(9)]
    assert (begun, schedule.next_timer is None) == (([1], True) if not after_s else ([], False))
    schedule.tick(500.0 + after_s)
    if after_s:
        assert min(e.sequence for e in schedule.pick(9)) == 1


def test_what_was_given_back_is_stored_as_waiting_for_nothing() -> None:
    line = Line("a")
    line.begin()
    line.finish(1, DOWN)

    [stored] = line.stored()

    assert stored == Mark(1, MarkState.WAITING, 0)
