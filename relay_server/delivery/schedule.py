"""One subscription's order of delivery: what may go next, what is under way, what is settled.

Pure: callers pass `now` in monotonic seconds and draw the randomness. Deliveries of one key go one
at a time, in order of sequence; keys do not wait for each other.
"""

from __future__ import annotations

import bisect
import enum
import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Outcome
from relay_server.delivery import retry
from relay_server.values import Claim, Mark, MarkState, Outline

# Unsettled deliveries known at once, a few hundred bytes each. One that waits for long holds back
# what lies this far behind it, and nothing nearer.
LOOK_AHEAD = 10_000

Holder = object  # compared by `is`: a connection, or whatever else has a delivery


class _State(enum.Enum):
    READY = enum.auto()
    UNDER_WAY = enum.auto()
    WAITING = enum.auto()


@dataclass(slots=True, eq=False)
class Entry:
    """A delivery that is not settled.

    Attributes:
        attempt: The last one begun.
        due: When the next attempt is due, of one that waits; monotonic seconds.
        failing_since: When the first counted failure came; monotonic seconds.
    """

    sequence: int
    key: str
    size: int
    attempt: int = 0
    failures: int = 0
    state: _State = _State.READY
    due: float = 0.0
    failing_since: float | None = None
    holder: Holder | None = None
    leased_until: float = 0.0
    begun_at: float = 0.0
    reason: str = ""

    def __lt__(self, other: Entry) -> bool:
        return self.sequence < other.sequence


@dataclass(slots=True)
class _Lane:
    """The unsettled deliveries of one key.

    Attributes:
        ready: Those that may go, in order of sequence.
        active: The one that is under way.
        blocker: The one that waits for its next try and holds the others until then.
        parked: How many wait for their next try, the blocker among them.
        offered: It is in the heap of what is ready, or was picked from it.
    """

    ready: deque[Entry] = field(default_factory=deque)
    active: Entry | None = None
    blocker: Entry | None = None
    parked: int = 0
    offered: bool = False

    @property
    def open(self) -> bool:
        return bool(self.ready) and self.active is None and self.blocker is None

    @property
    def empty(self) -> bool:
        return not self.ready and self.active is None and self.parked == 0


