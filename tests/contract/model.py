"""A model of what a store keeps, small enough to be believed: what each reader has, and has not.

It chooses no numbers, and has no bounds and no disk: it is told what was done, and says what must
be seen afterwards. A reader is a subscription or a replay; what is known of it is its floor
(everything up to there is settled), marks above that, and below it marks of what is dead or was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from relay_server.store.rules import meant, spellings
from relay_server.values import Mark, MarkState, NewEvent, Progress, Replay, Selection
from tests.support.stores import weight

LASTING = (MarkState.DEAD, MarkState.DISCARDED)  # below the floor, too


@dataclass
class Reader:
    """A subscription, or a replay of one.

    Attributes:
        until: A replay's last sequence; None for a subscription.
        of: The subscription of a replay.
        tried: Events whose one attempt ended, and whether that delivered.
        expired: Events that outlived their time to live.
        ended_at: When a replay ended; None while it runs.
        skipped: What filters left out above the floor.
        filtered: It has, or had, a filter.
    """

    number: int
    name: str
    start: int
    floor: int
    until: int | None = None
    of: Reader | None = None
    selection: Selection = field(default_factory=Selection)
    epoch: int = 0
    marks: dict[int, Mark] = field(default_factory=dict)
    tried: dict[int, bool] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    ended_at: int | None = None
    skipped: set[int] = field(default_factory=set)
    filtered: bool = False

    def state(self, sequence: int) -> MarkState | None:
        """What is marked of an event."""
        mark = self.marks.get(sequence)
        return mark.state if mark else None

    def waits_for(self, sequence: int) -> bool:
        """It has still to get an event."""
        state = self.state(sequence)
        settled = sequence in self.skipped or bool(state and state.settled)
        return sequence > self.floor and not settled

    def needs(self, sequence: int) -> bool:
        """An event must be kept for it."""
        if self.until is not None:
            return self.ended_at is None and self.floor < sequence <= self.until
        dead = self.state(sequence) is MarkState.DEAD
        return self.start < sequence and (self.waits_for(sequence) or dead)

    def mark(self, sequence: int, state: MarkState, **changes: Any) -> None:
        """Change what is marked of an event."""
        self.marks[sequence] = replace(self.marks[sequence], state=state, **changes)

    def pass_by(self, floor: int) -> None:
        """Everything up to there is settled."""
        self.floor = max(self.floor, floor)
        self.marks = {s: m for s, m in self.marks.items() if s > self.floor or m.state in LASTING}
        self.skipped = {s for s in self.skipped if s > self.floor}

    def record(self, progress: Progress, events: Collection[int]) -> None:
        """Its reader said this; what was deleted meanwhile is not dead."""
        if self.of is not None:
            self.of.hear(progress, events)
        for mark in progress.marks:
            if mark.state is MarkState.DEAD and mark.sequence not in events:
                self.marks.pop(mark.sequence, None)
            else:
                self.marks[mark.sequence] = mark
        self.skipped |= {s for span in progress.skipped for s in range(span.first, span.last + 1)}
        self.marks = {
            s: m for s, m in self.marks.items() if m.state.settled or s not in self.skipped
        }
        self.skipped -= self.marks.keys()
        self.pass_by(progress.floor)
        self.tried |= {a.sequence: a.delivered for a in progress.attempts if not a.is_note}
        self.expired |= {a.sequence for a in progress.attempts if a.is_note}

    def hear(self, progress: Progress, events: Collection[int]) -> None:
        """What a replay delivered is not dead any more; what it gave up is, unless it waits."""
        for attempt in progress.attempts:
            if attempt.delivered and self.state(attempt.sequence) in LASTING:
                self.mark(attempt.sequence, MarkState.DELIVERED, reason="")
        self.pass_by(0)
        for mark in progress.marks:
            gave_up = mark.state is MarkState.DEAD and mark.sequence in events
            if gave_up and not self.waits_for(mark.sequence):
                self.marks[mark.sequence] = mark
                self.skipped.discard(mark.sequence)

    def forget(self, sequence: int) -> None:
        """An event is gone; above the floor it is enough that it was settled."""
        self.tried.pop(sequence, None)
        self.expired.discard(sequence)
        if sequence <= self.floor:
            self.marks.pop(sequence, None)
        elif self.state(sequence) is MarkState.DISCARDED:
            self.mark(sequence, MarkState.DELIVERED)

    def end(self, now: int) -> None:
        """A replay is over, if it was not before."""
        if self.ended_at is None:
            self.ended_at = now
            self.marks.clear()

    def ended_before(self, time: int) -> bool:
        """A replay was over by then."""
        return self.ended_at is not None and self.ended_at < time

    def outcome(self, sequence: int) -> str:
        """What became of an event, in the words of people."""
        state = self.state(sequence)
        if state is not None:
            return state.name.lower()
        if self.of is not None:
            return "delivered" if self.tried[sequence] else "dead"
        if sequence in self.expired and not self.tried.get(sequence):
            return "expired"
        taken = self.tried.get(sequence, False) or not self.filtered
        if sequence in self.skipped or (sequence <= self.floor and not taken):
            return "skipped"
        return "delivered" if sequence <= self.floor else "pending"


@dataclass
class Model:
    """A channel with its events, subscriptions and replays."""

    number: int
    max_bytes: int | None
    dedupes: bool = True
    last: int = 0
    dropped: int = 0
    events: dict[int, NewEvent] = field(default_factory=dict)
    readers: dict[int, Reader] = field(default_factory=dict)

    @property
    def subscriptions(self) -> list[Reader]:
        """By name."""
        found = [reader for reader in self.readers.values() if reader.of is None]
        return sorted(found, key=lambda reader: reader.name)

    @property
    def replays(self) -> list[Reader]:
        """The newest first."""
        found = [reader for reader in self.readers.values() if reader.of is not None]
        return sorted(found, key=lambda reader: reader.number)

    @property
    def bytes(self) -> int:
        """What the events take."""
        return sum(weight(event.request, event.body) for event in self.events.values())

    def append(self, event: NewEvent) -> int | None:
        """The sequence under which an event is stored now; None if there is no room."""
        same = [
            sequence
            for sequence, earlier in self.events.items()
            if event.sender_id is not None
            and (earlier.sender_id, earlier.body) == (event.sender_id, event.body)
        ]
        if same and self.dedupes and not self._misses(same[-1]):
            return same[-1]
        size = weight(event.request, event.body)
        if self.max_bytes is not None and self.bytes + size > self.max_bytes:
            return None
        self.last += 1
        self.events[self.last] = event
        return self.last

    def start_of(self, since: int | None) -> int:
        """The sequence after which a new subscription begins."""
        if since is None:
            return self.last
        before = [s for s, event in self.events.items() if event.received_at < since]
        return max(before, default=min(self.events, default=self.last + 1) - 1)

    def selected(self, reader: Reader) -> list[int]:
        """What a replay is for, as it is now."""
        wanted, of = reader.selection, reader.of
        assert of is not None
        assert reader.until is not None
        return [
            sequence
            for sequence, event in self.events.items()
            if sequence <= reader.until
            and (wanted.first or 1) <= sequence <= (wanted.last or sequence)
            and (not wanted.sequences or sequence in wanted.sequences)
            and (wanted.received_from is None or event.received_at >= wanted.received_from)
            and (wanted.received_before is None or event.received_at < wanted.received_before)
            and wanted.kind in (None, event.kind)
            and wanted.key in (None, event.key)
            and any(t in event.body + meant(event.body) for t in spellings(wanted.text))
            and (not wanted.dead or of.state(sequence) is MarkState.DEAD)
        ]

    def needed(self, sequence: int) -> bool:
        """Somebody has still to get an event, or can replay it as dead."""
        return any(reader.needs(sequence) for reader in self.readers.values())

    def add_replay(self, replay: Replay) -> None:
        """A replay was made."""
        of = self.readers[replay.subscription]
        self.readers[replay.number] = Reader(
            replay.number, of.name, replay.start, replay.start, replay.until, of, replay.selection
        )

    def remove(self, wanted: Collection[int], enough: int | None) -> int:
        """Delete those of these that nobody needs; how many that were."""
        deletable = [s for s in wanted if s in self.events and not self.needed(s)]
        return self._delete(self._first(deletable, enough))

    def drop_oldest(self, limit: int, enough: int | None) -> int:
        """Delete the oldest, needed or not; subscriptions go on behind them."""
        gone = self._first(sorted(self.events)[:limit], enough)
        self.dropped += sum(self.needed(sequence) for sequence in gone)
        for reader in self.subscriptions:
            reader.pass_by(max(gone, default=0))
        return self._delete(gone)

    def forget_dead(self, before: int, now: int) -> int:
        """Let go of what died before a time, and of replays that ended before it."""
        old = [
            (reader, sequence)
            for reader in self.subscriptions
            for sequence, mark in reader.marks.items()
            if mark.state is MarkState.DEAD and mark.changed_at < before
        ]
        for reader, sequence in old:
            reader.mark(sequence, MarkState.DISCARDED, changed_at=now)
        self.readers = {n: r for n, r in self.readers.items() if not r.ended_before(before)}
        return len(old)

    def unsubscribe(self, gone: Reader) -> None:
        """A subscription goes with its replays."""
        self.readers = {n: r for n, r in self.readers.items() if r is not gone and r.of is not gone}

    def _misses(self, sequence: int) -> bool:
        """A subscription never gets it: made later, or somebody discarded it."""
        return any(
            reader.start >= sequence or reader.state(sequence) is MarkState.DISCARDED
            for reader in self.subscriptions
        )

    def _first(self, wanted: Collection[int], enough: int | None) -> list[int]:
        """As many as make up so many bytes."""
        free, found = 0, list[int]()
        for sequence in wanted:
            if enough is not None and free >= enough:
                break
            event = self.events[sequence]
            free += weight(event.request, event.body)
            found.append(sequence)
        return found

    def _delete(self, gone: Collection[int]) -> int:
        for sequence in gone:
            del self.events[sequence]
            for reader in self.subscriptions:
                reader.forget(sequence)
        return len(gone)
