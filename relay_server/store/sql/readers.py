"""Subscriptions and replays: how far each has come."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from msgspec.structs import astuple, replace

from relay_server.errors import EventNotFound, ReplayNotFound, TooManyReplays
from relay_server.reported import DeadDelivery, DeadReason, Missed, Neighbour, RetryReason
from relay_server.spans import Span
from relay_server.store.feed import (
    Claimed,
    GivenUp,
    Progressed,
    ReplaysChanged,
    Skipped,
    SubscriptionChanged,
)
from relay_server.store.rules import (
    CLOCK_JUMP_MS,
    MAX_LISTED_REPLAYS,
    MAX_RUNNING_REPLAYS,
    SAMPLE,
    bounds,
)
from relay_server.store.sql.catalogue import find_channel, find_subscription, sequence_before
from relay_server.store.sql.database import Database
from relay_server.store.sql.events import LOOK_AT, selected
from relay_server.store.sql.housekeeping import discard, tell_marks
from relay_server.store.sql.part import Part, asks, reports, reports_progress, writes
from relay_server.store.sql.positions import position
from relay_server.store.sql.rows import decode_dead, decode_mark, decode_replay, encode
from relay_server.values import (
    Attempt,
    ChannelNumber,
    Claim,
    Preview,
    Progress,
    ReaderNumber,
    Replay,
    ReplayNumber,
    ReplayState,
    Selection,
    Subscription,
    SubscriptionNumber,
)

PREVIEW_S = 0.05  # that a dry run of a replay looks for what it selects; the rest it supposes


class SqlReaders(Part):
    """`Readers`, but for what is recorded many times a second."""

    replica = ""

    @writes
    def claim(
        self, database: Database, reader: ReaderNumber, *, shared: bool = False
    ) -> Claim | None:
        self._pending.write_rest_of(database, reader)
        query = "claim" if reader > 0 else "claim_replay"
        row = database.one(query, number=abs(reader), shared=shared)
        if row is None:
            return None
        epoch, floor, handed_on = row
        database.changes.append(Claimed(reader, epoch, bool(handed_on)))
        return Claim(reader, epoch, _progress(database, reader, floor))

    @writes
    def leave(self, database: Database, now: int, claim: Claim | None = None) -> None:
        if claim is None:
            database.run("leave_all", now=now)
        else:
            database.run("leave", now=now, number=claim.reader, epoch=claim.epoch)

    @asks
    def standing(self, database: Database, subscription: SubscriptionNumber) -> Claim | None:
        return _standing(database, subscription)

    def read_elsewhere(self, subscription: SubscriptionNumber) -> bool:
        return False

    def is_heard(self) -> bool:
        return True

    async def reading_server(self, channel: str, name: str) -> Neighbour | None:
        return None

    async def neighbours(self) -> Sequence[Neighbour]:
        return ()

    async def note_unreached(self, found: Mapping[str, Missed]) -> None:
        assert not found

    @writes
    def skip(self, database: Database, subscription: SubscriptionNumber, up_to: int) -> int:
        self._pending.write_rest_of(database, subscription)
        known, claim = find_subscription(database, subscription), _standing(database, subscription)
        assert claim is not None
        channel, floor = find_channel(database, known.channel).number, claim.progress.floor
        up_to = min(up_to, database.value("last_sequence", channel=channel))
        if up_to <= floor:
            return 0
        within = {"reader": subscription, "floor": floor, "last": up_to}
        count = database.value("waiting_between", **within)
        # From now on what has no mark there was not delivered: whoever reads it asks.
        changed = replace(known, config=replace(known.config, filtered=True))
        database.run(
            "change_subscription", config=encode(changed.config), subscription=subscription
        )
        database.changes.append(SubscriptionChanged(changed))
        self._pending.skip(database, claim, Span(floor + 1, up_to))
        database.changes.append(Skipped(subscription, up_to))
        return int(count)

    @writes
    def note_step(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        channel: ChannelNumber,
        step: Attempt,
    ) -> None:
        find_subscription(database, subscription)
        if database.value("weight_of", position=position(channel, step.sequence)) is None:
            raise EventNotFound(str(step.sequence))
        database.run_rows("attempt", [(subscription, *astuple(step))])
        [(epoch, floor)] = database.all("standing", number=subscription)
        database.changes.append(Progressed(subscription, epoch, floor, (), ()))

    @reports
    def steps(
        self, database: Database, subscription: SubscriptionNumber
    ) -> Sequence[tuple[str, Attempt]]:
        rows = database.all("steps", subscription=subscription)
        return [(key, Attempt(*attempt)) for key, *attempt in rows]

    @writes
    def create_replay(
        self,
        database: Database,
        subscription: Subscription,
        selection: Selection,
        rate_per_s: float,
        now: int,
        made_by: str = "",
    ) -> Replay:
        found = find_subscription(database, subscription.number)
        running = database.value("count_running", subscription=found.number, edited=False)
        if running >= MAX_RUNNING_REPLAYS:
            raise TooManyReplays(found.name, MAX_RUNNING_REPLAYS)
        channel = find_channel(database, found.channel).number
        start, until = _bounds(database, channel, found.number, selection)
        number = database.value(
            "create_replay",
            subscription=found.number,
            channel=channel,
            selection=encode(selection),
            rate_per_s=rate_per_s,
            start=start,
            until=until,
            now=now,
            made_by=made_by,
        )
        database.changes.append(ReplaysChanged(found.number))
        return _replay(database, -number)

    @reports_progress
    def preview(
        self, database: Database, subscription: Subscription, selection: Selection
    ) -> Preview:
        found = find_subscription(database, subscription.number)
        channel = find_channel(database, found.channel).number
        after, until = _bounds(database, channel, found.number, selection)
        plan = Replay(
            0, found.number, selection, 0.0, after, until, after, ReplayState.RUNNING, created_at=0
        )
        sequences = list[int]()
        began = time.monotonic()
        while after < until:
            some = selected(database, channel, plan, after, LOOK_AT)
            sequences += [outline.sequence for outline in some.outlines]
            after = some.read_up_to
            if time.monotonic() > began + PREVIEW_S:
                break
        sample = tuple(sequences[:SAMPLE])
        return Preview(len(sequences) + until - after, sample, complete=after >= until)

    async def replays(
        self, subscription: SubscriptionNumber | None = None, *, running: bool = False
    ) -> Sequence[Replay]:
        await self.flush_if_possible()
        if running:  # deliveries wait for those
            return await self._running(subscription)
        return await self._replays(subscription)

    @asks
    def _running(
        self, database: Database, subscription: SubscriptionNumber | None
    ) -> Sequence[Replay]:
        return _replays(database, subscription, running=True)

    @reports
    def _replays(
        self, database: Database, subscription: SubscriptionNumber | None
    ) -> Sequence[Replay]:
        return _replays(database, subscription)

    @reports_progress
    def replay(self, database: Database, replay: ReplayNumber) -> Replay:
        return _replay(database, replay)

    @writes
    def end_replay(
        self, database: Database, replay: ReplayNumber, state: ReplayState, now: int
    ) -> Replay:
        self._pending.write_rest_of(database, replay)
        if _replay(database, replay).state is ReplayState.RUNNING:
            database.run("end_replay", state=int(state), now=now, number=-replay)
            database.run("delete_marks", reader=replay)
        ended = _replay(database, replay)
        database.changes.append(ReplaysChanged(ended.subscription))
        return ended

    @reports_progress
    def dead(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        after: int,
        limit: int,
        reason: str | None = None,
    ) -> Sequence[DeadDelivery]:
        asked = {"subscription": subscription, "after": after, "limit": limit, "reason": reason}
        return [decode_dead(subscription, row) for row in database.all("list_dead", **asked)]

    @reports_progress
    def dead_reasons(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        limit: int,
        first: int = 0,
        reason: str | None = None,
    ) -> Sequence[DeadReason]:
        asked = {"subscription": subscription, "limit": limit, "first": first, "reason": reason}
        rows = database.all("dead_reasons", **asked)
        return [DeadReason(*row) for row in rows]

    @reports_progress
    def retry_reasons(
        self, database: Database, subscription: SubscriptionNumber, limit: int
    ) -> Sequence[RetryReason]:
        rows = database.all("retry_reasons", subscription=subscription, limit=limit)
        return [RetryReason(*row) for row in rows]

    @writes
    def discard(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        sequences: Sequence[int],
        now: int,
    ) -> int:
        self._pending.write_rest_of(database, subscription)
        return discard(database, subscription, sequences, now)

    @writes
    def give_up(
        self,
        database: Database,
        subscription: SubscriptionNumber,
        sequences: Sequence[int],
        reason: str,
        now: int,
    ) -> int:
        self._pending.write_rest_of(database, subscription)
        wanted = json.dumps(list(sequences))
        asked = {"subscription": subscription, "sequences": wanted, "reason": reason, "now": now}
        dead = tell_marks(database, subscription, database.all("give_up", **asked))
        if dead:
            database.changes.append(GivenUp(subscription, dead, reason))
        return len(dead)


def _standing(database: Database, subscription: SubscriptionNumber) -> Claim | None:
    row = database.one("standing", number=subscription)
    if row is None:
        return None
    epoch, floor = row
    return Claim(subscription, epoch, _progress(database, subscription, floor))


def _progress(database: Database, reader: ReaderNumber, floor: int) -> Progress:
    rows = database.all("marks_above", reader=reader, floor=floor)
    return Progress(floor, tuple(map(decode_mark, rows)))


def _replay(database: Database, number: ReplayNumber) -> Replay:
    found = _replays(database, only=number)
    if not found:
        raise ReplayNotFound(-number)
    return found[0]


def _replays(
    database: Database,
    subscription: SubscriptionNumber | None = None,
    *,
    running: bool = False,
    only: ReplayNumber | None = None,
) -> list[Replay]:
    rows = database.all(
        "replays",
        only=None if only is None else -only,
        subscription=subscription,
        running=running,
        limit=MAX_LISTED_REPLAYS,
    )
    return [decode_replay(row) for row in rows]


def _bounds(
    database: Database,
    channel: ChannelNumber,
    subscription: SubscriptionNumber,
    selection: Selection,
) -> tuple[int, int]:
    """`rules.bounds` of a selection, by what the channel and the subscription hold."""
    starts = []
    if selection.received_from is not None:
        surely_before = selection.received_from - CLOCK_JUMP_MS
        starts.append(sequence_before(database, channel, surely_before))
    if selection.dead:
        starts.append((database.value("first_dead", subscription=subscription) or 1) - 1)
    return bounds(selection, database.value("last_sequence", channel=channel), *starts)
