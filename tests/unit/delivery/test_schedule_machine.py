"""The schedule against a model that keeps nothing but what every reader was promised."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.configs import Policy
from relay_server.delivery.lanes import Entry
from relay_server.delivery.schedule import Schedule
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, NOT_STARTED, OK, outline

HOLDERS = (object(), object())
GIVEN_BACK = (DOWN, NOT_STARTED)
OUTCOMES: tuple[Outcome, ...] = (
    OK,
    OK,
    BROKEN,
    DOWN,
    LOST,
    NOT_STARTED,
    Response(404),
    Response(503, ((b"Retry-After", b"90"),)),
    Failure(FailureKind.REFUSED),
)


@dataclass
class Model:
    """One delivery, as the outside knows it."""

    key: str
    attempt: int = 0
    failures: int = 0
    failing_since: float | None = None
    settled: bool = False
    holder: object | None = None
    leased_until: float = 0.0

    def let_go(self, now: float) -> bool:
        """Its key may go on without it."""
        since = self.failing_since
        return self.failures >= 3 or (since is not None and now >= since + 30.0)


class ScheduleMachine(RuleBasedStateMachine):
    """Loads, begins, ends, forgets and restarts in any order."""

    @initialize(floor=st.integers(0, 5))
    def start(self, floor: int) -> None:
        self.now = 1_000.0
        self.first = self.next = floor + 1
        self.models: dict[int, Model] = {}
        self.stored: dict[int, Mark] = {}
        self.stored_floor = floor
        self.picked: list[Entry] = []
        self.schedule = self.open()

    def open(self) -> Schedule:
        """A new reader, from what was recorded."""
        marks = tuple(m for s, m in sorted(self.stored.items()) if s > self.stored_floor)
        claim = Claim(1, 1, Progress(self.stored_floor, marks))
        return Schedule(claim, Policy(), self.now, START_MS + round(self.now * 1000))

    @rule(keys=st.lists(st.sampled_from("abc"), max_size=6))
    def load(self, keys: list[str]) -> None:
        for key in keys:
            self.models[self.next] = Model(key)
            self.next += 1
        self.load_known()

    def load_known(self) -> None:
        after = self.schedule.read_up_to
        rest = [outline(s, m.key) for s, m in self.models.items() if s > after]
        self.schedule.load(rest, self.now)

    @rule(limit=st.integers(1, 4))
    @precondition(lambda self: not self.picked)
    def pick(self, limit: int) -> None:
        self.picked = self.schedule.pick(limit)
        keys = [entry.key for entry in self.picked]
        assert len(keys) == len(set(keys))

    @rule()
    @precondition(lambda self: self.picked)
    def put_back(self) -> None:
        self.schedule.put_back(self.picked)
        self.picked = []

    @rule(holder=st.sampled_from(HOLDERS))
    @precondition(lambda self: self.picked)
    def begin(self, holder: object) -> None:
        for entry in self.picked:
            if self.schedule.begin(entry, holder, self.now):
                self.began(entry, holder)
        self.picked = []

    def began(self, entry: Entry, holder: object) -> None:
        model = self.models[entry.sequence]
        same_key = {s: m for s, m in self.models.items() if m.key == model.key}
        assert not model.settled
        assert all(m.holder is None for m in same_key.values()), "one under way per key"
        for sequence, earlier in same_key.items():
            if sequence < entry.sequence and not earlier.settled:
                assert earlier.let_go(self.now), "in order, but for those let go"
        model.attempt += 1
        assert entry.attempt == model.attempt
        model.holder, model.leased_until = holder, self.now + LEASE_S

    @rule(data=st.data(), holder=st.sampled_from(HOLDERS), outcome=st.sampled_from(OUTCOMES))
    @precondition(lambda self: self.models)
    def finish(self, data: st.DataObject, holder: object, outcome: Outcome) -> None:
        under_way = [s for s, m in self.models.items() if m.holder is not None]
        sequence = data.draw(st.sampled_from(under_way or sorted(self.models)))
        model = self.models[sequence]
        finished = self.schedule.finish(sequence, holder, outcome, self.now, 0.0)
        entry = finished.entry if finished else None
        assert (entry is not None) == (model.holder is holder)
        if entry is None:
            return
        model.holder = None
        if outcome in GIVEN_BACK:
            model.attempt -= 1
        elif outcome.delivered or self.schedule_settled(sequence):
            model.settled = True
        elif entry.failures > model.failures:
            model.failures += 1
            if model.failing_since is None:
                model.failing_since = self.now
        assert entry.attempt == model.attempt
        assert self.schedule_settled(sequence) == model.settled

    def schedule_settled(self, sequence: int) -> bool:
        """What the schedule itself would have stored of it."""
        self.record()
        mark = self.stored.get(sequence)
        return sequence <= self.stored_floor or (mark is not None and mark.state.settled)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 29.0, 35.0, 700.0, 40_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.schedule.tick(self.now)
        for model in self.models.values():
            if model.holder is not None and model.leased_until <= self.now:
                model.holder = None

    @rule(holder=st.sampled_from(HOLDERS))
    def extend(self, holder: object) -> None:
        self.schedule.extend(range(self.next + 1), holder, self.now)
        for model in self.models.values():
            if model.holder is holder:
                model.leased_until = self.now + LEASE_S

    @rule(holder=st.sampled_from(HOLDERS))
    def release(self, holder: object) -> None:
        self.schedule.release(holder)
        for model in self.models.values():
            if model.holder is holder:
                model.holder = None

    @rule()
    @precondition(lambda self: self.picked)
    def vanish(self) -> None:
        """An event is gone from the store though it was outlined."""
        entry, *rest = self.picked
        if not self.schedule.begin(entry, HOLDERS[0], self.now):
            self.schedule.put_back(rest)
        else:
            self.began(entry, HOLDERS[0])
            self.schedule.finish(entry.sequence, HOLDERS[0], OK, self.now, 0.0)
            self.models[entry.sequence].settled = True
            self.models[entry.sequence].holder = None
            for other in rest:
                self.schedule.vanish(other)
                del self.models[other.sequence]
        self.picked = []

    @rule()
    def record(self) -> None:
        """What the pump gives to the store."""
        self.stored |= {mark.sequence: mark for mark in self.schedule.changes()}
        self.stored_floor = max(self.stored_floor, self.schedule.floor)

    @rule()
    def restart(self) -> None:
        """The connection ends: all is recorded, and another reader goes on."""
        for holder in HOLDERS:
            self.release(holder)
        self.record()
        self.schedule = self.open()
        self.picked = []
        self.load_known()

    @invariant()
    def the_floor_passes_nothing_unsettled(self) -> None:
        unsettled = [s for s, m in self.models.items() if not m.settled]
        assert self.schedule.floor < min(unsettled, default=self.next)
        assert self.schedule.unsettled == len(unsettled)

    @invariant()
    def what_is_stored_as_settled_is(self) -> None:
        for sequence, mark in self.stored.items():
            if mark.state.settled and sequence in self.models:
                assert self.models[sequence].settled

    def teardown(self) -> None:
        """With time and a target that answers, nothing is left over."""
        self.restart()
        for _ in range(20 * len(self.models) + 1):
            for entry in self.schedule.pick(99):
                assert self.schedule.begin(entry, HOLDERS[0], self.now)
                self.began(entry, HOLDERS[0])
                self.schedule.finish(entry.sequence, HOLDERS[0], OK, self.now, 0.0)
                self.models[entry.sequence].settled = True
                self.models[entry.sequence].holder = None
            self.wait(40_000.0)
        assert all(model.settled for model in self.models.values())
        assert self.schedule.floor >= max(self.models, default=0), "what vanished is passed, too"
        self.record()
        dead = [m for m in self.stored.values() if m.state is MarkState.DEAD]
        assert all(self.models[m.sequence].settled for m in dead if m.sequence in self.models)


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
