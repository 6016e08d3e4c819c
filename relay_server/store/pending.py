"""Progress that waits to be written, kept as small as it can be."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

from relay_server.store.database import Database
from relay_server.values import Attempt, Claim, Mark, MarkState, Progress, ReaderNumber

MAX_ATTEMPTS = 10_000  # of a subscription
MAX_MARKS = 100_000  # of a subscription, but for those that must not be forgotten


@dataclass(slots=True)
class _Change:
    """What is not yet written of one reader; the newest mark of a delivery is enough.

    Where nothing can be written for long it stays bounded: the oldest attempts are forgotten, and
    then that deliveries were made, which repeats them after a crash.
    """

    epoch: int
    floor: int
    marks: dict[int, Mark] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    reached: int | None = None  # the floor that was written
    _look_at: int = 0  # marks at which to look at them again

    def add(self, progress: Progress) -> None:
        self.floor = max(self.floor, progress.floor)
        self.marks.update((mark.sequence, mark) for mark in progress.marks)
        self.attempts.extend(progress.attempts)
        self.bound()

    def bound(self) -> None:
        """Forget what is too much, the oldest first."""
        del self.attempts[:-MAX_ATTEMPTS]
        if len(self.marks) <= max(MAX_MARKS, self._look_at):
            return
        marks = [m for m in self.marks.values() if m.sequence > self.floor or _lasts(m)]
        delivered = [m.sequence for m in marks if m.state is MarkState.DELIVERED]
        forgotten = set(sorted(delivered)[: max(0, len(marks) - MAX_MARKS // 2)])
        self.marks = {m.sequence: m for m in marks if m.sequence not in forgotten}
        self._look_at = 2 * len(self.marks)

    def write(self, database: Database, reader: ReaderNumber, before: int) -> None:
        """Write it where its claim still holds; up to the floor `before` all was written before."""
        name = "advance" if reader > 0 else "advance_replay"
        floor = self.reached = database.value(name, self.floor, abs(reader), self.epoch)
        if floor is None:
            return  # another holds a newer claim, or the reader is gone
        if floor > before:
            database.run("forget_marks", reader, before, floor)
        kept = [m for m in self.marks.values() if m.sequence > floor or _lasts(m)]
        if kept:
            database.run_rows("mark", [_mark_row(reader, mark) for mark in kept])
        if self.attempts:
            rows = [_attempt_row(reader, attempt) for attempt in self.attempts]
            database.run_rows("attempt", rows)
        if reader < 0:
            self._tell_subscription(database, -reader)
        if dead := [m.sequence for m in kept if m.state is MarkState.DEAD]:
            database.run("forget_dead_of_gone", reader, json.dumps(dead))

    def _tell_subscription(self, database: Database, replay: int) -> None:
        """What a replay delivered is no longer dead; what it gave up is."""
        if delivered := [a.sequence for a in self.attempts if a.delivered]:
            for name in ("redeem", "forget_redeemed"):
                database.run(name, replay, json.dumps(delivered))
        for mark in self.marks.values():
            if mark.state is MarkState.DEAD:
                values = mark.sequence, mark.attempt, mark.failures, mark.reason, mark.changed_at
                database.run("dead_by_replay", replay, *values)


class Pending:
    """Shared by the event loop, which adds, and the writer, which takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[ReaderNumber, _Change] = {}
        self._floors: dict[ReaderNumber, int] = {}  # as they were committed last

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._changes)

    def add(self, claim: Claim, progress: Progress) -> bool:
        """Add progress; True when nothing waited before."""
        with self._lock:
            first = not self._changes
            change = self._changes.get(claim.reader)
            if change is None or change.epoch < claim.epoch:
                change = self._changes[claim.reader] = _Change(claim.epoch, progress.floor)
            if change.epoch == claim.epoch:
                change.add(progress)
            return first

    def write(self, database: Database) -> dict[ReaderNumber, _Change]:
        """Write everything into the open transaction, and hand it over; keep it if that fails."""
        with self._lock:
            taken, self._changes = self._changes, {}
        try:
            for reader, change in taken.items():
                change.write(database, reader, self._floors.get(reader, 0))
        except Exception:
            self.put_back(taken)
            raise
        return taken

    def written(self, taken: dict[ReaderNumber, _Change]) -> None:
        """The transaction was committed; in the writer's thread, as is `write`."""
        for reader, change in taken.items():
            if change.reached is None:
                self._floors.pop(reader, None)
            else:
                self._floors[reader] = change.reached

    def put_back(self, taken: dict[ReaderNumber, _Change]) -> None:
        """The transaction failed: keep it for the next one."""
        with self._lock:
            for reader, old in taken.items():
                newer = self._changes.get(reader)
                if newer is None:
                    self._changes[reader] = old
                elif newer.epoch == old.epoch:
                    newer.floor = max(old.floor, newer.floor)
                    newer.marks = old.marks | newer.marks
                    newer.attempts = old.attempts + newer.attempts
                    newer.bound()


def _lasts(mark: Mark) -> bool:
    """Whether a mark is kept below the floor, which says of all others that they were delivered."""
    return mark.state is MarkState.DEAD


def _mark_row(reader: int, m: Mark) -> tuple[object, ...]:
    return (
        reader,
        m.sequence,
        int(m.state),
        m.attempt,
        m.failures,
        m.due_at,
        m.failing_since,
        m.reason,
        m.changed_at,
    )


def _attempt_row(reader: int, a: Attempt) -> tuple[object, ...]:
    return (
        reader,
        a.sequence,
        a.attempt,
        a.started_at,
        a.elapsed_ms,
        a.outcome,
        a.status,
        a.text,
    )
