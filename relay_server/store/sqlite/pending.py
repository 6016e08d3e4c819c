"""Progress that waits to be written, kept as small as it can be."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from relay_server.store.feed import Change, Claimed, Progressed
from relay_server.store.sqlite.database import Database
from relay_server.values import Attempt, Claim, Mark, MarkState, Progress, ReaderNumber

MAX_ATTEMPTS = 10_000  # of a subscription
MAX_MARKS = 100_000  # of a subscription, but for those that must not be forgotten
MIN_PIECE = 16  # rows of a transaction that found no room: they fit into some 100 KB


UNLIMITED = 1 << 62


class Fits(NamedTuple):
    """Rows that there is room for: of how far readers came, and of attempts beside these."""

    rows: int
    attempts: int

    def without(self, change: _Change) -> Fits:
        """What is left beside a change."""
        rows = self.rows - 1 - change.rows
        return Fits(rows, max(0, min(rows, self.attempts - len(change.attempts))))


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
    redeemed: set[int] = field(default_factory=set)  # delivered, by attempts that go later
    reached: int | None = None  # the floor that was written
    newer: int | None = None  # the epoch of the claim that holds instead
    _look_at: int = 0  # marks at which to look at them again

    @property
    def rows(self) -> int:
        """How many rows it takes at most."""
        return len(self.marks) + len(self.attempts)

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

    def cut(
        self, database: Database, reader: ReaderNumber, before: int, fits: Fits
    ) -> tuple[_Change, _Change]:
        """What is to be written first, and the rest.

        First goes how far it came, up to some sequence: so at each commit earlier events are as far
        as later ones or farther, and nothing that died is below the floor without its mark.
        Attempts only tell of it, and take most of the room: they go when all of that is written.
        """
        rows = sorted(
            m.sequence for m in self.marks.values() if m.sequence > self.floor or _lasts(m)
        )
        ends = rows[fits.rows : fits.rows + 1]
        if self.floor - before > fits.rows:
            nth = database.value(
                "nth_passed_mark", reader=reader, before=before, floor=self.floor, nth=fits.rows
            )
            ends += [] if nth is None else [nth]
        end = min(ends, default=UNLIMITED)
        attempts = 0 if ends else min(fits.attempts, fits.rows - len(rows))
        delivered = {a.sequence for a in self.attempts if a.delivered and a.sequence < end}
        first = _Change(self.epoch, min(self.floor, end - 1), redeemed=self.redeemed | delivered)
        rest = _Change(self.epoch, self.floor)
        for mark in self.marks.values():
            (first if mark.sequence < end else rest).marks[mark.sequence] = mark
        first.attempts, rest.attempts = self.attempts[:attempts], self.attempts[attempts:]
        return first, rest

    def is_news(self, before: int) -> bool:
        """Whether it says more than a floor that was written, and some attempts."""
        return bool(self.marks or self.redeemed or self.floor > before)

    def write(self, database: Database, reader: ReaderNumber, before: int) -> None:
        """Write it where its claim still holds; up to the floor `before` all was written before."""
        name = "advance" if reader > 0 else "advance_replay"
        floor = self.reached = database.value(
            name, floor=self.floor, number=abs(reader), epoch=self.epoch
        )
        if floor is None:  # another holds a newer claim, or the reader is gone
            query = "epoch" if reader > 0 else "epoch_of_replay"
            self.newer = database.value(query, number=abs(reader))
            return
        assert floor >= max(before, self.floor), "a floor went back"
        if floor > before:
            database.run("forget_marks", reader=reader, before=before, floor=floor)
        kept = [m for m in self.marks.values() if m.sequence > floor or _lasts(m)]
        if kept:
            database.run_rows("mark", [_mark_row(reader, mark) for mark in kept])
        if self.attempts:
            rows = [_attempt_row(reader, attempt) for attempt in self.attempts]
            database.run_rows("attempt", rows)
        if reader < 0:
            self._tell_subscription(database, -reader)
        if dead := [m.sequence for m in kept if m.state is MarkState.DEAD]:
            database.run("forget_dead_of_gone", reader=reader, sequences=json.dumps(dead))

    def as_told(self, reader: ReaderNumber) -> Progressed:
        """What was written, for whoever listens."""
        marks, attempts = tuple(self.marks.values()), tuple(self.attempts)
        return Progressed(reader, self.epoch, self.reached or 0, marks, attempts)

    def _tell_subscription(self, database: Database, replay: int) -> None:
        """What a replay delivered is no longer dead; what it gave up is."""
        delivered = {a.sequence for a in self.attempts if a.delivered} | self.redeemed
        if delivered:
            for name in ("redeem", "forget_redeemed"):
                database.run(name, replay=replay, sequences=json.dumps(sorted(delivered)))
        for mark in self.marks.values():
            if mark.state is MarkState.DEAD:
                database.run(
                    "dead_by_replay",
                    replay=replay,
                    sequence=mark.sequence,
                    attempt=mark.attempt,
                    failures=mark.failures,
                    reason=mark.reason,
                    changed_at=mark.changed_at,
                )


class Pending:
    """Shared by the event loop, which adds, and the writer, which takes.

    All of it goes into the next transaction, while there is room. Where there is hardly any, or a
    transaction failed, it goes in pieces, which grow as long as they fit, until nothing is left:
    however much waits, a little room is enough to get on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[ReaderNumber, _Change] = {}
        self._taken: dict[ReaderNumber, _Change] = {}  # by the transaction that is open
        self._floors: dict[ReaderNumber, int] = {}  # as they were committed last
        self._piece: int | None = None  # rows that are tried next; None for all there are
        self._left = False
        self._fits: Fits | None = None  # into the transaction that is open; None for all there is

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._changes)

    @property
    def held_back(self) -> bool:
        """Whether the latest transaction may have left some of it, for want of room."""
        return self._fits is not None and self.waiting

    @property
    def left(self) -> bool:
        """Whether the latest transaction left some of it that may fit into the next one."""
        return self._left

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

    def write(self, database: Database, fits: Fits | None = None) -> None:
        """Write everything, or a piece of it, into the open transaction, which just began.

        Where this raises, `failed` must be called, as for a transaction that fails later.

        Args:
            database: The writer's.
            fits: What there is room for; None while there is plenty. A few rows are tried always.
        """
        with self._lock:
            self._taken, self._changes = self._changes, {}
        self._left, self._fits = False, None
        if self._piece is not None or fits is not None:
            self._fits = fits or Fits(UNLIMITED, UNLIMITED)
            self._taken = self._first_piece(database, self._taken, self._limit(self._fits))
        for reader, change in self._taken.items():
            change.write(database, reader, self._floors.get(reader, 0))

    def write_all_of(self, database: Database, reader: ReaderNumber) -> None:
        """Write what `write` left of a reader, for an operation that looks at it."""
        if self._fits is None:
            return
        with self._lock:
            change = self._changes.pop(reader, None)
        if change is None:
            return
        before = self._floors.get(reader, 0)
        if (earlier := self._taken.get(reader)) is not None:
            before = earlier.reached or 0
            change = _joined(earlier, change) if earlier.epoch == change.epoch else change
        self._taken[reader] = change  # until it is written it may be put back
        first, rest = change.cut(database, reader, before, Fits(UNLIMITED, self._fits.attempts))
        first.write(database, reader, before)
        self._taken[reader] = first
        if rest.attempts:
            with self._lock:
                self._put_back(reader, rest)

    def written(self) -> list[Change]:
        """Take note that the transaction was committed; in the writer's thread, as is `write`.

        Returns:
            What it changed: progress, and newer claims that were met.
        """
        taken, self._taken = self._taken, {}
        changes = list[Change]()
        for reader, change in taken.items():
            if change.reached is not None:
                self._floors[reader] = change.reached
                changes.append(change.as_told(reader))
            else:
                self._floors.pop(reader, None)
                if change.newer is not None:
                    changes.append(Claimed(reader, change.newer))
        if self._piece is not None:
            self._piece = 2 * self._piece if self._left else None
        return changes

    def failed(self) -> None:
        """The transaction failed: keep what it was to write for the next ones."""
        taken, self._taken = self._taken, {}
        if taken:
            rows = sum(change.rows for change in taken.values())
            self._piece = max(MIN_PIECE, rows // 4)
        with self._lock:
            for reader, old in taken.items():
                self._put_back(reader, old)

    def _limit(self, room: Fits) -> Fits:
        rows = self._piece if self._piece is not None else UNLIMITED
        return Fits(max(MIN_PIECE, min(rows, room.rows)), min(rows, room.attempts))

    def _first_piece(
        self, database: Database, waiting: dict[ReaderNumber, _Change], fits: Fits
    ) -> dict[ReaderNumber, _Change]:
        """Subscriptions first: what a replay did is judged by how far its subscription is."""
        piece, rest = dict[ReaderNumber, _Change](), dict[ReaderNumber, _Change]()
        behind, room = False, fits
        for reader, change in sorted(waiting.items(), reverse=True):
            before = self._floors.get(reader, 0)
            if behind or room.rows <= 0 or not (change.is_news(before) or room.attempts):
                rest[reader] = change
                behind = behind or change.is_news(before)
                continue
            piece[reader], left = change.cut(database, reader, before, room)
            room = room.without(piece[reader])
            behind = left.is_news(piece[reader].floor)
            if behind or left.attempts:
                rest[reader] = left
        self._left = behind or bool(rest and fits.attempts)
        with self._lock:
            for reader, change in rest.items():
                self._put_back(reader, change)
        return piece

    def _put_back(self, reader: ReaderNumber, old: _Change) -> None:
        newer = self._changes.get(reader)
        if newer is None or newer.epoch < old.epoch:
            self._changes[reader] = old
        elif newer.epoch == old.epoch:
            self._changes[reader] = _joined(old, newer)


def _joined(old: _Change, newer: _Change) -> _Change:
    """Both, of one epoch."""
    joined = _Change(
        old.epoch,
        max(old.floor, newer.floor),
        old.marks | newer.marks,
        old.attempts + newer.attempts,
        old.redeemed | newer.redeemed,
        _look_at=newer._look_at,
    )
    joined.bound()
    return joined


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
