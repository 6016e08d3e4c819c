"""The order against a model that keeps nothing but what every reader was promised.

Lanes know few deliveries here, so that they spill and are read again all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.configs import Policy
from relay_server.delivery import order as order_module
from relay_server.delivery.lanes import Entry
from relay_server.delivery.order import Order
from relay_server.values import Claim, Mark, MarkState, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, NOT_STARTED, OK, outline

HOLDERS = (object(), object())
GIVEN_UP = "given up by ana"
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
    given_up: bool = False
    taken: bool = False

    def let_go(self, now: float) -> bool:
        """Its key may go on without it."""
        if self.given_up:
            return True
        since = self.failing_since
        return self.failures >= 3 or (since is not None and now >= since + 30.0)


class OrderMachine(RuleBasedStateMachine):
    """Loads, begins, ends, forgets and restarts in any order."""

    @initialize(
        floor=st.integers(0, 5),
        lane_ahead=st.sampled_from([2, 3, 8, 256]),
        most_known=st.sampled_from([3, 6, 12, 100_000]),
    )
    def start(self, floor: int, lane_ahead: int, most_known: int) -> None:
        self.most_known = most_known
        self.bounds = patch.multiple(order_module, LANE_AHEAD=lane_ahead, MOST_KNOWN=most_known)
        self.bounds.start()
        self.now = 1_000.0
        self.first = self.next = floor + 1
        self.models: dict[int, Model] = {}
        self.stored: dict[int, Mark] = {}
        self.stored_floor = floor
        self.picked: list[Entry] = []
        self.order = self.open()

    def open(self) -> Order:
        """A new reader, from what was recorded."""
        marks = tuple(m for s, m in sorted(self.stored.items()) if s > self.stored_floor)
        claim = Claim(1, 1, Progress(self.stored_floor, marks))
        return Order(claim, Policy(), self.now, START_MS + round(self.now * 1000))

    @rule(keys=st.lists(st.sampled_from("abc"), max_size=6))
    def store(self, keys: list[str]) -> None:
        for key in keys:
            self.models[self.next] = Model(key)
            self.next += 1

    @rule(limit=st.integers(1, 5))
    def read(self, limit: int) -> None:
        """A piece of what is new, as far as there is room."""
        if room := self.order.room:
            self.read_behind(self.order.read_up_to, min(limit, room))

    @rule(limit=st.integers(1, 5))
    def read_again(self, limit: int) -> None:
        """A piece of what spilled."""
        if (behind := self.order.behind) is not None:
            self.read_behind(behind, limit)

    def read_behind(self, after: int, limit: int) -> None:
        """As the store has it: settled ones, too, but for those that are gone."""
        rest = [outline(s, m.key) for s, m in self.models.items() if s > after]
        found = rest[:limit]
        up_to = found[-1].sequence if found else after
        if len(found) < limit:  # nothing is behind it
            up_to = max(up_to, self.order.read_up_to)
        self.order.load(found, self.now, after, up_to)

    def read_all(self) -> None:
        """Read on until enough is known."""
        self.read(5)
        while self.order.read_up_to < self.next - 1 and self.order.room:
            self.read(5)
        for _ in range(99):
            self.read_again(5)

    @rule(limit=st.integers(1, 4))
    @precondition(lambda self: not self.picked)
    def pick(self, limit: int) -> None:
        self.picked = self.order.pick(limit)
        keys = [entry.key for entry in self.picked]
        assert len(keys) == len(set(keys))

    @rule()
    @precondition(lambda self: self.picked)
    def put_back(self) -> None:
        for entry in self.picked:
            self.order.put_back(entry)
        self.picked = []

    @rule(holder=st.sampled_from(HOLDERS))
    @precondition(lambda self: self.picked)
    def begin(self, holder: object) -> None:
        for entry in self.picked:
            if self.order.begin(entry, holder, self.now):
                self.began(entry, holder)
        self.picked = []

    def began(self, entry: Entry, holder: object) -> None:
        model = self.models[entry.sequence]
        assert not model.given_up
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
        finished = self.order.finish(sequence, holder, outcome, self.now, 0.0)
        entry = finished[0] if finished else None
        assert (entry is not None) == (model.holder is holder)
        if entry is None:
            return
        model.holder, model.taken = None, outcome.delivered
        if outcome in GIVEN_BACK:
            model.attempt -= 1
        elif outcome.delivered or self.is_settled(sequence):
            model.settled = True
        elif entry.failures > model.failures:
            model.failures += 1
            if model.failing_since is None:
                model.failing_since = self.now
        assert entry.attempt == model.attempt
        assert self.is_settled(sequence) == (model.settled or model.given_up)

    @rule(data=st.data(), late=st.booleans())
    def give_up(self, data: st.DataObject, late: bool) -> None:
        """The store lets one die that has a mark; the reader hears of it, perhaps after more."""
        tried = [
            s
            for s, mark in self.stored.items()
            if s in self.models and s > self.stored_floor and not mark.state.settled
        ]
        if not tried:
            return
        sequence = data.draw(st.sampled_from(tried))
        dead = {"state": MarkState.DEAD, "reason": GIVEN_UP, "due_at": 0}
        self.stored[sequence] = replace(self.stored[sequence], **dead)
        if late:
            self.record()
        self.models[sequence].given_up = not self.models[sequence].settled
        self.order.give_up(sequence, GIVEN_UP, self.now)

    def see_who_died(self) -> None:
        """What was given up dies once its turn comes."""
        for sequence, model in self.models.items():
            if model.given_up and sequence not in self.order._entries:
                model.settled = True

    @rule()
    @precondition(lambda self: not self.picked)
    def deliver(self) -> None:
        """All that may go goes, and is taken at once; nothing is read meanwhile."""
        for entry in self.order.pick(99):
            assert self.order.begin(entry, HOLDERS[0], self.now)
            self.began(entry, HOLDERS[0])
            self.order.finish(entry.sequence, HOLDERS[0], OK, self.now, 0.0)
            self.models[entry.sequence].settled = True
            self.models[entry.sequence].holder = None

    def is_settled(self, sequence: int) -> bool:
        """What the order itself would have stored of it."""
        self.record()
        mark = self.stored.get(sequence)
        return sequence <= self.stored_floor or (mark is not None and mark.state.settled)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 29.0, 35.0, 700.0, 40_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.order.tick(self.now)
        for model in self.models.values():
            if model.holder is not None and model.leased_until <= self.now:
                model.holder = None

    @rule(holder=st.sampled_from(HOLDERS))
    def extend(self, holder: object) -> None:
        for sequence in range(self.next + 1):
            self.order.extend(sequence, holder, self.now)
        for model in self.models.values():
            if model.holder is holder:
                model.leased_until = self.now + LEASE_S

    @rule(holder=st.sampled_from(HOLDERS))
    def release(self, holder: object) -> None:
        self.order.release(holder)
        for model in self.models.values():
            if model.holder is holder:
                model.holder = None

    @rule()
    @precondition(lambda self: self.picked)
    def vanish(self) -> None:
        """An event is gone from the store though it was outlined."""
        entry, *rest = self.picked
        if not self.order.begin(entry, HOLDERS[0], self.now):
            for entry in rest:
                self.order.put_back(entry)
        else:
            self.began(entry, HOLDERS[0])
            self.order.finish(entry.sequence, HOLDERS[0], OK, self.now, 0.0)
            self.models[entry.sequence].settled = True
            self.models[entry.sequence].holder = None
            for other in rest:
                self.order.vanish(other)
                del self.models[other.sequence]
        self.picked = []

    @rule()
    def record(self) -> None:
        """What the reader gives to the store."""
        self.stored_floor = max(self.stored_floor, self.order.floor)
        self.stored |= {m.sequence: m for m in self.order.changes(self.stored_floor)}

    @rule()
    def restart(self) -> None:
        """The connection ends: all is recorded, and another reader goes on."""
        for holder in HOLDERS:
            self.release(holder)
        self.record()
        self.order = self.open()
        self.picked = []

    @invariant()
    def the_floor_passes_nothing_unsettled(self) -> None:
        self.see_who_died()
        unsettled = [s for s, m in self.models.items() if not m.settled]
        assert self.order.floor < min(unsettled, default=self.next)
        read = [s for s in unsettled if s <= self.order.read_up_to]
        assert self.order.unsettled <= len(read)
        assert bool(self.order.unsettled) == bool(read)

    @invariant()
    def what_is_known_is_bounded(self) -> None:
        keys = len({model.key for model in self.models.values()})
        assert self.order.unsettled <= self.most_known + keys

    @invariant()
    def what_is_stored_as_settled_is(self) -> None:
        for sequence, mark in self.stored.items():
            if mark.state.settled and sequence in self.models:
                assert self.models[sequence].settled or self.models[sequence].given_up

    def teardown(self) -> None:
        """With time and a target that answers, nothing is left over."""
        if not hasattr(self, "order"):
            return
        with self.bounds_end():
            self.restart()
            for _ in range(20 * len(self.models) + 1):
                self.read_all()
                self.deliver()
                self.wait(40_000.0)
            self.see_who_died()
            assert all(model.settled for model in self.models.values())
            assert self.order.floor >= max(self.models, default=0), "what vanished is passed, too"
            self.record()
            dead = [m for m in self.stored.values() if m.state is MarkState.DEAD]
            assert all(self.models[m.sequence].settled for m in dead if m.sequence in self.models)
            for sequence, model in self.models.items():
                if model.given_up:
                    mark = self.stored[sequence]
                    ended = MarkState.DELIVERED if model.taken else MarkState.DEAD
                    assert (mark.state, mark.reason == GIVEN_UP) == (ended, not model.taken)

    @contextmanager
    def bounds_end(self) -> Iterator[None]:
        """Undo the patches, whatever comes."""
        try:
            yield
        finally:
            self.bounds.stop()


TestOrder = OrderMachine.TestCase
TestOrder.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
