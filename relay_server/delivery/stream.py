"""One way through a channel: a subscription's own, or a replay's; read, ordered and recorded."""

from __future__ import annotations

from relay_protocol.limits import WINDOW_DELIVERIES
from relay_protocol.values import Failure, Outcome, Response
from relay_server.clock import Clock
from relay_server.configs import Policy
from relay_server.delivery.lanes import Entry, Holder, Keys
from relay_server.delivery.retry import GIVEN_BACK
from relay_server.delivery.schedule import Finished, Schedule
from relay_server.store.interface import Store
from relay_server.values import Attempt, ChannelNumber, Claim, Progress, ReaderNumber, Replay

READ_AHEAD = 512  # outlines read at once
TEXT_BYTES = 1_024  # of a failed answer that is kept to be looked at
REPLAY_BURST_S = 0.05  # how much of its rate a replay may catch up at once
REPLAY_LOOK_AHEAD = 256  # deliveries of a replay known at once, those that wait not counted


class Stream:
    """What a claim is good for: reads outlines, says what may go, records how it went.

    Args:
        store: Where events are read and progress is recorded.
        channel: Whose events.
        claim: Fresh.
        policy: What follows from failures.
        clock: For durations.
        keys: Shared with the other streams of the subscription.
        replay: Set for a replay: only what it selects is read, at its rate.

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
        keys: Keys,
        replay: Replay | None = None,
    ) -> None:
        self.claim = claim
        self.replay = replay
        self.stopped = False
        now = clock.monotonic()
        self.schedule = Schedule(claim, policy, now, clock.unix_ms(), keys)
        self.next_at = now  # when its rate lets the next one go; monotonic seconds
        self.throttled_until: float | None = None
        self._store = store
        self._channel = channel
        self._clock = clock
        self._noted_floor = claim.progress.floor
        self._attempts: list[Attempt] = []

    @property
    def number(self) -> ReaderNumber:
        """Whose progress this is."""
        return self.claim.reader

    @property
    def over(self) -> bool:
        """Whether this is a replay of which everything is settled."""
        return (
            self.replay is not None
            and not self.stopped
            and self.schedule.read_up_to >= self.replay.until
            and not self.schedule.unsettled
        )

    async def load(self) -> bool:
        """Read on: all that there is room for, of a replay only some, since it may look at much.

        So a key that waits does not hide the others.

        Returns:
            Whether there is more to read at once.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        if self.replay is not None:
            return await self._load_selected(self.replay)
        while (room := min(self.schedule.room, READ_AHEAD)) > 0:
            outlines = await self._store.outlines(self._channel, self.schedule.read_up_to, room)
            if outlines:
                self.schedule.load(outlines, self._clock.monotonic())
            if len(outlines) < room:
                break
        return False

    def allowance(self) -> int:
        """How many deliveries its rate lets it begin now; if none, `throttled_until` says when."""
        if self.replay is None:
            return WINDOW_DELIVERIES
        self.throttled_until, now = None, self._clock.monotonic()
        if self.next_at > now:
            self.throttled_until = self.next_at if self.schedule.any_ready else None
            return 0
        behind_s = min(now - self.next_at, REPLAY_BURST_S)
        return int(behind_s * self.replay.rate_per_s) + 1

    def begin(self, entry: Entry, holder: Holder) -> bool:
        """Lend a picked delivery to a holder; False if it may not go any more."""
        now = self._clock.monotonic()
        if not self.schedule.begin(entry, holder, now):
            return False
        if self.replay is not None:
            self.next_at = max(self.next_at, now - REPLAY_BURST_S) + 1 / self.replay.rate_per_s
        return True

    def stop(self) -> None:
        """Send nothing more; what is under way keeps its keys until it ends."""
        self.stopped, self.throttled_until = True, None

    def close(self) -> None:
        """Free what is under way, note how far it came, and hold up no other stream."""
        self.schedule.close()
        self.record()

    def finish(
        self, sequence: int, holder: Holder, outcome: Outcome, jitter: float
    ) -> Finished | None:
        """Take the result of an attempt; None when it comes too late to change anything."""
        finished = self.schedule.finish(sequence, holder, outcome, self._clock.monotonic(), jitter)
        if finished is not None and not _given_back(outcome):
            self._attempts.append(_attempt(finished.entry, outcome, self._clock.unix_ms()))
        return finished

    def record(self) -> None:
        """Have what changed written with the next commit."""
        marks, floor = self.schedule.changes(), self.schedule.floor
        if not (marks or self._attempts or floor > self._noted_floor):
            return
        self._noted_floor = floor
        progress = Progress(floor, tuple(marks), tuple(self._attempts))
        self._attempts.clear()
        self._store.record(self.claim, progress)

    async def _load_selected(self, replay: Replay) -> bool:
        room = REPLAY_LOOK_AHEAD - self.schedule.ready_or_lent
        after = self.schedule.read_up_to
        # A look costs much the same however little it brings.
        if room < REPLAY_LOOK_AHEAD // 2 or self.schedule.room == 0 or after >= replay.until:
            return False
        found = await self._store.select(self._channel, replay, after, room)
        self.schedule.load(found.outlines, self._clock.monotonic(), found.read_up_to)
        return found.read_up_to < replay.until


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
    """What helps to see why an attempt failed."""
    match outcome:
        case Response(body=body):
            return "" if outcome.delivered else body[:TEXT_BYTES].decode("utf-8", "replace")
        case Failure(text=text):
            return text[:TEXT_BYTES]
