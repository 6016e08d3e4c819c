"""Questions that people ask: how is it doing, what came, what became of it.

Each is a handful of statements, however many events and subscriptions it is about.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from relay_server.reported import (
    Came,
    ChannelStatus,
    DatabaseStatus,
    DeliveryState,
    ReplayProgress,
    SubscriptionStatus,
)
from relay_server.spans import Span
from relay_server.store.sql.database import Database, Row
from relay_server.store.sql.part import Part, reports, reports_progress
from relay_server.store.sql.positions import position, sequence_of
from relay_server.store.sql.rows import decode_config, decode_subscription
from relay_server.values import (
    Attempt,
    ChannelNumber,
    MarkState,
    ReaderNumber,
    ReplayNumber,
    SubscriptionNumber,
)

_IN_TROUBLE = (MarkState.UNDER_WAY, MarkState.WAITING, MarkState.DEAD)


class SqlReports(Part):
    """`Reports`."""

    @reports
    def channel_status(self, database: Database) -> Sequence[ChannelStatus]:
        return [ChannelStatus(*row) for row in database.all("channel_status")]

    async def database_status(self) -> DatabaseStatus | None:
        return None

    @reports_progress
    def subscription_status(
        self, database: Database, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        wanted = None if only is None else json.dumps(sorted(only))
        rows = database.all("subscription_status", only=wanted)
        return [SubscriptionStatus(decode_subscription(row), *row[6:]) for row in rows]

    @reports_progress
    def came(self, database: Database, subscription: SubscriptionNumber, since: int) -> Came:
        place = database.one("place_of", number=subscription)
        if place is None:
            return Came()
        channel, floor, newest = place
        after = _before(database, channel, floor, newest, since)
        return Came(*database.all("came", number=subscription, after=after)[0])

    @reports_progress
    def replay_progress(
        self, database: Database, replays: Iterable[ReplayNumber], since: int
    ) -> Mapping[ReplayNumber, ReplayProgress]:
        wanted = json.dumps([-number for number in replays])
        attempts = database.all("attempts_of_replays", replays=wanted, since=since)
        tried = {number: rest for number, *rest in attempts}
        marks = {n: rest for n, *rest in database.all("marks_of_replays", replays=wanted)}
        found = dict[ReplayNumber, ReplayProgress]()
        for number in tried.keys() | marks.keys():
            settled, begun, marked, dead, retrying, due = marks.get(number, (0, 0, 0, 0, 0, None))
            count, furthest, recent = tried.get(number, (0, 0, 0))
            furthest = max(furthest, marked)
            found[-number] = ReplayProgress(
                settled, begun, furthest, count, dead, retrying, due, recent
            )
        return found

    @reports_progress
    def deliveries(
        self, database: Database, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[Sequence[DeliveryState]]:
        if channel < 0:
            return _of_edited(database, channel, sequences)
        readers = database.all("readers_of_channel", channel=channel)
        names = {reader: name for reader, name, *_ in readers}
        of = self._cache.catalog.numbered(channel)
        expires = of is not None and of.config.expires
        filtered = [
            reader
            for reader, *_, config in readers
            if reader > 0 and (expires or (config and decode_config(config).filtered))
        ]
        kept = _kept(database, list(names), filtered, sequences)
        states = []
        for sequence in sequences:
            own = [
                kept.state(reader, name, sequence, kept.unmarked(reader, sequence, floor))
                for reader, name, start, floor, _ in readers
                if reader > 0 and start < sequence
            ]
            again = [kept.state(r, names[r], sequence, "") for r in kept.replays_of(sequence)]
            states.append(own + again)
        return states

    @reports_progress
    def in_trouble(
        self, database: Database, channel: ChannelNumber, limit: int
    ) -> Sequence[int] | None:
        found, left = set[int](), limit
        for reader, _, _, floor, _ in database.all("readers_of_channel", channel=channel):
            marks = database.all("marks_of", reader=reader, limit=left)
            tried = database.all("tried", reader=reader, after=floor or 0, limit=left)
            left -= len(marks) + len(tried)
            if left <= 0:
                return None
            found.update(sequence for sequence, state in marks if state in _IN_TROUBLE)
            found.update(sequence for (sequence,) in tried)
        return sorted(found)


def _before(database: Database, channel: ChannelNumber, low: int, high: int, time: int) -> int:
    """The sequence behind which events were received since a time, between two of them.

    Times grow with sequences, but where a clock jumped.
    """
    end = {"last": position(channel, high)}
    while low < high:
        middle = (low + high) // 2
        row = database.one("received_at", after=position(channel, middle), **end)
        if row is None or row[1] >= time:
            high = middle
        else:
            low = sequence_of(row[0])
    return low


class _Kept:
    """Marks and attempts of some events' deliveries, and the replays that came to each event.

    Args:
        marks, attempts: Of all readers.
        skips: What filters left out above the floors, of each reader that has, or had, one.
    """

    def __init__(
        self,
        marks: Iterable[Row],
        attempts: Iterable[Row],
        skips: Mapping[ReaderNumber, Sequence[Span]],
    ) -> None:
        self._skips = skips
        self._marks = {(reader, sequence): mark for reader, sequence, *mark in marks}
        self._attempts = defaultdict[tuple[ReaderNumber, int], list[Attempt]](list)
        self._steps = defaultdict[tuple[ReaderNumber, int], list[Attempt]](list)
        for reader, *attempt in attempts:
            found = self._attempts if attempt[1] >= 0 else self._steps
            found[reader, attempt[0]].append(Attempt(*attempt))
        self._replays = defaultdict[int, set[ReplayNumber]](set)
        for reader, sequence in (*self._marks, *self._attempts):
            if reader < 0:
                self._replays[sequence].add(reader)

    def replays_of(self, sequence: int) -> list[ReplayNumber]:
        """Those that came to an event, the first one first."""
        return sorted(self._replays[sequence], reverse=True)

    def unmarked(self, reader: SubscriptionNumber, sequence: int, floor: int) -> str:
        """How a subscription's own delivery stands where no mark says it."""
        attempts = self._attempts.get((reader, sequence), ())
        note = next((a for a in attempts if a.is_note), None)
        if note is not None and not any(a.delivered for a in attempts):
            return note.settles_as
        if reader in self._skips and self._is_skipped(reader, sequence, floor):
            return "skipped"
        return "delivered" if sequence <= floor else "pending"

    def _is_skipped(self, reader: SubscriptionNumber, sequence: int, floor: int) -> bool:
        """Below the floor no span says it; but what is settled there was delivered, or left out."""
        if sequence <= floor:
            return not any(a.delivered for a in self._attempts.get((reader, sequence), ()))
        return any(span.first <= sequence <= span.last for span in self._skips[reader])

    def state(self, reader: ReaderNumber, name: str, sequence: int, unmarked: str) -> DeliveryState:
        """How a delivery stands; `unmarked` where no mark says it."""
        noted = self._attempts.get((reader, sequence), ())
        attempts = tuple(one for one in noted if not one.is_note)
        mark = self._marks.get((reader, sequence))
        # Marks of a replay go when it ends; its attempts stay as long as it is listed.
        if reader < 0 and mark is None and attempts:
            unmarked = "delivered" if attempts[-1].delivered else "dead"
        elif reader < 0 and mark is None and noted:
            unmarked = noted[-1].settles_as
        state, reason, due_at = mark or (None, "", 0)
        what = unmarked if state is None else MarkState(state).name.lower()
        for note in noted:
            if note.is_note and what == note.settles_as:
                reason = note.text
        steps = tuple(reversed(self._steps.get((reader, sequence), ())))
        return DeliveryState(name, what, attempts, reason, due_at, max(0, -reader), steps)