class Schedule:
    """Told what is in the store and how attempts ended, says what may go next.

    Args:
        claim: What the store knows of the subscription.
        now: Monotonic seconds.
        now_ms: The same moment in Unix milliseconds: the store's times are turned into ours.
    """

    def __init__(self, claim: Claim, now: float, now_ms: int) -> None:
        floor = claim.progress.floor
        self.read_up_to = floor
        self._offset = now_ms - now * 1000  # Unix milliseconds at monotonic zero
        self._known = {mark.sequence: mark for mark in claim.progress.marks}
        self._order: deque[int] = deque()  # loaded and above the floor, in order
        self._entries: dict[int, Entry] = {}
        self._settled: set[int] = set()  # above the floor
        self._lanes: dict[str, _Lane] = {}
        self._under_way: dict[int, Entry] = {}
        self._ready: list[tuple[int, str]] = []  # (sequence of a lane's first, key): a heap
        self._timers: list[tuple[float, int]] = []  # (when, sequence) to look again: a heap
        self._changed: dict[int, Mark] = {}
        self._floor = floor

    @property
    def floor(self) -> int:
        """Every delivery up to this sequence is settled."""
        return self._floor

    @property
    def room(self) -> int:
        """How many more outlines `load` takes now."""
        return LOOK_AHEAD - len(self._entries)

    @property
    def unsettled(self) -> int:
        """How many deliveries are loaded and not settled."""
        return len(self._entries)

    @property
    def next_timer(self) -> float | None:
        """When a retry becomes due or a hold ends; leases need a `tick` about once a second."""
        return self._timers[0][0] if self._timers else None

    def load(self, outlines: Iterable[Outline], now: float) -> None:
        """Add the next events in sequence. Sequences left out are gone from the store."""
        for outline in outlines:
            self.read_up_to = outline.sequence
            mark = self._known.pop(outline.sequence, None)
            self._order.append(outline.sequence)
            if mark is not None and mark.state.settled:
                self._settled.add(outline.sequence)
                continue
            entry = Entry(outline.sequence, outline.key, outline.size)
            self._entries[outline.sequence] = entry
            lane = self._lanes.setdefault(outline.key, _Lane())
            if mark is None:
                lane.ready.append(entry)
                self._offer(lane, entry.key)
            else:
                self._restore(lane, entry, mark, now)
        self._advance()

    def pick(self, limit: int) -> list[Entry]:
        """Take the first deliveries that may go, one of a key; `begin` or `put_back` each."""
        picked: list[Entry] = []
        while self._ready and len(picked) < limit:
            lane = self._lanes[heapq.heappop(self._ready)[1]]
            if lane.open:
                picked.append(lane.ready[0])
            else:
                lane.offered = False  # blocked meanwhile: offered again when it opens
        return picked

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Return what was picked and not begun."""
        for entry in entries:
            self._offer_again(self._lanes[entry.key], entry.key)

    def begin(self, entry: Entry, holder: Holder, now: float) -> bool:
        """Lend a picked delivery to a holder; False if it may not go any more."""
        lane = self._lanes[entry.key]
        if not lane.open or lane.ready[0] is not entry:
            self._offer_again(lane, entry.key)
            return False
        lane.offered = False
        lane.active = lane.ready.popleft()
        entry.state = _State.UNDER_WAY
        entry.attempt += 1
        entry.holder, entry.begun_at = holder, now
        entry.leased_until = now + LEASE_S
        self._under_way[entry.sequence] = entry
        self._note(entry, MarkState.UNDER_WAY)
        return True

    def extend(self, sequences: Iterable[int], holder: Holder, now: float) -> None:
        """The holder still has them."""
        for sequence in sequences:
            entry = self._held(sequence, holder)
            if entry is not None:
                entry.leased_until = now + LEASE_S

    def vanish(self, entry: Entry) -> None:
        """The event is gone from the store: there is nothing left to deliver."""
        lane = self._lanes[entry.key]
        lane.ready.remove(entry)
        lane.offered = False
        self._settle(entry, lane)

    def finish(
        self, sequence: int, holder: Holder, outcome: Outcome, now: float, jitter: float
    ) -> Entry | None:
        """Take the result of an attempt.

        Returns:
            The delivery as it was, or None when the holder does not have it any more: then the
            result is late, and another attempt decides.
        """
        entry = self._held(sequence, holder)
        if entry is None:
            return None
        now_ms = self._unix(now)
        verdict = retry.decide(outcome, entry.attempt, entry.failures, jitter, now_ms)
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[sequence]
        match verdict:
            case retry.Delivered():
                self._settle(entry, lane)
                self._note(entry, MarkState.DELIVERED)
            case retry.GiveUp(reason):
                entry.reason = reason
                self._settle(entry, lane)
                self._note(entry, MarkState.DEAD)
            case retry.GiveBack():
                entry.attempt -= 1
                self._return(entry, lane)
            case retry.TryAgain():
                self._wait(entry, lane, verdict, now)
        return entry

    def release(self, holder: Holder) -> None:
        """The holder is gone: what it had may go again, and counts as tried."""
        for entry in [e for e in self._under_way.values() if e.holder is holder]:
            self._free(entry)

    def tick(self, now: float) -> None:
        """Let retries become due, end holds and take back leases that ran out."""
        while self._timers and self._timers[0][0] <= now:
            _, sequence = heapq.heappop(self._timers)
            entry = self._entries.get(sequence)
            if entry is not None and entry.state is _State.WAITING:
                self._look(entry, now)
        for entry in [e for e in self._under_way.values() if e.leased_until <= now]:
            self._free(entry)

    def changes(self) -> Sequence[Mark]:
        """Marks that changed since the last call; what the floor says is left out."""
        changed = [
            mark
            for mark in self._changed.values()
            if mark.sequence > self._floor or mark.state is MarkState.DEAD
        ]
        self._changed.clear()
        return changed

    def _restore(self, lane: _Lane, entry: Entry, mark: Mark, now: float) -> None:
        """Take up a delivery where an earlier reader of the subscription left it."""
        entry.attempt, entry.failures, entry.reason = mark.attempt, mark.failures, mark.reason
        if mark.failing_since is not None:
            entry.failing_since = min(now, self._monotonic(mark.failing_since))
        if mark.state is MarkState.WAITING:
            again = max(0.0, self._monotonic(mark.due_at) - now)
            self._park(entry, lane, again, now)
        else:
            lane.ready.append(entry)
            self._offer(lane, entry.key)

    def _wait(self, entry: Entry, lane: _Lane, verdict: retry.TryAgain, now: float) -> None:
        entry.reason = verdict.reason
        if verdict.counts:
            entry.failures += 1
            if entry.failing_since is None:
                entry.failing_since = now
        self._park(entry, lane, verdict.after_s, now)

    def _park(self, entry: Entry, lane: _Lane, after_s: float, now: float) -> None:
        if after_s <= 0:
            self._return(entry, lane)
            return
        entry.state, entry.due = _State.WAITING, now + after_s
        lane.parked += 1
        heapq.heappush(self._timers, (entry.due, entry.sequence))
        if self._holds(entry, now) and lane.blocker is None:
            lane.blocker = entry
            heapq.heappush(self._timers, (self._hold_ends(entry), entry.sequence))
        self._note(entry, MarkState.WAITING)
        self._offer(lane, entry.key)

    def _holds(self, entry: Entry, now: float) -> bool:
        return entry.failures < retry.HOLD_FAILURES and now < self._hold_ends(entry)

    @staticmethod
    def _hold_ends(entry: Entry) -> float:
        return (entry.due if entry.failing_since is None else entry.failing_since) + retry.HOLD_S

    def _look(self, entry: Entry, now: float) -> None:
        lane = self._lanes[entry.key]
        if entry.due <= now:
            self._return(entry, lane)
        elif lane.blocker is entry and not self._holds(entry, now):
            lane.blocker = None
            self._offer(lane, entry.key)

    def _free(self, entry: Entry) -> None:
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[entry.sequence]
        self._return(entry, lane)

    def _return(self, entry: Entry, lane: _Lane) -> None:
        """Put it before all of its key that came later."""
        if lane.blocker is entry:
            lane.blocker = None
        if entry.state is _State.WAITING:
            lane.parked -= 1
        entry.state = _State.READY
        if lane.ready and lane.ready[0].sequence < entry.sequence:
            bisect.insort(lane.ready, entry)
        else:
            lane.ready.appendleft(entry)
        self._note(entry, MarkState.UNDER_WAY)
        self._offer(lane, entry.key)

    def _settle(self, entry: Entry, lane: _Lane) -> None:
        del self._entries[entry.sequence]
        self._settled.add(entry.sequence)
        self._advance()
        if lane.empty:
            del self._lanes[entry.key]
        else:
            self._offer(lane, entry.key)

    def _offer(self, lane: _Lane, key: str) -> None:
        if lane.open and not lane.offered:
            lane.offered = True
            heapq.heappush(self._ready, (lane.ready[0].sequence, key))

    def _offer_again(self, lane: _Lane, key: str) -> None:
        lane.offered = False
        self._offer(lane, key)

    def _advance(self) -> None:
        while self._order and self._order[0] in self._settled:
            self._settled.discard(self._order.popleft())
        self._floor = self._order[0] - 1 if self._order else self.read_up_to

    def _held(self, sequence: int, holder: Holder) -> Entry | None:
        entry = self._entries.get(sequence)
        if entry is None or entry.state is not _State.UNDER_WAY or entry.holder is not holder:
            return None
        return entry

    def _note(self, entry: Entry, state: MarkState) -> None:
        self._changed[entry.sequence] = Mark(
            sequence=entry.sequence,
            state=state,
            attempt=entry.attempt,
            failures=entry.failures,
            due_at=self._unix(entry.due) if state is MarkState.WAITING else 0,
            failing_since=None if entry.failing_since is None else self._unix(entry.failing_since),
            reason=entry.reason,
        )

    def _unix(self, monotonic: float) -> int:
        return round(monotonic * 1000 + self._offset)

    def _monotonic(self, unix_ms: int) -> float:
        return (unix_ms - self._offset) / 1000
