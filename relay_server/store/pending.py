"""Progress that waits to be written, kept as small as it can be."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from relay_server.store.database import Database
from relay_server.values import Attempt, Claim, Mark, MarkState, Progress, SubscriptionNumber


@dataclass(slots=True)
class _Change:
    """What is not yet written of one subscription; the newest mark of a delivery is enough."""

    epoch: int
    floor: int
    marks: dict[int, Mark] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def add(self, progress: Progress) -> None:
        self.floor = max(self.floor, progress.floor)
        self.marks.update((mark.sequence, mark) for mark in progress.marks)
        self.attempts.extend(progress.attempts)

    def write(self, database: Database, subscription: SubscriptionNumber) -> None:
        floor = database.value("advance", self.floor, subscription, self.epoch)
        if floor is None:
            return  # another holds a newer claim, or the subscription is gone
        database.run("forget_marks", subscription, floor)
        kept = [m for m in self.marks.values() if m.sequence > floor or m.state is MarkState.DEAD]
        if kept:
            database.run_rows("mark", [_mark_row(subscription, mark) for mark in kept])
        if self.attempts:
            rows = [_attempt_row(subscription, attempt) for attempt in self.attempts]
            database.run_rows("attempt", rows)


class Pending:
    """Shared by the event loop, which adds, and the writer, which takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[SubscriptionNumber, _Change] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._changes)

    def add(self, claim: Claim, progress: Progress) -> bool:
        """Add progress; True when nothing waited before."""
        with self._lock:
            first = not self._changes
            change = self._changes.get(claim.subscription)
            if change is None or change.epoch < claim.epoch:
                change = self._changes[claim.subscription] = _Change(claim.epoch, progress.floor)
            if change.epoch == claim.epoch:
                change.add(progress)
            return first

    def write(self, database: Database) -> dict[SubscriptionNumber, _Change]:
        """Write everything into the open transaction, and hand it over; keep it if that fails."""
        with self._lock:
            taken, self._changes = self._changes, {}
        try:
            for subscription, change in taken.items():
                change.write(database, subscription)
        except Exception:
            self.put_back(taken)
            raise
        return taken

    def put_back(self, taken: dict[SubscriptionNumber, _Change]) -> None:
        """The transaction failed: keep it for the next one."""
        with self._lock:
            for subscription, old in taken.items():
                newer = self._changes.get(subscription)
                if newer is None:
                    self._changes[subscription] = old
                elif newer.epoch == old.epoch:
                    newer.floor = max(old.floor, newer.floor)
                    newer.marks = old.marks | newer.marks
                    newer.attempts = old.attempts + newer.attempts


def _mark_row(subscription: int, m: Mark) -> tuple[object, ...]:
    return (
        subscription,
        m.sequence,
        int(m.state),
        m.attempt,
        m.failures,
        m.due_at,
        m.failing_since,
        m.reason,
    )


def _attempt_row(subscription: int, a: Attempt) -> tuple[object, ...]:
    return (
        subscription,
        a.sequence,
        a.attempt,
        a.started_at,
        a.elapsed_ms,
        a.outcome,
        a.status,
        a.text,
    )
