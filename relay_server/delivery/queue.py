"""One way through a channel, a subscription's own or a replay's: read, ordered and recorded.

    store ──read_on, feed──▶ order ──take──▶ (fetched, with its body) ──begin──▶ a sink
                               ▲                                                   │
                               └──────────────── finish, release ──────────────────┘
                               └──record──▶ store: floor, marks, attempts

A `Queue` is the `Order` of what it reads. Live traffic is every event of a channel from a
subscription's floor on, without an end, as fast as its sinks take it. A replay is what its
selection means, up to the last event there was when it was asked for, at its rate. There is no
other difference between them.

The store is the queue: what waits in memory is outlines. A body is read when a sink has room for
it, and no more of them at once than a window holds. A queue that has read all there was takes new
events from the change that tells of them: a live reader costs no question to the store.

What may go now is decided here and nowhere else: `take` asks the pace and the order of the keys,
and whoever calls it says which sizes its sinks have credit for. Between `take` and `begin` the
store was asked, so `begin` asks the order again.

A subscription's filter is asked once of each event: of those that are fed here, of those that are
read in the store's thread, which has their bodies. What it leaves out is settled: the order never
hears of it, so that the floor passes it, and above the floor it is recorded as spans. When the
filter changes, what waits by then is asked about again once its turn comes and its body is here.
A replay asks no filter: somebody named what it is for.

Nor does anything expire in it. In live traffic an event is asked whether it came too late when its
turn comes (`expiry`). One that has is settled like what a filter leaves out, and noted as expired.
Where people may have its conversation, a gate is asked then, too; and where each message is to be
delivered once, whether an event before it told the same (`once`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import WINDOW_BYTES, WINDOW_DELIVERIES
from relay_protocol.values import EventHead, Failure, FailureKind, Outcome
from relay_server.clock import Clock
from relay_server.configs import Policy
from relay_server.delivery.expiry import Lifetimes, expired
from relay_server.delivery.kept import attempt_of
from relay_server.delivery.lanes import Entry, Holder
from relay_server.delivery.once import Once, repeated
from relay_server.delivery.order import LOOK_AHEAD, Order
from relay_server.delivery.pace import Pace
from relay_server.delivery.retry import Next, Verdict
from relay_server.delivery.source import Source
from relay_server.filters.document import Documents
from relay_server.filters.language import Filter
from relay_server.spans import Span, above, gaps, joined
from relay_server.store.feed import EventsStored
from relay_server.store.interface import Store
from relay_server.values import (
    NOT_KEPT,
    TAKEN_OVER,
    UNKEPT,
    Attempt,
    ChannelNumber,
    Claim,
    Event,
    Outline,
    Progress,
    Replay,
)

log = structlog.get_logger()

READ_AHEAD = 512  # outlines read at once
REPLAY_LOOK_AHEAD = 256  # of a replay: looking for them costs much, and it has few under way
DAMAGED = Failure(FailureKind.REFUSED, "its bytes were changed on the disk: the checksum is wrong")
# Told of an attempt that ended: of which channel, whether it delivered, whether it was the last.
Ended = Callable[[ChannelNumber, bool, bool], None]


# Whether an event may go: empty if so, None if that is not known yet, else why it is skipped.
Gate = Callable[[EventHead], str | None]


class Queue(Order):
    """Reads outlines, says what may go and records how it went, for as long as its claim is good.

    Args:
        claim: Fresh.
        keys: Of which something is under way, shared with the subscription's other queues.
        replay: What is to be delivered again; None for live traffic.
        on_ended: Called with each attempt that ended.

    Attributes:
        number: Whose progress this is.
        is_replay: It is a replay; otherwise it is live traffic.
        pace: How fast its deliveries may leave.
        stopped: It is a replay that sends nothing more.
    """

    __slots__ = (
        "_ask_again_up_to",
        "_attempts",
        "_channel",
        "_clock",
        "_gate",
        "_gated",
        "_lifetimes",
        "_noted_floor",
        "_on_ended",
        "_once",
        "_reading",
        "_replay",
        "_skip_up_to",
        "_skipped",
        "_source",
        "_store",
        "_throttled",
        "_unread",
        "claim",
        "is_replay",
        "number",
        "pace",
        "stopped",
    )

    def __init__(
        self,
        store: Store,
        channel: ChannelNumber,
        claim: Claim,
        policy: Policy,
        clock: Clock,
        keys: set[str],
        replay: Replay | None = None,
        on_ended: Ended = lambda *_: None,
    ) -> None:
        now = clock.monotonic()
        look_ahead = LOOK_AHEAD if replay is None else REPLAY_LOOK_AHEAD
        super().__init__(claim, policy, now, clock.unix_ms(), keys, look_ahead)
        self.claim, self.number = claim, claim.reader
        self.is_replay, self.stopped = replay is not None, False
        self._store = store
        self._channel = channel
        self._source = Source(store, channel, claim.reader, replay)
        self._clock = clock
        self._replay = replay
        self.pace = Pace(None if replay is None else replay.rate_per_s, now)
        self._throttled = False  # its rate alone keeps something from going
        self._unread = True  # there may be events that were never read
        self._reading = False  # the store was asked what comes next
        self._noted_floor = claim.progress.floor
        self._ask_again_up_to = 0  # was read by another filter
        self._lifetimes: Lifetimes | None = None
        self._gate: Gate | None = None
        self._once: Once | None = None
        self._gated = set[str]()  # keys that wait for it
        self._skip_up_to = 0  # somebody settled what waited up to there
        self._skipped: list[Span] = []  # since it was recorded
        self._attempts: list[Attempt] = []
        self._on_ended = on_ended

    @property
    def has_work(self) -> bool:
        """True if something may be able to go, or is to be read."""
        if self._ready or (self._unread and self.room > 0):
            return True
        return self.behind is not None

    @property
    def over(self) -> bool:
        """True if this is a replay of which everything is settled."""
        replay = self._replay
        if replay is None or self.stopped:
            return False
        return self.read_up_to >= replay.until and not self.unsettled

    @property
    def due_at(self) -> float | None:
        """When a retry is due, a key is let go or its rate allows the next; monotonic seconds."""
        retry_at = self.next_timer
        if not self._throttled or (retry_at is not None and retry_at < self.pace.next_at):
            return retry_at
        return self.pace.next_at

    @property
    def keeps_up(self) -> bool:
        """False while there is more to read than it takes."""
        return not self._unread or self.room > 0

    def set_filter(self, wanted: Filter, *, filtered: bool) -> None:
        """Deliver what a filter means, from now on.

        Args:
            wanted: The filter.
            filtered: Something may be left out: it is, or was, another than that for everything,
                or there are times to live.
        """
        if wanted != self._source.filter:
            self._ask_again_up_to = self.read_up_to
        self._source.set_filter(wanted, filtered=filtered)

    def set_lifetimes(self, lifetimes: Lifetimes | None) -> None:
        """Settle what has outlived these when its turn comes, from now on."""
        self._lifetimes = lifetimes

    def set_gate(self, gate: Gate | None) -> None:
        """Ask before each delivery, from now on, whether it may go."""
        self._gate = gate
        for key in list(self._gated):
            self.ask_again(key)

    def set_once(self, once: Once | None) -> None:
        """Deliver only the first of the events which tell one message, from now on."""
        self._once = once

    def ask_again(self, key: str) -> None:
        """The gate may know more of a key."""
        if key in self._gated:
            self._gated.discard(key)
            self._keys.discard(key)

    def feed(self, change: EventsStored, documents: Documents, now: float) -> bool:
        """Take new events from the change that tells of them; False where they must be read.

        That is where they do not follow what was read, there is no room, or they are too large for
        a filter to be asked here.

        Args:
            change: What came.
            documents: The same events.
            now: Monotonic seconds.
        """
        after, events, wanted = self.read_up_to, change.events, self._source.filter
        if (
            self._unread
            or self._reading
            or len(events) != change.up_to - after  # what is known, or not handed along, among it
            or events[0].head.sequence != after + 1
            or not self.has_room_for(len(events))
            or (wanted.terms and not self._source.asks_at_once(events))
        ):
            self._unread = True
            return False
        if wanted.terms:
            events = tuple(d.event for d in documents.all if wanted.matches(d))
        outlines = [Outline(e.head.sequence, e.head.key, len(e.body)) for e in events]
        self.load(outlines, now, after, change.up_to)
        if len(outlines) < len(change.events):
            self._leave_out(after, change.up_to, outlines)
            self.record()
        return True

    async def read_on(self) -> bool:
        """Read on, one piece; and again what spilled, one piece. So no key hides the others.

        Returns:
            True if there is more to read at once.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        if self._unread and (room := self.room):
            self._unread = False  # before the question: what comes meanwhile may not be in it
            try:
                ended = await self._read(self.read_up_to, min(room, READ_AHEAD))
            except RelayError:
                self._unread = True
                raise
            self._unread |= not ended
        if (behind := self.behind) is not None:
            await self._read(behind, min(READ_AHEAD, self._look_ahead))
            behind = self.behind
        return behind is not None or (self._unread and self.room > 0)

    async def take(self, limit: int, fits: Callable[[int], object]) -> list[tuple[Entry, Event]]:
        """The next deliveries that may go, whole: `begin` or `put_back` each.

        Args:
            limit: How many at most.
            fits: True for sizes of bodies that some sink has credit for.

        Raises:
            StoreUnavailable: They cannot be read now, and stay where they were.
        """
        if self._once is not None:
            await self._once.look_back(self.floor, self.read_up_to)
        while picked := self._fitting(limit, fits):
            if picked[0].sequence <= self._skip_up_to:
                self._drop_skipped(picked)
                continue
            try:
                events = await self._store.fetch(self._source.channel, [e.sequence for e in picked])
            except RelayError:
                for entry in picked:
                    self.put_back(entry)
                raise
            found = {event.head.sequence: event for event in events}
            whole = list[tuple[Entry, Event]]()
            for entry in picked:
                event = found.get(entry.sequence)
                if event is None:
                    log.warning("event is gone", sequence=entry.sequence, reader=self.number)
                    self.vanish(entry)
                elif self._goes(entry, event):
                    whole.append((entry, event))
            if whole:
                return whole
            self.record()  # much may have expired
        return []

    def may_go(self, entry: Entry, event: Event) -> bool:
        """Ask the gate of one that was picked: what must not go is settled.

        What may go later holds its key until then.
        """
        if self._gate is None or (why := self._gate(event.head)) == "":
            return True
        if why is None:
            self._gated.add(entry.key)
            self._keys.add(entry.key)
            self.put_back(entry)
        else:
            self._leave(entry, Attempt.note(entry.sequence, self._clock.unix_ms(), TAKEN_OVER, why))
        return False

    def leave_out(self, spans: Sequence[Span]) -> None:
        """Settle those in spans that wait for their next try; others are left out where read."""
        self._source.left_out_up_to = max(self._source.left_out_up_to, spans[-1].last)
        super().leave_out(spans)

    def finish(
        self, sequence: int, holder: Holder, outcome: Outcome, now: float, jitter: float
    ) -> tuple[Entry, Verdict] | None:
        """Take the result of an attempt; None when it comes too late to change anything."""
        finished = super().finish(sequence, holder, outcome, now, jitter)
        if finished is None:
            return None
        entry, follows = finished[0], finished[1].next
        if follows is not Next.GIVEN_BACK:
            self._attempts.append(attempt_of(entry, outcome, self._clock.unix_ms()))
            self._on_ended(self._channel, follows is Next.DELIVERED, follows is Next.DEAD)
        if sequence <= self._skip_up_to:
            self.leave_out([Span(sequence, sequence)])  # it is not tried again
        return finished

    def skip(self, up_to: int) -> None:
        """Somebody settled what waited up to a sequence; what is under way ends as it ends."""
        self._skip_up_to = max(up_to, self._skip_up_to)
        self.leave_out([Span(1, up_to)])

    def record(self) -> None:
        """Have what changed written soon."""
        floor = self.floor
        marks = self.changes(floor)
        skipped: Sequence[Span] = ()
        if self._skipped:
            skipped = above(joined(self._skipped), floor)
            self._skipped.clear()
        if not (marks or self._attempts or skipped or floor > self._noted_floor):
            return
        self._noted_floor = floor
        progress = Progress(floor, tuple(marks), tuple(self._attempts), tuple(skipped))
        self._attempts.clear()
        self._store.record(self.claim, progress)

    def stop(self) -> None:
        """Send nothing more; what is under way keeps its keys until it ends."""
        self.stopped, self._throttled = True, False

    def close(self) -> None:
        """Free what is under way, note how far it came, and hold up no other queue."""
        super().close()
        self.record()

    def _goes(self, entry: Entry, event: Event) -> bool:
        """Whether an event is to be delivered, now that its turn is; else that is settled."""
        if event.damaged:
            self._kill_damaged(entry, event)
            return False
        if not event.kept:
            now_ms = self._clock.unix_ms()
            self._leave(entry, Attempt.note(entry.sequence, now_ms, NOT_KEPT, UNKEPT))
            return False
        if entry.sequence <= self._ask_again_up_to and not self._source.means(event):
            self._leave(entry)
            return False
        if (self._lifetimes or self._once) and (note := self._untried(event)) is not None:
            self._leave(entry, note)
            return False
        return self.may_go(entry, event)

    def _untried(self, event: Event) -> Attempt | None:
        """Why an event is not worth a try by now; None if it is."""
        head, now_ms = event.head, self._clock.unix_ms()
        if self._lifetimes is not None:
            lifetime_s = self._lifetimes.outlived(head, now_ms)
            if lifetime_s is not None:
                return expired(head.sequence, lifetime_s, now_ms)
        first = self._once.first_of(event) if self._once is not None else ""
        return repeated(head, first, now_ms) if first else None

    def _leave(self, entry: Entry, *notes: Attempt) -> None:
        """Settle one that is not to be delivered, with what says why."""
        self.vanish(entry)
        if not self.is_replay:  # whose floor alone says what is settled
            self._skipped.append(Span(entry.sequence, entry.sequence))
        self._attempts += notes

    def _drop_skipped(self, picked: Sequence[Entry]) -> None:
        """Let go of those that somebody settled, and put back the rest."""
        for entry in picked:
            if entry.sequence <= self._skip_up_to:
                self.vanish(entry)
            else:
                self.put_back(entry)

    def _leave_out(self, after: int, up_to: int, meant: Sequence[Outline]) -> None:
        """Settle what was read and is not meant."""
        self._skipped += gaps(after, up_to, (outline.sequence for outline in meant))

    def _kill_damaged(self, entry: Entry, event: Event) -> None:
        """Let a delivery die whose event is not what its sender sent: nobody is to get that."""
        log.error("event is damaged, and not sent", id=event.head.id, reader=self.number)
        now = self._clock.monotonic()
        if self.begin(entry, self, now):
            self.finish(entry.sequence, self, DAMAGED, now, jitter=0)

    async def _read(self, after: int, limit: int) -> bool:
        """Read what comes after a sequence; True if there is nothing behind it."""
        # Until it is answered nothing is fed: the answer may say that it is all there is.
        self._reading = True
        asked, is_new = self._source.filter, after == self.read_up_to
        try:
            outlines, up_to, ends = await self._source.after(after, limit)
        finally:
            self._reading = False
        if self._source.filtered and is_new:
            self._leave_out(after, up_to, outlines)
        # Behind the last of all there is nothing that a lane could still miss.
        up_to = max(up_to, self.read_up_to) if ends else up_to
        self.load(outlines, self._clock.monotonic(), after, up_to)
        if asked is not self._source.filter:  # which changed meanwhile
            self._ask_again_up_to = self.read_up_to
        return ends

    def _fitting(self, limit: int, fits: Callable[[int], object]) -> list[Entry]:
        """No more than a window holds: what is read and not sent only costs memory.

        A body that is too large for now does not hold up the smaller ones behind it: some are
        looked at.
        """
        self._throttled = False
        if limit <= 0 or not self.has_ready or not fits(0):
            return []
        allowance = self.pace.allowance(self._clock.monotonic())
        if not allowance:
            self._throttled = True
            return []
        limit = min(limit, allowance)
        fitting, too_large, total = list[Entry](), list[Entry](), 0
        while len(too_large) < WINDOW_DELIVERIES and (some := self.pick(limit - len(fitting))):
            for entry in some:
                if fits(entry.size) and (not fitting or total + entry.size <= WINDOW_BYTES):
                    fitting.append(entry)
                    total += entry.size
                else:
                    too_large.append(entry)
        for entry in too_large:
            self.put_back(entry)
        return fitting