def _of_edited(
    database: Database, stream: ChannelNumber, sequences: Sequence[int]
) -> list[list[DeliveryState]]:
    """Each has one delivery, that of its own replay; none once its subscription is gone."""
    positions = json.dumps([position(stream, sequence) for sequence in sequences])
    rows = database.all("readers_of_edited", positions=positions)
    readers = {sequence_of(at): (reader, name, runs) for at, reader, name, runs in rows}
    kept = _kept(database, [reader for reader, *_ in readers.values()], (), sequences)
    states = list[list[DeliveryState]]()
    for sequence in sequences:
        found = []
        if sequence in readers:
            reader, name, runs = readers[sequence]
            found.append(kept.state(reader, name, sequence, "pending" if runs else "discarded"))
        states.append(found)
    return states


def _kept(
    database: Database,
    readers: Sequence[ReaderNumber],
    filtered: Sequence[SubscriptionNumber],
    sequences: Sequence[int],
) -> _Kept:
    within = {"lowest": min(sequences, default=0), "highest": max(sequences, default=0)}
    wanted = {"readers": json.dumps(readers), "sequences": json.dumps(list(sequences)), **within}
    marks = database.all("marks_of_events", **wanted)
    attempts = database.all("attempts_of_events", **wanted)
    skips: dict[ReaderNumber, list[Span]] = {reader: [] for reader in filtered}
    if filtered:
        for reader, *span in database.all("skips_around", readers=json.dumps(filtered), **within):
            skips[reader].append(Span(*span))
    return _Kept(marks, attempts, skips)
