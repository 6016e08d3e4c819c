"""The store in one SQLite file: group commit, an fsync before each answer.

Its five parts are in modules of their own. Here is what happens many times a second (a webhook is
appended, progress is recorded), and how the store is opened and closed.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import apsw
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.values import RequestHead
from relay_server.errors import (
    ChannelFull,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from relay_server.files import beside, explained, size_of
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.cache import Cache
from relay_server.store.feed import BodiesDropped, Change, Feed, Progressed
from relay_server.store.interface import Space, Waiter
from relay_server.store.sql.catalogue import load
from relay_server.store.sql.jobs import Arrival, GroupCommit
from relay_server.store.sql.part import Reading, asks, nothing
from relay_server.store.sql.pending import Pending
from relay_server.store.sql.resealing import take_keys
from relay_server.store.sql.whole import SqlStore
from relay_server.store.sqlite import integrity, restore
from relay_server.store.sqlite.arrivals import digest_of, find_duplicate
from relay_server.store.sqlite.backup import back_up
from relay_server.store.sqlite.batch import First
from relay_server.store.sqlite.database import Database, prepare, translate
from relay_server.store.sqlite.integrity import DirLock
from relay_server.store.sqlite.reading import ReadingThread
from relay_server.store.sqlite.rebuilding import leave_nothing
from relay_server.store.sqlite.room import ROW_BYTES, Reserve
from relay_server.store.sqlite.writer import Writer
from relay_server.values import Appended, ChannelNumber, Claim, NewEvent, Progress

log = structlog.get_logger()

FILE_NAME = "relay.db"
# Progress is collected for so long, and rides along with the next webhook then: written with each
# webhook it costs two more pages of the database a commit.
COLLECT_S = 0.1
# Where no webhook comes until then it goes alone: a commit of its own costs as much as a webhook's.
# What a crash takes of it comes again, under the same ids.
RECORD_WITHIN_S = 0.2
FULL_RECORD_S = 1.0  # while there is no room for webhooks: what is left is used sparingly


class SqliteStore(SqlStore):
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

    row_bytes = ROW_BYTES

    def __init__(
        self,
        path: Path,
        open_writer: Callable[[First, Callable[[Change], None]], GroupCommit],
        reading: Reading,
        reports: Reading,
        space: Space,
        release: Callable[[], None],
    ) -> None:
        super().__init__()
        self._path = path
        self._release = release
        skipping = [reader for (reader,) in reading.database.all("readers_that_skip")]
        self._pending = Pending(lambda: self.feed.wants(Progressed), skipping)
        self.space = space
        self.feed = Feed()
        self._writer = open_writer(self._write_pending, self.feed.tell)
        self._reading = reading
        self._reports = reports
        self._write_timer: asyncio.TimerHandle | None = None
        self._ride_at = math.inf  # what waits, with the next webhook; by the loop's clock
        self._cache = Cache(*load(reading.database), self.feed)
        self._readings = [reading, reports]
        self._wiped = False
        self.feed.listen(BodiesDropped, self._dropped)
        self._begin_resealing()
        self._ended = threading.Event()
        large = size_of(path) > integrity.INLINE_CHECK_BYTES
        self._check = self._loop.create_task(self._check_all()) if large else None

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        if (arrival := self._arrival(channel, event, waiter)) is None:
            return
        held = arrival.held
        if (limit := held.full_at(arrival.weight)) is not None:
            self._refuse(arrival, ChannelFull(limit), limit)
            return
        held.arriving += arrival.weight  # until it is answered
        try:
            self._writer.append(arrival)
        except RelayError as exc:
            held.arriving -= arrival.weight
            waiter.set_exception(exc)

    @asks
    def _find_duplicate(self, database: Database, arrival: Arrival) -> Appended | None:
        return find_duplicate(database, arrival)

    def record(self, claim: Claim, progress: Progress) -> None:
        if self._pending.add(claim, progress):
            self._write_within()

    def size(self) -> int:
        return size_of(self._path) + size_of(beside(self._path, "-wal"))

    async def backup(self, file: Path) -> Sequence[str]:
        await self.flush()
        return await self.guarded(asyncio.to_thread(back_up, self._path, file))

    async def close(self) -> None:
        try:
            await self.flush()
        except StoreFull as exc:
            log.warning("the last progress found no room: deliveries may repeat", error=str(exc))
        finally:
            self._ended.set()
            self._end_resealing()
            await self._writer.close()
            if self._write_timer is not None:
                self._write_timer.cancel()
            for reading in self._readings:
                await reading.close(abandon=self._writer.broken)
            if (self._resealed or self._wiped) and not self._writer.broken:
                await asyncio.to_thread(self._rebuild)
            self._release()

    async def _check_all(self) -> None:
        """Check a large database, which takes minutes."""
        reading = ReadingThread(self._path, "relay-check")
        self._readings.append(reading)
        with suppress(StoreBroken):  # the writer is told
            await self.guarded(
                reading.ask(lambda db: integrity.check_quietly(db, self._ended.is_set))
            )

    def _stamp(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> int:
        return digest_of(request, bodies.digest(body))

    def _dropped(self, _change: BodiesDropped) -> None:
        self._wiped = True

    def _rebuild(self) -> None:
        with suppress(RelayError):  # the next start tries again
            leave_nothing(self._path)

    def _write_pending(
        self, database: Database, for_webhooks: bool
    ) -> Callable[[bool], None] | None:
        """In the writer's thread; what could not be written, or was left, is tried again."""
        if for_webhooks and self._loop.time() < self._ride_at:
            return None
        self._ride_at = math.inf

        def finish(committed: bool) -> None:
            if committed:
                self._pending.written()
            else:
                self._pending.failed()
            if not committed or self._pending.left:
                self._loop.call_soon_threadsafe(self._write_within, self._pending.left)

        try:
            self._pending.write(database, self._writer.lean_rows())
        except Exception:
            finish(False)
            raise
        return finish

    def _write_within(self, fits: bool = False) -> None:
        """Write progress soon, or where it did not fit with patience."""
        within_s = RECORD_WITHIN_S if fits or self.space.taking else FULL_RECORD_S
        write_at = self._loop.time() + within_s
        self._ride_at = write_at - (RECORD_WITHIN_S - COLLECT_S)
        if self._write_timer is not None:  # what that was for has ridden along
            self._write_timer.cancel()
        self._write_timer = self._loop.call_at(write_at, self._write_soon)

    def _write_soon(self) -> None:
        self._write_timer = None
        if not self._pending.waiting:
            return
        try:
            self._writer.submit(nothing).add_done_callback(_look)
        except StoreFull:
            self._write_within()
        except (StoreUnavailable, StoreBroken):
            pass  # it is being closed, or has failed and said so


