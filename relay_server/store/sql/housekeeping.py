"""Keeping a store small: removing, sweeping."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from relay_server.metrics import Times
from relay_server.store.bodies import crc
from relay_server.store.feed import BodiesDropped, EventsRemoved, Progressed
from relay_server.store.sql.database import Database, Row
from relay_server.store.sql.part import Part, asks, reports, writes
from relay_server.store.sql.positions import first, last, position, sequence_of
from relay_server.store.sql.rows import decode_mark
from relay_server.values import ChannelNumber, Emptied, Removable, SubscriptionNumber

LOOK_AT = 5_000  # events that one look for removable ones goes through at most


class SqlHousekeeping(Part):
    """`Housekeeping`, but for its size and backups."""

    def newest(self, channel: ChannelNumber) -> int:
        held = self._cache.of(channel)
        return held.last if held else 0

    def usage(self, channel: ChannelNumber) -> int:
        held = self._cache.of(channel)
        return held.bytes if held else 0

    @property
    def commits(self) -> Times:
        return self._writer.commits

    def refused(self, channel: ChannelNumber) -> int:
        held = self._cache.of(channel)
        return held.refused if held else 0

    @reports
    def removable(
        self,
        database: Database,
        channel: ChannelNumber,
        received_before: int | None,
        after: int,
        limit: int,
    ) -> Removable:
        rows = database.all(
            "removable",
            after=position(channel, after),
            last=last(channel),
            received_before=received_before,
            limit=LOOK_AT,
        )
        found = [sequence_of(at) for at, _, deletable in rows if deletable]
        if len(found) > limit:
            return Removable(tuple(found[:limit]), found[limit - 1])
        # Where one is young, so is the rest.
        more = len(rows) == LOOK_AT and all(old for _, old, _ in rows)
        return Removable(tuple(found), sequence_of(rows[-1][0]) if more else None)

    @writes
    def remove(
        self,
        database: Database,
        channel: ChannelNumber,
        sequences: Sequence[int],
        enough: int | None = None,
    ) -> int:
        wanted = json.dumps([position(channel, sequence) for sequence in sequences])
        rows = database.all("still_deletable", positions=wanted)
        return delete(database, channel, _first(rows, enough), dropped=0)

    @writes
    def drop_bodies(
        self,
        database: Database,
        channel: ChannelNumber,
        received_before: int,
        after: int,
        limit: int,
    ) -> Emptied:
        rows = database.all(
            "whole_bodies",
            after=position(channel, after),
            last=last(channel),
            received_before=received_before,
            limit=limit,
        )
        settled = [row for row in rows if row[3]]
        if settled:
            database.wipe()
            for at, _, request, _ in settled:
                database.run("drop_body", position=at, body=b"", checksum=crc(request, crc(b"")))
            size, up_to = sum(row[1] for row in settled), sequence_of(settled[-1][0])
            database.run("count_removed", channel=channel, events=0, bytes=size, dropped=0)
            sequences = tuple(sequence_of(row[0]) for row in settled)
            database.run("drop_answers", channel=channel, sequences=json.dumps(sequences))
            database.changes.append(BodiesDropped(channel, up_to, size))
        needed = next((sequence_of(row[0]) for row in rows if not row[3]), None)
        more = sequence_of(rows[-1][0]) if len(rows) == limit else None
        return Emptied(len(settled), needed, more)

    @writes
    def drop_oldest(
        self, database: Database, channel: ChannelNumber, limit: int, enough: int | None = None
    ) -> int:
        oldest = database.all("oldest", first=first(channel), last=last(channel), limit=limit)
        rows = _first(oldest, enough)
        dropped = sum(not deletable for _, _, deletable in rows)
        if rows:  # subscriptions go on behind them
            end = rows[-1][0]
            dropped += database.value("pinned_and_missed", first=first(channel), last=end)
            database.run("pass_dropped", floor=sequence_of(rows[-1][0]), channel=channel)
            database.run("forget_passed_marks", channel=channel)
            database.run("forget_passed_skips", channel=channel)
        return delete(database, channel, [row[:2] for row in rows], dropped)

    @writes
    def forget_dead(
        self, database: Database, channel: ChannelNumber, ended_before: int, limit: int, now: int
    ) -> int:
        ended = {"channel": channel, "ended_before": ended_before, "limit": limit}
        rows = database.all("dead_before", **ended)
        dead = defaultdict[SubscriptionNumber, list[int]](list)
        for subscription, sequence in rows:
            dead[subscription].append(sequence)
        for subscription, sequences in dead.items():
            discard(database, subscription, sequences, now)
        for (number,) in database.all("ended_replays", **ended):
            database.run("delete_replay", number=number)
            database.run("forget_reader", reader=-number)
        return len(rows)

    @writes
    def sweep(self, database: Database, limit: int) -> bool:
        # Channels first: their events take most of the room.
        channel = database.value("purges")
        if channel is not None:
            bounds = {"first": first(channel), "last": last(channel)}
            rows = database.all("channel_positions", limit=limit, **bounds)
            database.run("delete_events", positions=json.dumps([at for (at,) in rows]))
            if len(rows) < limit:
                database.run("end_purge", channel=channel)
            return True
        reader = database.value("forgotten")
        if reader is None:
            return False
        gone = 0
        for sweep in ("sweep_attempts", "sweep_deliveries", "sweep_skips"):
            gone += len(database.all(sweep, reader=reader, limit=limit))
        if gone == 0:
            database.run("remember_no_more", reader=reader)
        return True

    @asks
    def left_to_sweep(self, database: Database) -> int:
        channels = [channel for (channel,) in database.all("purges")]
        bounds = ({"first": first(channel), "last": last(channel)} for channel in channels)
        return sum(database.value("channel_span", **each) for each in bounds)


def discard(
    database: Database, subscription: SubscriptionNumber, sequences: Sequence[int], now: int
) -> int:
    """Let go of dead deliveries; how many of these were dead."""
    wanted = json.dumps(list(sequences))
    rows = database.all("discard", now=now, subscription=subscription, sequences=wanted)
    return len(tell_marks(database, subscription, rows))


def tell_marks(
    database: Database, subscription: SubscriptionNumber, rows: Sequence[Row]
) -> tuple[int, ...]:
    """Have it told that somebody changed the marks of deliveries; of which sequences these are."""
    marks = tuple(map(decode_mark, rows))
    if marks:
        [(epoch, floor)] = database.all("standing", number=subscription)
        database.changes.append(Progressed(subscription, epoch, floor, marks, ()))
    return tuple(mark.sequence for mark in marks)


def delete(database: Database, channel: ChannelNumber, rows: Sequence[Row], dropped: int) -> int:
    """Delete events by position and size; how many there are."""
    if not rows:
        return 0
    positions, sizes = [row[0] for row in rows], sum(row[1] for row in rows)
    sequences = tuple(sequence_of(at) for at in positions)
    for query in ("delete_attempts", "delete_deliveries", "settle_discarded"):
        database.run(query, channel=channel, sequences=json.dumps(sequences))
    database.run("delete_events", positions=json.dumps(positions))
    counts = {"events": len(rows), "bytes": sizes, "dropped": dropped}
    database.run("count_removed", channel=channel, **counts)
    database.changes.append(EventsRemoved(channel, max(sequences), sizes, sequences))
    return len(rows)


def _first(rows: Sequence[Row], enough: int | None) -> Sequence[Row]:
    """As many rows as make up so many bytes, which come second in each; all of them for None."""
    if enough is None:
        return rows
    before = accumulate((row[1] for row in rows), initial=0)
    return [row for row, taken in zip(rows, before, strict=False) if taken < enough]
