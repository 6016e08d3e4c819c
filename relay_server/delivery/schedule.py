"""One subscription's order of delivery: what may go next, what is under way, what is settled.

Pure: callers pass `now` in monotonic seconds and draw the randomness. Deliveries of one key go one
at a time, in order of sequence; keys do not wait for each other.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Outcome
from relay_server.configs import Policy
from relay_server.delivery import retry
from relay_server.delivery.lanes import Entry, Holder, Keys, Lane, State
from relay_server.values import Claim, Mark, MarkState, Outline

# Deliveries known at once that could go or are under way, a few hundred bytes each.
LOOK_AHEAD = 10_000
# Those that wait for their next try come on top, so that they do not hide what is behind them.
MOST_KNOWN = 100_000


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt that was taken note of."""

    entry: Entry
    verdict: retry.Verdict


class Schedule:
    """Told what is in the store and how attempts ended, says what may go next.

    Args:
        claim: What the store knows of the subscription, or of the replay.
        policy: What follows from failures.
        now: Monotonic seconds.
        now_ms: The same moment in Unix milliseconds: the store's times are turned into ours.
        keys: Shared with other schedules; its own if left out.
    """

    def __init__(
        self, claim: Claim, policy: Policy, now: float, now_ms: int, keys: Keys | None = None
    ) -> None:
        floor = claim.progress.floor
        self.read_up_to = floor
        self._policy = policy
        self._keys = keys or Keys()
        self._keys.listen(self._key_is_free)
        self._offset = now_ms - now * 1000  # Unix milliseconds at monotonic zero
        self._known = {mark.sequence: mark for mark in claim.progress.marks}
        self._loaded: deque[int] = deque()  # in order; what was settled since is let go in time
        self._entries: dict[int, Entry] = {}
        self._parked = 0  # entries that wait for their next try, or for one that does
        self._lanes: dict[str, Lane] = {}
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
        return max(0, min(LOOK_AHEAD - self.ready_or_lent, MOST_KNOWN - len(self._entries)))

    @property
    def ready_or_lent(self) -> int:
        """How many deliveries are loaded and not settled, and wait for no retry."""
        return len(self._entries) - self._parked

    @property
    def unsettled(self) -> int:
        """How many deliveries are loaded and not settled."""
        return len(self._entries)

    @property
    def any_ready(self) -> bool:
        """Whether something may be there to pick."""
        return bool(self._ready)

    @property
    def next_timer(self) -> float | None:
        """When a retry becomes due or a hold ends; leases need a `tick` about once a second."""
        return self._timers[0][0] if self._timers else None

    @property
    def under_way(self) -> int:
        """How many deliveries are lent."""
        return len(self._under_way)

    def set_policy(self, policy: Policy, now: float) -> None:
        """Change what follows from failures, from now on."""
        self._policy = policy
        for key, lane in self._lanes.items():
            self._block(lane, next((e for e in lane.parked if self._holds(e, now)), None))
            self._offer(lane, key)

    def load(self, outlines: Iterable[Outline], now: float, read_up_to: int | None = None) -> None:
        """Add the next events in sequence. Sequences left out are gone, or not meant.

        Args:
            outlines: In order.
            now: Monotonic seconds.
            read_up_to: There is nothing else up to this sequence; that of the last by default.
        """
        for outline in outlines:
            assert outline.sequence > self.read_up_to, "loaded twice, or out of order"
            self.read_up_to = outline.sequence
            mark = self._known.pop(outline.sequence, None)
            if mark is not None and mark.state.settled:
                continue
            self._loaded.append(outline.sequence)
            entry = Entry(outline.sequence, outline.key, outline.size)
            self._entries[outline.sequence] = entry
            lane = self._lanes.setdefault(outline.key, Lane())
            if mark is None:
                lane.ready.append(entry)
                self._offer(lane, entry.key)
            else:
                self._restore(lane, entry, mark, now)
        self.read_up_to = max(self.read_up_to, read_up_to or 0)
        self._advance()

    def pick(self, limit: int) -> list[Entry]:
        """Take the first deliveries that may go, one of a key; `begin` or `put_back` each."""
        picked: list[Entry] = []
        while self._ready and len(picked) < limit:
            key = heapq.heappop(self._ready)[1]
            lane = self._lanes[key]
            if lane.open and not self._keys.taken(key):
                picked.append(lane.ready[0])
            else:
                lane.offered = False  # blocked meanwhile: offered again when it opens
        return picked

    def close(self) -> None:
        """Free what is under way, and be of no concern to other schedules any more."""
        for entry in list(self._under_way.values()):
            self._free(entry)
        self._keys.forget(self._key_is_free)

    def _key_is_free(self, key: str) -> None:
        lane = self._lanes.get(key)
        if lane is not None:
            self._offer(lane, key)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Return what was picked and not begun."""
        for entry in entries:
            self._offer_again(self._lanes[entry.key], entry.key)

    def begin(self, entry: Entry, holder: Holder, now: float) -> bool:
        """Lend a picked delivery to a holder; False if it may not go any more."""
        lane = self._lanes[entry.key]
        if not lane.open or lane.ready[0] is not entry or self._keys.taken(entry.key):
            self._offer_again(lane, entry.key)
            return False
        assert self._entries.get(entry.sequence) is entry, "it was settled before"
        self._keys.take(entry.key)
        lane.offered = False
        lane.active = lane.ready.popleft()
        self._recount(lane)
        entry.state = State.UNDER_WAY
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
    ) -> Finished | None:
        """Take the result of an attempt.

        Returns:
            The delivery as it was and what follows, or None when the holder does not have it any
            more: then the result is late, and another attempt decides.
        """
        entry = self._held(sequence, holder)
        if entry is None:
            return None
        verdict = retry.decide(
            outcome, self._policy, entry.attempt, entry.failures, jitter, self._unix(now)
        )
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[sequence]
        self._follow(entry, lane, verdict, now)
        self._keys.free(entry.key)
        return Finished(entry, verdict)

    def _follow(self, entry: Entry, lane: Lane, verdict: retry.Verdict, now: float) -> None:
        match verdict:
            case retry.Delivered():
                self._settle(entry, lane)
                self._note(entry, MarkState.DELIVERED, now)
            case retry.GiveUp(reason):
                entry.reason = reason
                self._settle(entry, lane)
                self._note(entry, MarkState.DEAD, now)
            case retry.GiveBack():
                entry.attempt -= 1
                self._return(entry, lane)
            case retry.Pause(reason):
                entry.reason = reason
                self._return(entry, lane)
            case retry.TryAgain():
                self._wait(entry, lane, verdict, now)

    def release(self, holder: Holder) -> None:
        """The holder is gone: what it had may go again, and counts as tried."""
        for entry in [e for e in self._under_way.values() if e.holder is holder]:
            self._free(entry)

    def tick(self, now: float) -> None:
        """Let retries become due, end holds and take back leases that ran out."""
        while self._timers and self._timers[0][0] <= now:
            _, sequence = heapq.heappop(self._timers)
            entry = self._entries.get(sequence)
            if entry is not None and entry.state is State.WAITING:
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

    def _restore(self, lane: Lane, entry: Entry, mark: Mark, now: float) -> None:
        """Take up a delivery where an earlier reader of the subscription left it."""
        entry.attempt, entry.failures, entry.reason = mark.attempt, mark.failures, mark.reason
        if mark.failing_since is not None:
            entry.failing_since = min(now, self._monotonic(mark.failing_since))
        if mark.state is MarkState.WAITING:
            again = self._monotonic(mark.due_at) - now
            if mark.changed_at:  # a clock that jumped back meanwhile makes nothing wait for longer
                again = min(again, (mark.due_at - mark.changed_at) / 1000)
            self._park(entry, lane, again, now)
        else:
            lane.ready.append(entry)
            self._offer(lane, entry.key)

    def _wait(self, entry: Entry, lane: Lane, verdict: retry.TryAgain, now: float) -> None:
        entry.reason = verdict.reason
        if verdict.counts:
            entry.failures += 1
            if entry.failing_since is None:
                entry.failing_since = now
        self._park(entry, lane, verdict.after_s, now)

    def _park(self, entry: Entry, lane: Lane, after_s: float, now: float) -> None:
        if after_s <= 0:
            self._return(entry, lane)
            return
        entry.state, entry.due = State.WAITING, now + after_s
        bisect.insort(lane.parked, entry)
        self._parked += 1
        heapq.heappush(self._timers, (entry.due, entry.sequence))
        if self._holds(entry, now) and (lane.blocker is None or entry < lane.blocker):
            self._block(lane, entry)
        self._note(entry, MarkState.WAITING, now)
        self._offer(lane, entry.key)

    def _block(self, lane: Lane, entry: Entry | None) -> None:
        """Have one that waits hold its key for now, or none."""
        lane.blocker = entry
        self._recount(lane)
        if entry is not None:
            hold_ends = self._failing_since(entry) + self._policy.hold_s
            heapq.heappush(self._timers, (hold_ends, entry.sequence))

    def _unblock(self, lane: Lane) -> None:
        """The blocker lets go; where order is strict, the next one that waits takes its place."""
        strict = self._policy.strict_order and lane.parked
        self._block(lane, lane.parked[0] if strict else None)

    def _recount(self, lane: Lane) -> None:
        if lane.blocker is not None or lane.counted:
            self._parked += lane.held - lane.counted
            lane.counted = lane.held

    def _holds(self, entry: Entry, now: float) -> bool:
        failing_for_s = now - self._failing_since(entry)
        return retry.holds(self._policy, entry.failures, failing_for_s)

    @staticmethod
    def _failing_since(entry: Entry) -> float:
        return entry.due if entry.failing_since is None else entry.failing_since

    def _look(self, entry: Entry, now: float) -> None:
        lane = self._lanes[entry.key]
        if entry.due <= now:
            self._return(entry, lane)
        elif lane.blocker is entry and not self._holds(entry, now):
            self._unblock(lane)
            self._offer(lane, entry.key)

    def _free(self, entry: Entry) -> None:
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[entry.sequence]
        self._return(entry, lane)
        self._keys.free(entry.key)

    def _return(self, entry: Entry, lane: Lane) -> None:
        """Put it before all of its key that came later."""
        if entry.state is State.WAITING:
            del lane.parked[bisect.bisect_left(lane.parked, entry)]
            self._parked -= 1
        if lane.blocker is entry:
            self._unblock(lane)
        entry.state = State.READY
        if lane.ready and lane.ready[0].sequence < entry.sequence:
            bisect.insort(lane.ready, entry)
        else:
            lane.ready.appendleft(entry)
        self._note(entry, MarkState.WAITING)
        self._offer(lane, entry.key)

    def _settle(self, entry: Entry, lane: Lane) -> None:
        del self._entries[entry.sequence]
        self._advance()
        if lane.empty:
            del self._lanes[entry.key]
        else:
            self._offer(lane, entry.key)

    def _offer(self, lane: Lane, key: str) -> None:
        self._recount(lane)
        if lane.open and not lane.offered:
            lane.offered = True
            heapq.heappush(self._ready, (lane.ready[0].sequence, key))

    def _offer_again(self, lane: Lane, key: str) -> None:
        lane.offered = False
        self._offer(lane, key)

    def _advance(self) -> None:
        while self._loaded and self._loaded[0] not in self._entries:
            self._loaded.popleft()
        floor = self._loaded[0] - 1 if self._loaded else self.read_up_to
        assert floor >= self._floor, "what was settled came back"
        self._floor = floor
        if len(self._loaded) > 2 * len(self._entries) + LOOK_AHEAD:
            # One that waits for hours must not make what was settled behind it pile up here.
            self._loaded = deque(s for s in self._loaded if s in self._entries)

    def _held(self, sequence: int, holder: Holder) -> Entry | None:
        entry = self._entries.get(sequence)
        if entry is None or entry.state is not State.UNDER_WAY or entry.holder is not holder:
            return None
        return entry

    def _note(self, entry: Entry, state: MarkState, now: float | None = None) -> None:
        assert state.settled or entry.sequence > self._floor, "marked below the floor"
        self._changed[entry.sequence] = Mark(
            sequence=entry.sequence,
            state=state,
            attempt=entry.attempt,
            failures=entry.failures,
            due_at=self._unix(entry.due) if entry.state is State.WAITING else 0,
            failing_since=None if entry.failing_since is None else self._unix(entry.failing_since),
            reason=entry.reason,
            changed_at=0 if now is None else self._unix(now),
        )

    def _unix(self, monotonic: float) -> int:
        return round(monotonic * 1000 + self._offset)

    def _monotonic(self, unix_ms: int) -> float:
        return (unix_ms - self._offset) / 1000