def _look(future: asyncio.Future[None]) -> None:
    """A failure was told to whoever must know; here it only has to be looked at."""
    if not future.cancelled():
        future.exception()


async def open_sqlite(
    data_dir: Path,
    on_broken: Callable[[StoreBroken], None] = lambda _: None,
    max_bytes: int = 0,
    bodies: BodyKeys = IN_THE_CLEAR,
) -> SqliteStore:
    """Open the store of a data dir, as `opening.open_store` says."""
    lock, path, space = DirLock(data_dir), data_dir / FILE_NAME, Space()
    try:
        lock.acquire()
        try:
            _prepare_files(path, bodies)
            return SqliteStore(
                path,
                lambda first, tell: Writer(path, first, on_broken, tell, space, max_bytes, bodies),
                ReadingThread(path, "relay-reader", bodies),
                ReadingThread(path, "relay-reports", bodies),
                space,
                lock.release,
            )
        except BaseException:
            lock.release()
            raise
    except OSError as exc:
        reason = explained(exc, data_dir)
        place = exc.filename or data_dir
        raise StoreUnavailable(f"{place} cannot be used: {reason}") from exc
    except apsw.Error as exc:
        raise translate(exc, str(path)) from exc


def _prepare_files(path: Path, bodies: BodyKeys) -> None:
    """Have a sound database of this version; whoever calls this holds the lock."""
    restore.finish(path)  # what a crash left
    integrity.refuse_loss(path)
    try:
        _prepare(path, bodies)
    except StoreFull:  # even to open it takes a little
        if not Reserve(path.parent).release():
            raise
        _prepare(path, bodies)
    integrity.mark_made(path)


def _prepare(path: Path, bodies: BodyKeys) -> None:
    if _shows_bodies(path, bodies):
        leave_nothing(path)


def _shows_bodies(path: Path, bodies: BodyKeys) -> bool:
    """Bring a database to this version and under the keys given; whether it may show old bodies."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # payloads are for the owner's eyes
    database = Database(path, bodies=bodies)
    try:
        database.ask(prepare)
        database.ask(take_keys)
        if size_of(path) <= integrity.INLINE_CHECK_BYTES:
            integrity.check(database, path)
        return database.value("has_gone_body_keys") is not None
    except StoreBroken:
        database.abandon()
        raise
    finally:
        database.close()
