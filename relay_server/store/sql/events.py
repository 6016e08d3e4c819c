"""Events, read again; the latest ones are in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from relay_server.filters.document import Document
from relay_server.filters.language import stored
from relay_server.store.rules import has_text, of_any_account
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, asks, reports
from relay_server.store.sql.positions import channel_of, first, last, position, sequence_of
from relay_server.store.sql.rows import decode_event, decode_summary
from relay_server.values import (
    ChannelNumber,
    Event,
    EventSummary,
    Outline,
    Replay,
    Selected,
    Selection,
    SubscriptionNumber,
)

T = TypeVar("T")

LOOK_AT = 5_000  # events that one look for selected ones goes through at most
LOOK_AT_IDS = 10_000  # events among which one is looked for by the end of its id
SIFT_LOOK_AT = 1_000  # events that one look for what a filter means goes through at most
SIFT_AT_ONCE = 100  # of which it asks the filter
SIFT_BYTES = 65_536  # their bodies together, or one that is larger: some 5 ms to look for words in
LOOK_AT_BODIES = 500  # events that one look for a text goes through at most
TEXT_BYTES = 1_048_576  # their bodies together, or one that is larger


class SqlEvents(Part):
    """An `EventLog`, but for what is appended."""

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        known = self._cache.outlines(channel, after, limit)
        return await self._outlines(channel, after, limit) if known is None else known

    @asks
    def _outlines(
        self, database: Database, channel: ChannelNumber, after: int, limit: int
    ) -> Sequence[Outline]:
        start, end = position(channel, after), last(channel)
        return _decode_outlines(database.all("outlines", after=start, last=end, limit=limit))

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        known = self._cache.fetch(channel, sequences)
        return await self._fetch(channel, sequences) if known is None else known

    @asks
    def _fetch(
        self, database: Database, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[Event]:
        return _fetch(database, [position(channel, sequence) for sequence in sequences])

    @asks
    def select(
        self, database: Database, channel: ChannelNumber, replay: Replay, after: int, limit: int
    ) -> Selected:
        return selected(database, channel, replay, after, limit)

    @asks
    def sift(
        self,
        database: Database,
        channel: ChannelNumber,
        subscription: SubscriptionNumber,
        after: int,
        limit: int,
        is_meant: Callable[[Event], bool] | None,
    ) -> Selected:
        start = position(channel, after)
        end, _ = database.all("window_end", after=start, last=last(channel), limit=SIFT_LOOK_AT)[0]
        if end is None:
            return Selected((), after)
        most = limit if is_meant is None else SIFT_AT_ONCE
        rows = database.all(
            "not_skipped", after=start, last=end, subscription=subscription, limit=most
        )
        outlines = tuple(_decode_outlines(rows))
        up_to = sequence_of(end) if len(rows) < most else outlines[-1].sequence
        found = Selected(outlines, up_to)
        return found if is_meant is None else _sifted(database, channel, found, is_meant)

    @reports
    def list_events(
        self, database: Database, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        end = last(channel) + 1 if before is None else position(channel, before)
        rows = database.all("list_events", first=first(channel), before=end, limit=limit)
        return [decode_summary(row) for row in rows]

    @reports
    def summaries(
        self, database: Database, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[EventSummary]:
        positions = json.dumps([position(channel, sequence) for sequence in sequences])
        return [decode_summary(row) for row in database.all("summaries", positions=positions)]

    @reports
    def sequences_of(
        self, database: Database, channel: ChannelNumber, ids: Sequence[str]
    ) -> Sequence[int]:
        bounds = {"first": first(channel), "last": last(channel)}
        rows = database.all("positions_of", ids=json.dumps(list(ids)), **bounds)
        return [sequence_of(at) for (at,) in rows]

    @reports
    def examine(
        self,
        database: Database,
        channel: ChannelNumber,
        sequences: Sequence[int],
        look: Callable[[Event], T],
    ) -> Sequence[T]:
        positions = json.dumps([position(channel, sequence) for sequence in sequences])
        # One by one: so many bodies may be large.
        rows = database.each("fetch", positions=positions)
        return [look(decode_event(row, database.bodies)) for row in rows]

    @reports
    def find_event(
        self, database: Database, event: str, channels: Container[ChannelNumber] | None = None
    ) -> Event | None:
        at = database.value("find_event", id=event)
        is_meant = at is not None and (channels is None or abs(channel_of(at)) in channels)
        found = _fetch(database, [at]) if is_meant else []
        return found[0] if found else None

    @reports
    def ids_ending(
        self, database: Database, channels: Sequence[ChannelNumber], end: str
    ) -> Sequence[str]:
        looked_at = LOOK_AT_IDS // max(1, len(channels))
        found = list[str]()
        for stream in (s for channel in channels for s in (channel, -channel)):
            within = {"first": first(stream), "last": last(stream), "looked_at": looked_at}
            found += (id_ for (id_,) in database.all("ids_ending", end=end, **within))
        return found

    @reports
    def event_ids(
        self, database: Database, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Mapping[int, str]:
        places = json.dumps([position(channel, sequence) for sequence in sequences])
        return {sequence_of(at): id_ for at, id_ in database.all("event_ids", positions=places)}


def selected(
    database: Database, channel: ChannelNumber, replay: Replay, after: int, limit: int
) -> Selected:
    """The next events that a replay is for, of as many as one look goes through."""
    start, last = position(channel, after), position(channel, replay.until)
    end, count = database.all("window_end", after=start, last=last, limit=LOOK_AT)[0]
    if end is None:
        return Selected((), replay.until)
    meant = _meant(replay.selection)
    if meant is not None:
        limit = min(limit, SIFT_AT_ONCE if replay.selection.q else LOOK_AT_BODIES)
    conditions = _conditions(replay)
    rows = database.all("select_events", after=start, last=end, limit=limit, **conditions)
    outlines = tuple(_decode_outlines(rows))
    # Fewer events than one look goes through: behind them there is none up to the replay's end.
    up_to = replay.until if count < LOOK_AT else sequence_of(end)
    found = Selected(outlines, outlines[-1].sequence if len(outlines) == limit else up_to)
    if meant is None:
        return found
    size = SIFT_BYTES if replay.selection.q else TEXT_BYTES
    return _sifted(database, channel, found, meant, size)


def _meant(wanted: Selection) -> Callable[[Event], bool] | None:
    """What a selection asks of whole events; None where their rows say enough."""
    if wanted.q:
        asked = stored(wanted.q)
        return lambda event: asked.matches(Document(event)) and has_text(event.body, wanted.text)
    return (lambda event: has_text(event.body, wanted.text)) if wanted.text else None


def _sifted(
    database: Database,
    channel: ChannelNumber,
    found: Selected,
    is_meant: Callable[[Event], bool],
    size: int = SIFT_BYTES,
) -> Selected:
    """Those of events that are meant; as many are looked at as are not too large together."""
    some = _within(found.outlines, size)
    up_to = found.read_up_to if len(some) == len(found.outlines) else some[-1].sequence
    events = _fetch(database, [position(channel, outline.sequence) for outline in some])
    meant = {e.head.sequence for e in events if e.damaged or is_meant(e)}
    return Selected(tuple(outline for outline in some if outline.sequence in meant), up_to)


def _decode_outlines(rows: Sequence[tuple[int, str, int]]) -> list[Outline]:
    return [Outline(sequence_of(at), key, size) for at, key, size in rows]


def _within(outlines: Sequence[Outline], size: int) -> Sequence[Outline]:
    """As many as have no more bytes of bodies together; one at least."""
    before = accumulate((outline.size for outline in outlines), initial=0)
    fitting = [o for o, taken in zip(outlines, before, strict=False) if taken + o.size <= size]
    return fitting or outlines[:1]


def _fetch(database: Database, positions: Sequence[int]) -> list[Event]:
    """Whole events, in the order asked for."""
    rows = database.all("fetch", positions=json.dumps(positions))
    return [decode_event(row, database.bodies) for row in rows]


def _conditions(replay: Replay) -> dict[str, object]:
    """A replay's selection as `select_events` takes it; None for a condition that is not set."""
    wanted = replay.selection
    return {
        "received_from": wanted.received_from,
        "received_before": wanted.received_before,
        "kind": wanted.kind,
        "key": wanted.key,
        "of_any_account": of_any_account(wanted.key) if wanted.key is not None else None,
        "sequences": json.dumps(wanted.sequences) if wanted.sequences else None,
        "dead_for": replay.subscription if wanted.dead else None,
        "reason": wanted.reason,
    }
