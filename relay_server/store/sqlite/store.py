"""The store in one SQLite file: group commit, an fsync before each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

from relay_protocol.errors import RelayError
from relay_server.configs import ORDINARY, ChannelConfig, SubscriptionConfig
from relay_server.errors import (
    ChannelFull,
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from relay_server.files import size_of
from relay_server.store.cache import Cache
from relay_server.store.feed import (
    Change,
    ChannelChanged,
    ChannelGone,
    Claimed,
    EventsRemoved,
    Feed,
    Progressed,
    ReplaysChanged,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.space import Space
from relay_server.store.sqlite import catalogue, housekeeping, integrity, readers, report
from relay_server.store.sqlite.arrivals import Arrival, find_duplicate
from relay_server.store.sqlite.batch import First, GroupCommit, Operation
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.integrity import BackgroundCheck
from relay_server.store.sqlite.pending import Pending
from relay_server.store.sqlite.reading import Reading
from relay_server.store.sqlite.rows import (
    decode_subscription,
    encode,
)
from relay_server.store.sqlite.sql import first, last, position, sequence_of
from relay_server.values import (
    Appended,
    Catalog,
    Channel,
    ChannelNumber,
    ChannelStatus,
    Claim,
    DeadDelivery,
    DeliveryState,
    Event,
    EventSummary,
    NewEvent,
    Outline,
    Progress,
    ReaderNumber,
    Removable,
    Replay,
    ReplayNumber,
    ReplayState,
    Selected,
    Selection,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)

log = structlog.get_logger()

T = TypeVar("T")

FILE_NAME = "relay.db"
SWEEP_ROWS = 500  # in one transaction, so that webhooks wait little
# Progress rides along with the next webhook, or goes alone after this: a commit of its own costs as
# much as a webhook's. What a crash takes comes again, under the same ids.
RECORD_WITHIN_S = 0.2
FULL_RECORD_S = 1.0  # while there is no room for webhooks: what is left is used sparingly


class SqliteStore:
    """A `Store` in `relay.db` of a data dir, which it locks.

    Args:
        path: The file.
        open_writer: Opens what writes. It begins each transaction with the first of what it is
            given, and tells the second what that has changed.
        reading: Answers short questions, on which deliveries or a sender wait.
        reports: Answers what people ask, and clean-up.
        space: Told by the writer.
        release: Called when all is closed.
    """

    def __init__(
        self,
        path: Path,
        open_writer: Callable[[First, Callable[[Change], None]], GroupCommit],
        reading: Reading,
        reports: Reading,
        space: Space,
        release: Callable[[], None],
    ) -> None:
        self._path = path
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._pending = Pending(lambda: self.feed.wants(Progressed))
        self.space = space
        self.feed = Feed()
        self._writer = open_writer(self._write_pending, self.feed.tell)
        self._reading = reading
        self._reports = reports
        self._write_timer: asyncio.TimerHandle | None = None
        self._write_at = 0.0  # what waits, by the loop's clock
        self._cache = Cache(*catalogue.load(reading.database), self.feed)
        large = size_of(path) > integrity.INLINE_CHECK_BYTES
        self._check = BackgroundCheck(path, self._writer.fail) if large else None

    @property
    def catalog(self) -> Catalog:
        return self._cache.catalog

    def append(self, channel: ChannelNumber, event: NewEvent) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = self._loop.create_future()
        held = self._cache.of(channel)
        if held is None:
            future.set_exception(ChannelNotFound(f"number {channel}"))
            return future
        request = encode(event.request)
        weight = len(event.body) + len(request)
        arrival = Arrival(channel, event, request, weight, held.window_ms, held, future)
        if (limit := held.full_at(weight)) is not None:
            return self._loop.create_task(self._known_or_full(arrival, limit))
        held.arriving += weight  # until it is answered
        try:
            self._writer.append(arrival)
        except RelayError as exc:
            held.arriving -= weight
            future.set_exception(exc)
        return future

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        if (outlines := self._cache.outlines(channel, after, limit)) is not None:
            return outlines
        start, end = position(channel, after), last(channel)
        rows = await self._read(lambda db: db.all("outlines", after=start, last=end, limit=limit))
        return [Outline(sequence_of(at), key, size) for at, key, size in rows]

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        if (events := self._cache.fetch(channel, sequences)) is not None:
            return events
        wanted = [position(channel, sequence) for sequence in sequences]
        return await self._read(lambda db: readers.fetch(db, wanted))

    async def select(
        self, channel: ChannelNumber, replay: Replay, after: int, limit: int
    ) -> Selected:
        return await self._read(lambda db: readers.select(db, channel, replay, after, limit))

    async def claim(self, reader: ReaderNumber) -> Claim | None:
        return await self._submit_after(reader, lambda db: readers.claim(db, reader), _tell_claimed)

    def record(self, claim: Claim, progress: Progress) -> None:
        if self._pending.add(claim, progress):
            self._write_within()

    async def flush(self) -> None:
        await self._writer.submit(_nothing)
        while self._pending.left:
            await self._writer.submit(_nothing)

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        return await self._writer.submit(
            lambda db: catalogue.create_channel(db, name, config, now), ChannelChanged
        )

    async def change_channel(
        self, name: str, change: Callable[[ChannelConfig], ChannelConfig]
    ) -> Channel:
        return await self._writer.submit(
            lambda db: catalogue.change_channel(db, name, change), ChannelChanged
        )

    async def delete_channel(self, name: str) -> None:
        await self._writer.submit(lambda db: catalogue.delete_channel(db, name), ChannelGone)
        with suppress(StoreUnavailable):  # it is deleted; the rest can wait
            while await self.sweep(SWEEP_ROWS):
                pass

    async def create_token(self, token: Token) -> None:
        await self._writer.submit(lambda db: catalogue.create_token(db, token), TokenMade)

    async def revoke_token(self, name: str) -> None:
        await self._writer.submit(lambda db: catalogue.revoke_token(db, name), TokenRevoked)

    async def subscribe(
        self,
        channel: str,
        name: str,
        since: int | None,
        now: int,
        config: SubscriptionConfig = ORDINARY,
    ) -> tuple[Subscription, bool]:
        return await self._writer.submit(
            lambda db: readers.subscribe(db, channel, name, since, now, config),
            _tell_subscribed,
        )

    async def subscriptions(self, channel: str | None = None) -> Sequence[Subscription]:
        return await self._read(
            lambda db: [decode_subscription(r) for r in db.all("subscriptions", channel=channel)]
        )

    async def change_subscription(
        self,
        subscription: SubscriptionNumber,
        change: Callable[[SubscriptionConfig], SubscriptionConfig],
    ) -> Subscription:
        return await self._writer.submit(
            lambda db: readers.change(db, subscription, change), SubscriptionChanged
        )

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        await self._writer.submit(
            lambda db: readers.unsubscribe(db, subscription), SubscriptionGone
        )

    async def create_replay(
        self,
        subscription: Subscription,
        selection: Selection,
        rate_per_s: float,
        now: int,
        made_by: str = "",
    ) -> Replay:
        number = subscription.number
        return await self._writer.submit(
            lambda db: readers.create_replay(db, number, selection, rate_per_s, now, made_by),
            _tell_replay,
        )

    async def replays(
        self, subscription: SubscriptionNumber | None = None, *, running: bool = False
    ) -> Sequence[Replay]:
        await self._flush_if_possible()
        ask = self._read if running else self._report  # deliveries wait for those that run
        return await ask(lambda db: readers.replays(db, subscription, running=running))

    async def replay(self, replay: ReplayNumber) -> Replay:
        await self._flush_if_possible()
        return await self._report(lambda db: readers.replay(db, replay))

    async def end_replay(self, replay: ReplayNumber, state: ReplayState, now: int) -> Replay:
        return await self._submit_after(
            replay, lambda db: readers.end_replay(db, replay, state, now), _tell_replay
        )

    async def dead(
        self, subscription: SubscriptionNumber, after: int, limit: int
    ) -> Sequence[DeadDelivery]:
        await self._flush_if_possible()
        return await self._report(lambda db: readers.dead(db, subscription, after, limit))

    async def discard(
        self, subscription: SubscriptionNumber, sequences: Sequence[int], now: int
    ) -> int:
        return await self._submit_after(
            subscription, lambda db: readers.discard(db, subscription, sequences, now)
        )

    async def channel_status(self) -> Sequence[ChannelStatus]:
        return await self._report(report.channel_status)

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        await self._flush_if_possible()
        wanted = None if only is None else frozenset(only)
        return await self._report(lambda db: report.subscription_status(db, wanted))

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        end = last(channel) + 1 if before is None else position(channel, before)
        return await self._report(lambda db: report.list_events(db, first(channel), end, limit))

    async def find_event(self, event: str) -> Event | None:
        return await self._report(lambda db: readers.find_event(db, event))

    async def deliveries(
        self, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[Sequence[DeliveryState]]:
        await self._flush_if_possible()
        return await self._report(lambda db: report.deliveries(db, channel, sequences))

    def usage(self, channel: ChannelNumber) -> int:
        held = self._cache.of(channel)
        return held.bytes if held else 0

    def refused(self, channel: ChannelNumber) -> int:
        held = self._cache.of(channel)
        return held.refused if held else 0

    async def removable(
        self, channel: ChannelNumber, received_before: int | None, after: int, limit: int
    ) -> Removable:
        return await self._report(
            lambda db: housekeeping.removable(db, channel, received_before, after, limit)
        )

    async def remove(
        self, channel: ChannelNumber, sequences: Sequence[int], enough: int | None = None
    ) -> int:
        removed = await self._writer.submit(
            lambda db: housekeeping.remove(db, channel, sequences, enough), _tell_removed
        )
        return removed.events

    async def drop_oldest(
        self, channel: ChannelNumber, limit: int, enough: int | None = None
    ) -> int:
        removed = await self._writer.submit(
            lambda db: housekeeping.drop_oldest(db, channel, limit, enough), _tell_removed
        )
        return removed.events

    async def forget_dead(
        self, channel: ChannelNumber, ended_before: int, limit: int, now: int
    ) -> int:
        return await self._writer.submit(
            lambda db: housekeeping.forget_dead(db, channel, ended_before, limit, now)
        )

    async def sweep(self, limit: int) -> bool:
        return await self._writer.submit(lambda db: housekeeping.sweep(db, limit))

    async def backup(self, file: Path) -> None:
        await self.flush()
        await self._guarded(asyncio.to_thread(housekeeping.backup, self._path, file))

    async def close(self) -> None:
        try:
            await self.flush()
        except StoreFull as exc:
            log.warning("the last progress found no room: deliveries may repeat", error=str(exc))
        finally:
            if self._check is not None:
                await asyncio.to_thread(self._check.close, abandon=self._writer.broken)
            await self._writer.close()
            if self._write_timer is not None:
                self._write_timer.cancel()
            for reading in (self._reading, self._reports):
                await reading.close(abandon=self._writer.broken)
            self._release()

    def _write_pending(self, database: Database) -> Callable[[bool], Sequence[Change]]:
        """In the writer's thread; what could not be written, or was left, is tried again."""

        def finish(committed: bool) -> Sequence[Change]:
            changes: Sequence[Change] = ()
            if committed:
                changes = self._pending.written()
            else:
                self._pending.failed()
            if not committed or self._pending.left:
                self._loop.call_soon_threadsafe(self._write_within, self._pending.left)
            return changes

        try:
            self._pending.write(database, self._writer.lean_rows())
        except Exception:
            finish(False)
            raise
        return finish

    def _write_within(self, fits: bool = False) -> None:
        """Write progress soon, or where it did not fit with patience."""
        within_s = RECORD_WITHIN_S if fits or self.space.taking else FULL_RECORD_S
        self._write_at = self._loop.time() + within_s
        if self._write_timer is None:
            self._write_timer = self._loop.call_at(self._write_at, self._write_soon)

    def _write_soon(self) -> None:
        self._write_timer = None
        if self._write_at > self._loop.time() and self._pending.waiting:
            # What this was for has ridden along; what waits now is younger.
            self._write_timer = self._loop.call_at(self._write_at, self._write_soon)
            return
        if not self._pending.waiting:
            return
        try:
            self._writer.submit(_nothing).add_done_callback(_look)
        except StoreFull:
            self._write_within()
        except (StoreUnavailable, StoreBroken):
            pass  # it is being closed, or has failed and said so

    async def _submit_after(
        self,
        reader: ReaderNumber,
        operation: Operation[T],
        tells: Callable[[T], Change | None] | None = None,
    ) -> T:
        """Have an operation done that must see all the progress of a reader."""

        def after(database: Database) -> T:
            self._pending.write_rest_of(database, reader)
            return operation(database)

        return await self._writer.submit(after, tells)

    async def _read(self, query: Operation[T]) -> T:
        """Have a short question answered, on which deliveries or a sender wait."""
        return await self._guarded(self._reading.ask(query))

    async def _report(self, query: Operation[T]) -> T:
        """Have a question answered that may take long."""
        return await self._guarded(self._reports.ask(query))

    async def _flush_if_possible(self) -> None:
        """People who ask what is wrong with a full disk must get an answer."""
        with suppress(StoreFull, StoreReadOnly):
            await self.flush()

    async def _guarded(self, answer: Awaitable[T]) -> T:
        """What is read wrong, is not to be written on."""
        try:
            return await answer
        except StoreBroken as exc:
            self._writer.fail(exc)
            raise

    async def _known_or_full(self, item: Arrival, limit: int) -> Appended:
        """What is stored already needs no room."""
        known = await self._read(lambda db: find_duplicate(db, item))
        if known is None:
            item.held.refuse(item.weight, limit)
            raise ChannelFull(limit)
        return known


def _tell_claimed(claim: Claim | None) -> Change | None:
    return Claimed(claim.reader, claim.epoch) if claim else None


def _tell_subscribed(found: tuple[Subscription, bool]) -> Change | None:
    subscription, made = found
    return SubscriptionChanged(subscription) if made else None


def _tell_replay(replay: Replay) -> Change:
    return ReplaysChanged(replay.subscription)


def _tell_removed(removed: housekeeping.Removed) -> Change | None:
    if not removed.events:
        return None
    return EventsRemoved(removed.channel, removed.last, removed.bytes)


def _nothing(_database: Database) -> None:
    """Progress that waits is written with every transaction, so also with this one."""


def _look(future: asyncio.Future[None]) -> None:
    """A failure was told to whoever must know; here it only has to be looked at."""
    if not future.cancelled():
        future.exception()
