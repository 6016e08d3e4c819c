"""One way through a channel, a subscription's own or a replay's: read, ordered and recorded.

    source ──load──▶ order ──take──▶ (fetched, with its body) ──begin──▶ a sink
                       ▲                                                   │
                       └──────────────── finish, release ──────────────────┘
                       └──record──▶ store: floor, marks, attempts

The store is the queue: what waits in memory is outlines. A body is read when a sink has room for
it, and no more of them at once than a window holds.

What may go now is decided here and nowhere else: `take` asks the pace of the source and the order
of the keys, and whoever calls it says which sizes its sinks have credit for. Between `take` and
`begin` the store was asked, so `begin` asks the order again.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import WINDOW_BYTES
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.clock import Clock
from relay_server.configs import Policy
from relay_server.delivery.lanes import Entry, Holder
from relay_server.delivery.order import LOOK_AHEAD, Finished, Order
from relay_server.delivery.retry import GIVEN_BACK
from relay_server.delivery.source import REPLAY_LOOK_AHEAD, EveryEvent, Pace, SelectedEvents, Source
from relay_server.store.interface import Store
from relay_server.values import Attempt, ChannelNumber, Claim, Event, Progress, ReaderNumber, Replay

log = structlog.get_logger()

DAMAGED = Failure(FailureKind.REFUSED, "its bytes were changed on the disk: the checksum is wrong")
TEXT_BYTES = 1_024  # kept of a failed answer's body, for `events show`


class Queue:
    """Reads outlines, says what may go and records how it went, for as long as its claim is good.

    Args:
        store: Where events are read and progress is recorded.
        channel: Whose events.
        claim: Fresh.
        policy: What follows from failures.
        clock: For durations.
        keys: Of which something is under way, shared with the subscription's other queues.
        replay: What is to be delivered again; None for live traffic.

    Attributes:
        stopped: It is a replay that sends nothing more.
    """

    def __init__(
        self,
        store: Store,
        channel: ChannelNumber,
        claim: Claim,
        policy: Policy,
        clock: Clock,
        keys: set[str],
        replay: Replay | None = None,
    ) -> None:
        self.claim = claim
        self.is_replay = replay is not None
        self.stopped = False
        self._store = store
        self._channel = channel
        self._clock = clock
        now = clock.monotonic()
        self._source: Source = EveryEvent(store, channel)
        if replay is not None:
            self._source = SelectedEvents(store, channel, replay)
        look_ahead = REPLAY_LOOK_AHEAD if self.is_replay else LOOK_AHEAD
        self._order = Order(claim, policy, now, clock.unix_ms(), keys, look_ahead)
        self._pace = Pace(self._source.rate_per_s, now)
        self._throttled = False  # its rate alone keeps something from going
        self._unread = True  # there may be events that were never read
        self._noted_floor = claim.progress.floor
        self._attempts: list[Attempt] = []

    @property
    def number(self) -> ReaderNumber:
        """Whose progress this is."""
        return self.claim.reader

    @property
    def under_way(self) -> int:
        """How many deliveries are lent."""
        return self._order.under_way

    @property
    def over(self) -> bool:
        """True if this is a replay of which everything is settled."""
        until = self._source.until
        return (
            until is not None
            and not self.stopped
            and self._order.read_up_to >= until
            and not self._order.unsettled
        )

    @property
    def due_at(self) -> float | None:
        """When a retry is due, a key is let go or its rate allows the next; monotonic seconds."""
        retry_at = self._order.next_timer
        if not self._throttled or (retry_at is not None and retry_at < self._pace.next_at):
            return retry_at
        return self._pace.next_at

    def new_events(self) -> None:
        """The store has, or may have, more than was read."""
        self._unread = True

    async def load(self) -> bool:
        """Read on, one piece; and again what spilled, one piece. So no key hides the others.

        Returns:
            True if there is more to read at once.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        if self._unread and (room := self._order.room):
            self._unread = False  # before the question: what comes meanwhile may not be in it
            try:
                ended = await self._read(self._order.read_up_to, min(room, self._source.at_once))
            except RelayError:
                self._unread = True
                raise
            self._unread |= not ended
        if (behind := self._order.behind) is not None:
            await self._read(behind, self._source.at_once)
            behind = self._order.behind
        return behind is not None or (self._unread and self._order.room > 0)

    async def take(self, limit: int, fits: Callable[[int], object]) -> list[tuple[Entry, Event]]:
        """The next deliveries that may go, whole: `begin` or `put_back` each.

        Args:
            limit: How many at most.
            fits: True for sizes of bodies that some sink has credit for.

        Raises:
            StoreUnavailable: They cannot be read now, and stay where they were.
        """
        while picked := self._pick(limit, fits):
            try:
                events = await self._store.fetch(self._channel, [e.sequence for e in picked])
            except RelayError:
                for entry in picked:
                    self._order.put_back(entry)
                raise
            whole = {e.head.sequence: e for e in events if not e.damaged}
            damaged = {e.head.sequence: e.head.id for e in events if e.damaged}
            for entry in picked:
                if entry.sequence in damaged:
                    self._give_up(entry, damaged[entry.sequence])
                elif entry.sequence not in whole:
                    log.warning("event is gone", sequence=entry.sequence, reader=self.number)
                    self._order.vanish(entry)
            if whole:
                return [(e, whole[e.sequence]) for e in picked if e.sequence in whole]
        return []

    def put_back(self, entry: Entry) -> None:
        """Return what was taken and not begun."""
        self._order.put_back(entry)

    def begin(self, entry: Entry, holder: Holder) -> bool:
        """Lend a delivery that was taken to a holder; False if it may not go any more."""
        now = self._clock.monotonic()
        if not self._order.begin(entry, holder, now):
            return False
        self._pace.spend(now)
        return True

    def extend(self, sequence: int, holder: Holder) -> None:
        """The holder still has it."""
        self._order.extend(sequence, holder, self._clock.monotonic())

    def finish(
        self, sequence: int, holder: Holder, outcome: Outcome, jitter: float
    ) -> Finished | None:
        """Take the result of an attempt; None when it comes too late to change anything."""
        finished = self._order.finish(sequence, holder, outcome, self._clock.monotonic(), jitter)
        if finished is not None and not _given_back(outcome):
            self._attempts.append(_attempt(finished.entry, outcome, self._clock.unix_ms()))
        return finished

    def release(self, holder: Holder) -> None:
        """The holder is gone: what it had may go again."""
        self._order.release(holder)

    def tick(self) -> None:
        """Look at leases, retries and holds."""
        self._order.tick(self._clock.monotonic())

    def configure(self, policy: Policy) -> None:
        """Change what follows from failures."""
        self._order.set_policy(policy, self._clock.monotonic())

    def record(self) -> None:
        """Have what changed written with the next commit."""
        marks, floor = self._order.changes(), self._order.floor
        if not (marks or self._attempts or floor > self._noted_floor):
            return
        self._noted_floor = floor
        progress = Progress(floor, tuple(marks), tuple(self._attempts))
        self._attempts.clear()
        self._store.record(self.claim, progress)

    def stop(self) -> None:
        """Send nothing more; what is under way keeps its keys until it ends."""
        self.stopped, self._throttled = True, False

    def close(self) -> None:
        """Free what is under way, note how far it came, and hold up no other queue."""
        self._order.close()
        self.record()

    def _give_up(self, entry: Entry, event: str) -> None:
        """Let a delivery die whose event is not what its sender sent: nobody is to get that."""
        log.error("event is damaged, and not sent", id=event, reader=self.number)
        if self.begin(entry, self):
            self.finish(entry.sequence, self, DAMAGED, jitter=0)

    async def _read(self, after: int, limit: int) -> bool:
        piece = await self._source.read(after, limit)
        # Behind the last of all there is nothing that a lane could still miss.
        up_to = max(piece.up_to, self._order.read_up_to) if piece.ends else piece.up_to
        self._order.load(piece.outlines, self._clock.monotonic(), after, up_to)
        return piece.ends

    def _pick(self, limit: int, fits: Callable[[int], object]) -> list[Entry]:
        """No more than a window holds: what is read and not sent only costs memory.

        A body that is too large for now does not hold up the smaller ones behind it.
        """
        self._throttled = False
        if limit <= 0 or not fits(0):
            return []
        allowance = self._pace.allowance(self._clock.monotonic())
        if not allowance:
            self._throttled = True
            return []
        fitting, total = list[Entry](), 0
        for entry in self._order.pick(min(limit, allowance)):
            if fits(entry.size) and (not fitting or total + entry.size <= WINDOW_BYTES):
                fitting.append(entry)
                total += entry.size
            else:
                self._order.put_back(entry)
        return fitting


def _given_back(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.kind in GIVEN_BACK


def _attempt(entry: Entry, outcome: Outcome, now_ms: int) -> Attempt:
    return Attempt(
        sequence=entry.sequence,
        attempt=entry.attempt,
        started_at=now_ms - outcome.elapsed_ms,
        elapsed_ms=outcome.elapsed_ms,
        outcome="response" if isinstance(outcome, Response) else outcome.kind.value,
        status=outcome.status if isinstance(outcome, Response) else None,
        text=_text(outcome),
    )


def _text(outcome: Outcome) -> str:
    """The part of an outcome that helps to see why an attempt failed."""
    match outcome:
        case Response(body=body):
            return "" if outcome.delivered else body[:TEXT_BYTES].decode("utf-8", "replace")
        case Failure(text=text):
            return text[:TEXT_BYTES]
