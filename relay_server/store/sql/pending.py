"""Progress that waits to be written: what readers recorded since the last transaction.

How it works. Readers (subscriptions by their number, replays by a negative one) record progress in
the event loop, many times a second. Nothing of that is written at once: it becomes part of one
change for each reader, in which the newest mark of a delivery replaces the older ones. The writer
puts all that waits into whatever transaction comes next, so that it costs no fsync of its own:

    event loop                    writer's thread
       add ───▶ waiting ──write──▶ taken ──written──▶ gone
                   ▲                  │
                   └──────failed──────┘   joined with what was added meanwhile

Lean. While webhooks are refused for want of room, progress has to fit into the little that is left,
because progress is what lets events be deleted. So a lean transaction

- leaves attempts out, for good: they only tell of deliveries, and take most of the room;
- takes at most so many rows. Of each reader go those of the lowest sequences, and its floor stops
  before the first that stays. So after a crash no later event is further than an earlier one, and
  no floor has passed a dead delivery whose mark was not written with it;
- takes fewer after one that failed, because what is free is not always for us (a quota). A few are
  tried always, however little seems to be free.

Epochs. A change is of one claim. The newer claim's replaces the older one's, never the other way
round; the database has the last word, by the epoch that it keeps.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import asdict, astuple, replace

from relay_server.spans import Span, above, below, gaps, joined
from relay_server.store.bodies import CLEAR
from relay_server.store.feed import Claimed, Progressed
from relay_server.store.sql.database import Database
from relay_server.values import Attempt, Claim, Mark, MarkState, Progress, ReaderNumber

MAX_ATTEMPTS = 10_000  # of a reader, while nothing can be written; the oldest are forgotten
# Of these, so many keep all that is known of a target's answer, some 4 KiB; of the others the
# beginning is left.
MAX_LONG_ATTEMPTS = 5_000
MAX_SHORT_CHARS = 512  # of that
MAX_MARKS = 100_000  # of a reader, likewise, but for those that must not be forgotten
# Spans that filters left out and expired deliveries, of a reader, likewise: spans are found again.
MAX_SKIPS = 100_000
MAX_LEAN_ROWS = 1_024  # of a lean transaction: with the longest reasons some 2 MiB
MIN_LEAN_ROWS = 16  # of one that has to be as small as can be: some 100 KiB
_UNLIMITED = 1 << 62


@dataclass(slots=True)
class _Change:
    """What is not yet written of one reader under one claim.

    Attributes:
        base: A floor that was written before.
        floor: Every delivery up to this sequence is settled.
        redeemed: What a replay delivered: it is not dead any more for its subscription.
        skipped: What filters left out, as few spans.
    """

    reader: ReaderNumber
    epoch: int
    base: int
    floor: int
    marks: dict[int, Mark] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    redeemed: set[int] = field(default_factory=set)
    skipped: list[Span] = field(default_factory=list)
    _prune_at: int = 0  # marks
    _expired: int = 0  # attempts that are none, when they were counted last

    def add(self, progress: Progress) -> None:
        """Have what is newer of the same claim written, too."""
        if progress.floor > self.floor:
            self.floor = progress.floor
        if len(self.attempts) < MAX_LONG_ATTEMPTS:
            self.attempts += progress.attempts
        else:
            self.attempts += (a.shorter(MAX_SHORT_CHARS) for a in progress.attempts)
        if self.reader < 0:
            self.redeemed.update(a.sequence for a in progress.attempts if a.delivered)
        if progress.marks:
            self.marks |= {mark.sequence: mark for mark in progress.marks}
            self._bound()
        if progress.skipped:
            self.skipped = joined([*self.skipped, *progress.skipped])
            self._bound()
        if len(self.attempts) > MAX_ATTEMPTS:
            self._bound()

    def join(self, newer: _Change) -> None:
        """Have what was added since written, too."""
        self.floor = max(self.floor, newer.floor)
        self.marks |= newer.marks
        self.attempts += newer.attempts
        self.redeemed |= newer.redeemed
        self.skipped = joined([*self.skipped, *newer.skipped])
        self._bound()

    def _bound(self) -> None:
        if len(self.attempts) > MAX_ATTEMPTS + self._expired:
            self._forget_attempts()
        if len(self.skipped) > MAX_SKIPS:
            del self.skipped[:-MAX_SKIPS]
        if len(self.marks) > max(MAX_MARKS, self._prune_at):
            self._prune()

    def _forget_attempts(self) -> None:
        """Forget the oldest tries. What expired is listed so by its attempt alone."""
        expired = [attempt for attempt in self.attempts if attempt.is_note][-MAX_SKIPS:]
        tries = [attempt for attempt in self.attempts if not attempt.is_note]
        self.attempts, self._expired = expired + tries[-MAX_ATTEMPTS:], len(expired)

    def _prune(self) -> None:
        """Forget marks that the floor speaks for, then the oldest that only say "delivered".

        The deliveries of the latter come again after a crash. The others must not be forgotten.
        """
        self.marks = {m.sequence: m for m in self.unsaid(self.floor)}
        excess = max(0, len(self.marks) - MAX_MARKS // 2)
        delivered = [s for s, mark in self.marks.items() if mark.state is MarkState.DELIVERED]
        for sequence in sorted(delivered)[:excess]:
            del self.marks[sequence]
        self._prune_at = 2 * len(self.marks)  # so that the next time is worth the while

    def unsaid(self, floor: int) -> list[Mark]:
        """Marks that a floor does not speak for: those above it, and the dead ones below."""
        marks = self.marks.values()
        return [m for m in marks if m.sequence > floor or m.state is MarkState.DEAD]

    def taken(self, floor: int) -> list[Mark]:
        """Marks below a floor of what was delivered: somebody may have given that up meanwhile."""
        marks = self.marks.values()
        return [m for m in marks if m.sequence <= floor and m.state is MarkState.DELIVERED]

    def split(self, rows: int, before: int) -> tuple[_Change, _Change | None]:
        """So much of it as takes no more than some rows, and the rest, both without attempts.

        Rows are those that are written, and those that go when the floor passes them, from the one
        that was written last: of these there is at most one a sequence.
        """
        marks = self.unsaid(self.floor) + self.taken(self.floor)
        skipped = above(self.skipped, self.floor)
        begins = sorted([*(m.sequence for m in marks), *(span.first for span in skipped)])
        end = before + rows if self.floor > before + rows else _UNLIMITED
        if len(begins) > rows:
            end = min(end, begins[rows] - 1)
        floor = min(self.floor, end)
        first = _Change(self.reader, self.epoch, before, floor, skipped=below(skipped, end))
        rest = _Change(self.reader, self.epoch, floor, self.floor, skipped=above(skipped, end))
        for mark in marks:
            (first if mark.sequence <= end else rest).marks[mark.sequence] = mark
        for sequence in self.redeemed:
            (first if sequence <= end else rest).redeemed.add(sequence)
        is_left = rest.marks or rest.redeemed or rest.skipped or floor < self.floor
        return first, rest if is_left else None

    def write(self, database: Database, before: int, *, skips: bool) -> int | None:
        """Write it where its claim still holds.

        Args:
            database: The writer's.
            before: Up to this floor all was written before.
            skips: There may be spans that its filters left out before.

        Returns:
            The floor now; None where another holds a newer claim, or the reader is gone.
        """
        number, replayed = abs(self.reader), self.reader < 0
        query = "advance_replay" if replayed else "advance"
        floor = database.value(query, floor=self.floor, number=number, epoch=self.epoch)
        if floor is None:
            return None
        assert floor >= max(before, self.floor), "a floor went back"
        if self.skipped:
            self.skipped = self._not_settled(database)
        if floor > before:
            database.run("forget_marks", reader=self.reader, before=before, floor=floor)
        attempts = self.attempts
        if database.bodies.current != CLEAR:  # what a target answers may repeat what it was sent
            bare = {"text": "", "headers": ""}
            attempts = [a if a.status is None else replace(a, **bare) for a in attempts]
        # Their fields stand in the order of the tables' columns.
        database.run_rows("attempt", [(self.reader, *astuple(a)) for a in attempts])
        # The database's floor is higher where events were dropped.
        kept = self.unsaid(floor) if self.marks else []
        if kept:
            database.run_rows("mark", [(self.reader, *astuple(mark)) for mark in kept])
        if skips:
            self._write_skips(database, floor, kept)
        if replayed:
            self._tell_subscription(database, number)
        if dead := [m.sequence for m in kept if m.state is MarkState.DEAD]:
            database.run("forget_dead_of_gone", reader=self.reader, sequences=json.dumps(dead))
        if self.marks and (taken := [m.sequence for m in self.taken(floor)]):
            database.run("forget_given_up", reader=self.reader, sequences=json.dumps(taken))
        return int(floor)

    def newer_claim(self, database: Database) -> Claimed | None:
        """The one for which it was not written; None where the reader is gone."""
        query = "epoch_of_replay" if self.reader < 0 else "epoch"
        newer = database.one(query, number=abs(self.reader))
        return None if newer is None else Claimed(self.reader, newer[0], shared=bool(newer[1]))

    def told(self, floor: int) -> Progressed:
        """What is to be told of it once it was written."""
        marks, attempts = tuple(self.marks.values()), tuple(self.attempts)
        return Progressed(self.reader, self.epoch, floor, marks, attempts, tuple(self.skipped))

    def _not_settled(self, database: Database) -> list[Span]:
        """What filters left out, but for what in it was settled before they did."""
        within = {"first": self.skipped[0].first, "last": self.skipped[-1].last}
        settled = {s for (s,) in database.all("settled_between", reader=self.reader, **within)}
        settled.update(m.sequence for m in self.marks.values() if m.state.settled)
        taken = sorted(settled)
        parts = list[Span]()
        for first, last in self.skipped:
            inside = taken[bisect_left(taken, first) : bisect_right(taken, last)]
            parts += gaps(first - 1, last, inside)
        return parts

    def _write_skips(self, database: Database, floor: int, marks: Sequence[Mark]) -> None:
        database.run("forget_skips", reader=self.reader, floor=floor)
        for mark in marks:
            if mark.state.settled:  # it was under way when its filter changed
                _unskip(database, self.reader, mark.sequence)
        for span in above(self.skipped, floor):
            self._skip(database, span)
        if waiting := [m.sequence for m in marks if not m.state.settled]:
            database.run("forget_left_out", reader=self.reader, sequences=json.dumps(waiting))

    def _skip(self, database: Database, span: Span) -> None:
        """Write that a span was left out."""
        within = {"reader": self.reader, **span._asdict()}
        database.run("forget_unsettled", **within)
        touched = database.all("take_touched_skips", **within)
        [whole] = joined([span, *(Span(*row) for row in touched)])
        database.run_rows("skip", [(self.reader, *whole)])

    def _tell_subscription(self, database: Database, replay: int) -> None:
        """What a replay delivered is no longer dead; what it gave up is."""
        if self.redeemed:
            sequences = json.dumps(sorted(self.redeemed))
            for query in ("redeem", "forget_redeemed"):
                database.run(query, replay=replay, sequences=sequences)
        for mark in self.marks.values():
            if mark.state is MarkState.DEAD:
                for (of,) in database.all("dead_by_replay", replay=replay, **asdict(mark)):
                    _unskip(database, of, mark.sequence)


def _unskip(database: Database, reader: ReaderNumber, sequence: int) -> None:
    """What has a settled mark is in no span."""
    around = database.all("take_skip_around", reader=reader, sequence=sequence)
    parts = [part for first, last in around for part in gaps(first - 1, last, [sequence])]
    database.run_rows("skip", [(reader, *part) for part in parts])


class Pending:
    """Progress on its way to the database.

    Shared by the event loop, which adds, and the writer's thread, which calls all the rest.

    Args:
        wanted: Whether anybody wants to hear of what was written, called in that thread.
        skipping: As the attribute.

    Attributes:
        left: The latest transaction was a lean one, and left some for the next.
        skipping: Readers of which there are spans that filters left out.
    """

    def __init__(
        self,
        wanted: Callable[[], bool] = lambda: True,
        skipping: Iterable[ReaderNumber] = (),
    ) -> None:
        self.left = False
        self._wanted = wanted
        self.skipping = set(skipping)
        self._lock = threading.Lock()
        self._changes: dict[ReaderNumber, _Change] = {}
        self._taken: list[_Change] = []  # by the transaction that is open
        # Epochs, and the floors that it wrote under them.
        self._reached: dict[ReaderNumber, tuple[int, int]] = {}
        self._floors: dict[ReaderNumber, tuple[int, int]] = {}  # as they were committed last
        self._lean = False  # the transaction that is open
        self._lean_rows = MAX_LEAN_ROWS  # that the next lean one may take

    @property
    def waiting(self) -> bool:
        return bool(self._changes)

    def add(self, claim: Claim, progress: Progress) -> bool:
        """Add progress; True when nothing waited before."""
        reader, epoch = claim.reader, claim.epoch
        with self._lock:
            first = not self._changes
            change = self._changes.get(reader)
            if change is None or change.epoch < epoch:
                change = _Change(reader, epoch, claim.progress.floor, progress.floor)
                self._changes[reader] = change
            if change.epoch == epoch:
                change.add(progress)
            return first

    def write(self, database: Database, rows: int | None = None) -> None:
        """Write what waits into the open transaction, which just began.

        Where this raises, `failed` must be called, as for a transaction that fails later.

        Args:
            database: The writer's.
            rows: How many there is room for in a lean transaction; None for one that is not.
        """
        self.left, self._lean = False, rows is not None
        if not self._changes:
            return
        with self._lock:
            waiting, self._changes = self._changes, {}
        # Subscriptions first: what a replay did is judged by how far its subscription is.
        changes = [waiting[reader] for reader in sorted(waiting, reverse=True)]
        if rows is not None:
            changes = self._first(changes, max(MIN_LEAN_ROWS, min(rows, self._lean_rows)))
        self._taken = changes
        for change in changes:
            self._write(database, change)

    def write_rest_of(self, database: Database, reader: ReaderNumber) -> None:
        """Write what `write` left of a reader, for an operation that looks at it."""
        with self._lock:
            rest = self._changes.pop(reader, None)
        if rest is None:
            return
        if self._lean:
            rest.attempts.clear()
        self._taken.append(rest)
        self._write(database, rest)

    def skip(self, database: Database, claim: Claim, span: Span) -> None:
        """Write that a span is settled, under the newest claim on its reader.

        It is written with the open transaction or not at all: nothing of it waits for another one.
        """
        floor = claim.progress.floor
        change = _Change(claim.reader, claim.epoch, floor, floor, skipped=[span])
        self.skipping.add(claim.reader)
        change.write(database, floor, skips=True)
        database.changes.append(change.told(floor))

    def written(self) -> None:
        """Take note that the transaction was committed."""
        self._floors |= self._reached
        if self._lean:
            self._lean_rows = min(2 * self._lean_rows, MAX_LEAN_ROWS)
        self._forget_transaction()

    def failed(self) -> None:
        """Keep what the transaction was to write for the next ones."""
        if self._lean:
            self._lean_rows = max(MIN_LEAN_ROWS, self._lean_rows // 4)
        self.left = False
        with self._lock:
            for change in reversed(self._taken):
                self._put_back(change)
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self._taken, self._reached = [], {}

    def _write(self, database: Database, change: _Change) -> None:
        if change.skipped:
            self.skipping.add(change.reader)
        skips = change.reader in self.skipping
        floor = change.write(database, self._written_floor(change), skips=skips)
        if floor is None:
            self._floors.pop(change.reader, None)
            if (newer := change.newer_claim(database)) is not None:
                database.changes.append(newer)
            return
        self._reached[change.reader] = change.epoch, floor
        if self._wanted():
            database.changes.append(change.told(floor))

    def _first(self, changes: Iterable[_Change], rows: int) -> list[_Change]:
        """What takes no more than some rows; the rest goes back."""
        first = []
        for change in changes:
            rest: _Change | None = change
            if rows > 0:
                before = self._written_floor(change)
                part, rest = change.split(rows, before)
                first.append(part)
                rows -= 1 + len(part.marks) + len(part.skipped) + max(0, part.floor - before)
            if rest is not None:
                self.left, rows = True, 0
                with self._lock:
                    self._put_back(rest)
        return first

    def _written_floor(self, change: _Change) -> int:
        """One of another epoch says nothing: a database that took over may not have it."""
        written = self._floors.get(change.reader), self._reached.get(change.reader)
        floors = [one[1] for one in written if one is not None and one[0] == change.epoch]
        return max([change.base, *floors])

    def _put_back(self, old: _Change) -> None:
        newer = self._changes.get(old.reader)
        if newer is not None and newer.epoch > old.epoch:
            return
        if newer is not None and newer.epoch == old.epoch:
            old.join(newer)
        self._changes[old.reader] = old
