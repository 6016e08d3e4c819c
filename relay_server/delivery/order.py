"""Order of delivery within one subscription, or one replay. Pure: callers pass the time and jitter.

A *key* (a conversation) is a lane: its deliveries go one at a time, by sequence. Keys do not wait
for each other. A delivery is in one of three states until it is settled:

      load ──▶ READY ──begin──▶ UNDER_WAY ──2xx, or given up──▶ settled
                 ▲                  │
                 ├── given back, lease over, holder gone, 410
                 │                  │ failed, to be tried again
                 └──── due ──── WAITING

A lane is *open* when its first READY delivery may go: nothing of it is under way, and no earlier
one that is WAITING blocks it. A failing delivery blocks its lane for a few tries or seconds
(`retry.holds`), in strict order until it is settled. Then the lane goes on without it.

Memory is outlines (sequence, key, size), never bodies. A lane that is blocked must neither fill it
nor hide what lies behind it, so a lane knows `LANE_AHEAD` READY deliveries and *spills* the rest:

    sequence:   3 … 90  (256 READY)  ┆ 91, 95, 99 … spilled            ┆
                       known_up_to ──┘         to be read again   read_up_to

It notes how far it knows its own deliveries, and is read again from there when it has few left
(`behind`). Reading passes one range of sequences for all spilled lanes that begin in it. A spilled
lane keeps its last READY delivery until it was read again: that one holds the floor down.

What is recorded. A crash repeats what was under way, so that only its number is at stake: it is
noted by the look at the clock once a second, if it is under way still, or when somebody gives it
up. An ordinary delivery, which takes a target milliseconds, is over by then, and the floor alone
says so.

Invariants, asserted where they could break: at most one UNDER_WAY of a key, over all orders that
share their keys; the floor never falls, and all up to it is settled; nothing is marked below it but
what is dead; a spilled lane is never empty.

Costs: O(log n) a delivery. At most `MOST_KNOWN` are known, and one more for each lane; from half of
that on, new deliveries get 2 places in a lane instead of `LANE_AHEAD`, and half of them may be
WAITING: then failing ones block their lanes as in strict order. So it takes tens of thousands of
stuck conversations at once to hold up another one. What has spilled costs no memory, but one more
reading of its range for every `LANE_AHEAD` of its deliveries.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import msgspec

from relay_protocol.limits import LEASE_S
from relay_protocol.values import Outcome
from relay_server.configs import Policy
from relay_server.delivery import retry
from relay_server.delivery.lanes import Entry, Holder, Lane, State
from relay_server.delivery.retry import Next, Verdict
from relay_server.spans import Span
from relay_server.values import Claim, Mark, MarkState, Outline

LOOK_AHEAD = 10_000  # deliveries that could go or are under way; a few hundred bytes each
LANE_AHEAD = 256  # of one key; the rest stays in the store
MOST_KNOWN = 100_000  # with those that wait, or are blocked by one that does


_MARKS = {
    State.READY: MarkState.WAITING,  # of these alone that were begun before
    State.UNDER_WAY: MarkState.UNDER_WAY,
    State.WAITING: MarkState.WAITING,
    State.DELIVERED: MarkState.DELIVERED,
    State.DEAD: MarkState.DEAD,
}


class Order:
    """Told what is in the store and how attempts ended, says what may go next.

    Args:
        claim: What the store knows of the subscription, or of the replay.
        policy: What follows from failures.
        now: Monotonic seconds.
        now_ms: The same moment in Unix milliseconds: the store's times are turned into ours.
        keys: Those of which something is under way, shared with other orders: so live traffic and
            replays of one subscription never bring its target two events of a key at once.
        look_ahead: How many deliveries to know that could go or are under way.

    Attributes:
        read_up_to: Everything up to this sequence was read once, though it may have spilled.
    """

    # A dict of so many attributes weighs 1.3 KB, for each reader that only waits.
    __slots__ = (
        "_changed",
        "_entries",
        "_floor",
        "_held",
        "_keys",
        "_lanes",
        "_look_ahead",
        "_offset",
        "_policy",
        "_ready",
        "_restored",
        "_spilled",
        "_timers",
        "_under_way",
        "_unsettled",
        "_waiting",
        "read_up_to",
    )

    def __init__(
        self,
        claim: Claim,
        policy: Policy,
        now: float,
        now_ms: int,
        keys: set[str] | None = None,
        look_ahead: int = LOOK_AHEAD,
    ) -> None:
        self.read_up_to = claim.progress.floor
        self._floor = self.read_up_to  # when it was asked for last
        self._policy = policy
        self._keys = set[str]() if keys is None else keys
        self._look_ahead = look_ahead
        self._offset = now_ms - now * 1000  # Unix milliseconds at monotonic zero
        self._restored = {mark.sequence: mark for mark in claim.progress.marks}
        self._entries: dict[int, Entry] = {}
        self._unsettled: list[int] = []  # a heap of their sequences; settled ones leave it late
        self._waiting = 0  # entries that wait for their next try
        self._held = 0  # entries that cannot go before one of their key that waits
        self._lanes: dict[str, Lane] = {}
        self._spilled: dict[str, Lane] = {}
        self._under_way: dict[int, Entry] = {}
        self._ready: list[tuple[int, str]] = []  # (sequence of a lane's first, key): a heap
        self._timers: list[tuple[float, int]] = []  # (when, sequence) to look again: a heap
        self._changed: dict[int, Entry] = {}

    @property
    def floor(self) -> int:
        """Every delivery up to this sequence is settled; found when somebody asks, not before."""
        unsettled, entries = self._unsettled, self._entries
        if not entries:
            unsettled.clear()
            floor = self.read_up_to
        else:
            while unsettled[0] not in entries:
                heappop(unsettled)
            floor = unsettled[0] - 1
            if len(unsettled) > 2 * len(entries) + LOOK_AHEAD:
                # One that waits for hours must not make what was settled behind it pile up here.
                self._unsettled = sorted(entries)  # which is a heap, too
        assert floor >= self._floor, "what was settled came back"
        self._floor = floor
        return floor

    @property
    def ahead(self) -> int:
        """How many deliveries are known that could go, sooner or later, or are under way."""
        return len(self._entries) - self._waiting - self._held

    @property
    def unsettled(self) -> int:
        """How many deliveries are known and not settled; 0 only if nothing has spilled, too."""
        return len(self._entries)

    @property
    def next_timer(self) -> float | None:
        """When a retry becomes due or a hold ends; leases need a `tick` about once a second."""
        return self._timers[0][0] if self._timers else None

    @property
    def under_way(self) -> int:
        """How many deliveries are lent."""
        return len(self._under_way)

    @property
    def has_ready(self) -> bool:
        """True if some may be able to go, as far as is known without looking at each."""
        return bool(self._ready)

    @property
    def behind(self) -> int | None:
        """The sequence to read again behind, for lanes that spilled; None while none is short."""
        if not self._spilled:
            return None
        short = max(1, self._lane_bound // 8)  # late, so that a piece brings much
        lanes = [lane for lane in self._spilled.values() if len(lane.ready) <= short]
        return min((lane.known_up_to or 0 for lane in lanes), default=None)

    @property
    def room(self) -> int:
        """How many more new deliveries it takes now; little room is none: each reading costs."""
        room = self._look_ahead - self.ahead
        if room < self._look_ahead // 2:
            return 0
        return max(0, min(room, MOST_KNOWN - len(self._entries)))

    def has_room_for(self, count: int) -> bool:
        """True if it takes so many new deliveries now."""
        # Asked of all that comes: where little is known there is no need to count.
        return len(self._entries) + count <= self._look_ahead // 2 or count <= self.room

    @property
    def _lane_bound(self) -> int:
        """How many READY deliveries a lane may know: two at least, since the last one is kept."""
        return LANE_AHEAD if len(self._entries) < MOST_KNOWN // 2 else 2

    def set_policy(self, policy: Policy, now: float) -> None:
        """Change what follows from failures, from now on."""
        self._policy = policy
        for key, lane in self._lanes.items():
            self._block(lane, next((e for e in lane.parked if self._holds(e, now)), None))
            self._offer(lane, key)

    def load(self, outlines: Iterable[Outline], now: float, after: int, up_to: int) -> None:
        """Add deliveries that are new, or had spilled.

        Args:
            outlines: All that there are between two sequences, in order.
            now: Monotonic seconds.
            after: The lower one: `read_up_to`, or `behind`.
            up_to: The upper one. Sequences left out are gone, or not meant.
        """
        read_up_to = self.read_up_to
        assert after <= read_up_to, "a gap would be skipped"
        bound = self._lane_bound
        if after < read_up_to:  # what spilled is read again; `room` is for what is new
            up_to = min(up_to, read_up_to)
        for outline in outlines:
            if outline.sequence > up_to:
                break
            if (lane := self._lanes.get(outline.key)) is not None:
                self._append(outline, lane, after, bound, now)
            elif outline.sequence > read_up_to:
                self._add(outline, Lane(), now)
        if up_to > read_up_to:
            self.read_up_to = up_to
        if self._spilled:
            self._mend(after, up_to, bound)

    def pick(self, limit: int) -> list[Entry]:
        """Take the first deliveries that may go, one of a key; `begin` or `put_back` each."""
        ready = self._ready
        picked: list[Entry] = []
        elsewhere: list[tuple[int, str]] = []
        while ready and len(picked) < limit:
            first = heappop(ready)
            lane = self._lanes[first[1]]
            if not lane.open:
                lane.offered = False  # blocked meanwhile: offered again when it opens
            elif first[1] in self._keys:
                elsewhere.append(first)  # no more than other orders have under way
            elif lane.ready[0].given_up:
                self._bury(lane)
            else:
                picked.append(lane.ready[0])
        for first in elsewhere:
            heappush(ready, first)
        return picked

    def put_back(self, entry: Entry) -> None:
        """Return one that was picked and not begun."""
        lane = self._lanes[entry.key]
        lane.offered = False
        self._offer(lane, entry.key)

    def begin(self, entry: Entry, holder: Holder, now: float) -> bool:
        """Lend a picked delivery to a holder; False if it may not go any more."""
        lane = self._lanes[entry.key]
        # The event was read since it was picked: one of its key may have come back meanwhile.
        is_first = lane.open and lane.ready[0] is entry
        if not is_first or entry.key in self._keys or entry.given_up:
            self.put_back(entry)
            return False
        assert self._entries.get(entry.sequence) is entry, "it was settled before"
        self._keys.add(entry.key)
        lane.offered = False
        lane.active = lane.ready.pop(0)
        if lane.blocker is not None:
            self._recount(lane)
        entry.state, entry.noted = State.UNDER_WAY, False
        entry.attempt += 1
        entry.holder = holder
        entry.leased_until = now + LEASE_S
        self._under_way[entry.sequence] = entry
        return True

    def extend(self, sequence: int, holder: Holder, now: float) -> None:
        """The holder still has it."""
        entry = self._under_way.get(sequence)
        if entry is not None and entry.holder is holder:
            entry.leased_until = now + LEASE_S

    def vanish(self, entry: Entry) -> None:
        """The event of a picked delivery is gone from the store: there is nothing to deliver."""
        lane = self._lanes[entry.key]
        lane.ready.remove(entry)
        lane.offered = False
        self._settle(entry, lane)

    def leave_out(self, spans: Sequence[Span]) -> None:
        """Settle those in spans that wait for their next try: they hold their keys no more."""
        if not self._waiting or spans[0].first > self.read_up_to:
            return
        waiting = sorted(e.sequence for e in self._entries.values() if e.state is State.WAITING)
        for span in spans:
            begin, end = bisect.bisect_left(waiting, span.first), bisect.bisect(waiting, span.last)
            for entry in map(self._entries.__getitem__, waiting[begin:end]):
                lane = self._lanes[entry.key]
                self._unpark(entry, lane)
                self._changed.pop(entry.sequence, None)  # that it waited is not worth a mark
                self._settle(entry, lane)

    def give_up(self, sequence: int, reason: str, now: float) -> None:
        """Let a delivery die that was tried: its key goes on without it.

        While it is under way, its holder may still deliver it. One that is not known any more was
        settled meanwhile.
        """
        if (mark := self._restored.get(sequence)) is not None and not mark.state.settled:
            dead = {"state": MarkState.DEAD, "due_at": 0, "reason": reason}
            self._restored[sequence] = msgspec.structs.replace(mark, **dead)
        if (entry := self._entries.get(sequence)) is None:
            return
        entry.given_up = reason
        if entry.state is State.WAITING:
            self._return(entry, self._lanes[entry.key])  # it dies there, once its turn comes
        self._note(entry, now)  # whatever is recorded of it already, this comes last

    def finish(
        self, sequence: int, holder: Holder, outcome: Outcome, now: float, jitter: float
    ) -> tuple[Entry, Verdict] | None:
        """Take the result of an attempt.

        Returns:
            The delivery and what follows; None when the holder does not have it any more: then the
            result is late, and another attempt decides.
        """
        entry = self._under_way.get(sequence)
        if entry is None or entry.holder is not holder:
            return None
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[sequence]
        verdict = retry.DELIVERED
        if outcome.delivered:
            self._end(entry, lane, State.DELIVERED, now)
        else:
            verdict = retry.decide(
                outcome, self._policy, entry.attempt, entry.failures, jitter, self._unix(now)
            )
            if verdict.next is Next.AGAIN and entry.given_up:
                verdict = Verdict(Next.DEAD, entry.given_up)
            self._follow(entry, lane, verdict, now)
        # Last: by now this delivery is in front of its lane again, if it is not settled.
        self._keys.discard(entry.key)
        return entry, verdict

    def release(self, holder: Holder) -> None:
        """The holder is gone: what it had may go again, and counts as tried."""
        for entry in [e for e in self._under_way.values() if e.holder is holder]:
            self._free(entry)

    def close(self) -> None:
        """Free all that is under way."""
        for entry in list(self._under_way.values()):
            self._free(entry)

    def tick(self, now: float) -> None:
        """Take back leases that ran out, and have what is still under way recorded."""
        # No heap for these: there are no more than windows hold, and each is extended often.
        for entry in list(self._under_way.values()):
            if entry.leased_until <= now:
                self._free(entry)
            else:
                self.note_under_way(entry.sequence)
        self.look(now)

    def note_under_way(self, sequence: int) -> None:
        """Have it recorded that a delivery is under way, if it is, and was not yet."""
        entry = self._under_way.get(sequence)
        if entry is not None and not entry.noted:
            entry.noted = True
            self._note(entry)

    def look(self, now: float) -> None:
        """Let retries become due, and end holds."""
        while self._timers and self._timers[0][0] <= now:
            _, sequence = heappop(self._timers)
            entry = self._entries.get(sequence)
            if entry is not None and entry.state is State.WAITING:
                self._look(entry, now)

    def changes(self, floor: int) -> Sequence[Mark]:
        """Marks that changed since the last call, but for what the floor says.

        It does not say that what somebody may have given up was delivered after all.
        """
        changed = self._changed
        if not changed:
            return ()
        marks = [
            self._mark(entry)
            for entry in changed.values()
            if entry.sequence > floor or entry.state is State.DEAD or entry.marked
        ]
        changed.clear()
        return marks

    # Reading, and what spills.

    def _append(self, outline: Outline, lane: Lane, after: int, bound: int, now: float) -> None:
        """Add one to a lane that there is, or have it spill."""
        spills_from = lane.known_up_to
        known = self.read_up_to if spills_from is None else spills_from
        # Known already; or a part of its lane before it is not, and would be overtaken.
        if not after <= known < outline.sequence:
            return
        # Or an earlier reader had begun it: its mark is in memory anyway.
        if len(lane.ready) < bound or (spills_from is None and outline.sequence in self._restored):
            if spills_from is not None:
                lane.known_up_to = outline.sequence
            self._add(outline, lane, now)
        elif spills_from is None:
            lane.known_up_to = outline.sequence - 1
            self._spilled[outline.key] = lane

    def _add(self, outline: Outline, lane: Lane, now: float) -> None:
        sequence, key = outline.sequence, outline.key
        mark = self._restored.pop(sequence, None) if self._restored else None
        if mark is not None and mark.state.settled:
            return
        self._entries[sequence] = entry = Entry(sequence, key, outline.size)
        self._lanes[key] = lane
        heappush(self._unsettled, sequence)
        if mark is not None and self._take_up(entry, lane, mark, now):
            return
        lane.ready.append(entry)
        self._offer(lane, key)

    def _take_up(self, entry: Entry, lane: Lane, mark: Mark, now: float) -> bool:
        """Go on where an earlier reader left one; True if it waits for its next try."""
        entry.marked = True
        entry.attempt, entry.failures, entry.reason = mark.attempt, mark.failures, mark.reason
        if mark.failing_since is not None:
            entry.failing_since = min(now, self._monotonic(mark.failing_since))
        if mark.state is not MarkState.WAITING:
            return False
        again = self._monotonic(mark.due_at) - now
        if mark.changed_at:  # a clock that jumped back meanwhile makes nothing wait for longer
            again = min(again, (mark.due_at - mark.changed_at) / 1000)
        self._park(entry, lane, again, now)
        return True

    def _mend(self, after: int, up_to: int, bound: int) -> None:
        """Lanes that took all there was of them in a range know themselves up to its end."""
        for key, lane in list(self._spilled.items()):
            assert not lane.empty, "nothing would hold the floor"
            known = lane.known_up_to or 0
            if after <= known and len(lane.ready) < bound:
                lane.known_up_to = max(known, up_to)
                if lane.known_up_to >= self.read_up_to:
                    lane.known_up_to = None
                    del self._spilled[key]
                self._offer(lane, key)

    # What follows from a result.

    def _follow(self, entry: Entry, lane: Lane, verdict: Verdict, now: float) -> None:
        entry.reason = verdict.reason or entry.reason
        match verdict.next:
            case Next.GIVEN_BACK:
                entry.attempt -= 1
                self._return(entry, lane)
            case Next.PAUSED:
                self._return(entry, lane)
            case Next.AGAIN:
                if verdict.counts:
                    entry.failures += 1
                    if entry.failing_since is None:
                        entry.failing_since = now
                self._park(entry, lane, verdict.after_s, now)
            case _:  # dead
                self._end(entry, lane, State.DEAD, now)

    def _end(self, entry: Entry, lane: Lane, state: State, now: float) -> None:
        entry.state, entry.changed_at = state, now
        self._changed[entry.sequence] = entry
        self._settle(entry, lane)

    def _bury(self, lane: Lane) -> None:
        """The first of a lane was given up, and its turn has come."""
        lane.offered = False
        entry = lane.ready.pop(0)
        if lane.blocker is not None:
            self._recount(lane)
        entry.state = State.DEAD
        self._changed[entry.sequence] = entry
        self._settle(entry, lane)

    def _park(self, entry: Entry, lane: Lane, after_s: float, now: float) -> None:
        if after_s <= 0:
            self._return(entry, lane)
            return
        entry.state, entry.due = State.WAITING, now + after_s
        bisect.insort(lane.parked, entry)
        self._waiting += 1
        heappush(self._timers, (entry.due, entry.sequence))
        if self._holds(entry, now) and (lane.blocker is None or entry < lane.blocker):
            self._block(lane, entry)
        self._note(entry, now)
        self._offer(lane, entry.key)

    def _free(self, entry: Entry) -> None:
        lane = self._lanes[entry.key]
        lane.active = entry.holder = None
        del self._under_way[entry.sequence]
        self._return(entry, lane)
        self._keys.discard(entry.key)

    def _return(self, entry: Entry, lane: Lane) -> None:
        """Put it before all of its key that came later."""
        if entry.state is State.WAITING:
            self._unpark(entry, lane)
        entry.state = State.READY
        if lane.ready and lane.ready[0].sequence < entry.sequence:
            bisect.insort(lane.ready, entry)
        else:
            lane.ready.insert(0, entry)
        self._note(entry)
        self._offer(lane, entry.key)

    def _unpark(self, entry: Entry, lane: Lane) -> None:
        del lane.parked[bisect.bisect_left(lane.parked, entry)]
        self._waiting -= 1
        if lane.blocker is entry:
            self._unblock(lane)

    def _settle(self, entry: Entry, lane: Lane) -> None:
        del self._entries[entry.sequence]
        if lane.empty:
            del self._lanes[entry.key]
        else:
            self._offer(lane, entry.key)

    # What blocks a lane, and what opens it.

    def _block(self, lane: Lane, entry: Entry | None) -> None:
        """Have one that waits hold its key for now, or none."""
        lane.blocker = entry
        self._recount(lane)
        if entry is not None:
            hold_ends = self._failing_since(entry) + self._policy.hold_s
            heappush(self._timers, (hold_ends, entry.sequence))

    def _unblock(self, lane: Lane) -> None:
        """The blocker lets go; where order is strict, the next one that waits takes its place."""
        strict = self._policy.strict_order and lane.parked
        self._block(lane, lane.parked[0] if strict else None)

    def _holds(self, entry: Entry, now: float) -> bool:
        """True if one that waits holds its key: by the policy, or since too many wait already."""
        if self._waiting > MOST_KNOWN // 2:
            return True
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

    def _offer(self, lane: Lane, key: str) -> None:
        if lane.blocker is not None:
            self._recount(lane)
        if not lane.offered and lane.open:
            lane.offered = True
            heappush(self._ready, (lane.ready[0].sequence, key))

    def _recount(self, lane: Lane) -> None:
        self._held += lane.held - lane.counted
        lane.counted = lane.held

    # What the store is told.

    def _note(self, entry: Entry, now: float | None = None) -> None:
        """Have one recorded that is not settled."""
        assert entry.sequence > self._floor, "marked below the floor"
        if now is not None or not entry.given_up:
            entry.changed_at = now
        self._changed[entry.sequence] = entry

    def _mark(self, entry: Entry) -> Mark:
        state = _MARKS[entry.state]
        if not state.settled:
            entry.marked = True
            if entry.given_up:
                state = MarkState.DEAD
        return Mark(
            sequence=entry.sequence,
            state=state,
            attempt=entry.attempt,
            failures=entry.failures,
            due_at=self._unix(entry.due) if entry.state is State.WAITING else 0,
            failing_since=None if entry.failing_since is None else self._unix(entry.failing_since),
            reason=(entry.given_up if state is MarkState.DEAD else "") or entry.reason,
            changed_at=0 if entry.changed_at is None else self._unix(entry.changed_at),
        )

    def _unix(self, monotonic: float) -> int:
        return round(monotonic * 1000 + self._offset)

    def _monotonic(self, unix_ms: int) -> float:
        return (unix_ms - self._offset) / 1000
