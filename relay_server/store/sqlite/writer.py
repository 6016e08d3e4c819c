"""The one thread that writes: all that waits goes into one transaction."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreFull, StoreReadOnly, StoreUnavailable
from relay_server.store.feed import Change
from relay_server.store.space import Space
from relay_server.store.sqlite.batch import (
    ALONE,
    Batches,
    BulkOperation,
    First,
    Job,
    Operation,
    publish,
)
from relay_server.store.sqlite.capacity import Capacity
from relay_server.store.sqlite.checkpointer import Checkpointer
from relay_server.store.sqlite.database import Database, begun_log
from relay_server.store.sqlite.identity import Identity
from relay_server.store.sqlite.pending import Fits

log = structlog.get_logger()

T = TypeVar("T")
Item = TypeVar("Item")

MAX_BATCH = 256  # operations in one transaction
MAX_WAITING = 4_096  # operations
MAX_WAITING_BYTES = 67_108_864


class _TooMuch(StoreFull):
    """With all of it the log could not be folded into the database on a disk that fills up."""


class Writer:
    """A `GroupCommit` in a thread of its own.

    Args:
        first: Called in the writer's thread inside each transaction, first.
        on_broken: Called once, in the event loop, when the disk or the database failed.
        tell: Called in the event loop with each such change.
        space: Told whether there is room.
        max_bytes: What the database may grow to; 0 for no cap.
    """

    def __init__(
        self,
        path: Path,
        first: First,
        on_broken: Callable[[StoreBroken], None],
        tell: Callable[[Change], None] = lambda _: None,
        space: Space | None = None,
        max_bytes: int = 0,
    ) -> None:
        self._on_broken = on_broken
        self._tell_change = tell
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._aside: deque[Job | None] = deque()  # what was taken out of it, and waits still
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._broken: StoreBroken | None = None
        self._space = space or Space()
        self._database = Database(path)
        self._batches = Batches(self._database, first)
        self._identity = Identity((path, begun_log(self._database)))
        self._capacity = Capacity(path, max_bytes, self._tell)
        self._capacity.begin(self._database)
        self._checkpointer = Checkpointer(path, self.fail, lambda: self._capacity.tight)
        self._database.connection.set_wal_hook(self._checkpointer.log_grew)
        self._thread = threading.Thread(target=self._run, name="relay-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        operation: Operation[T],
        then: Callable[[T], None] | None = None,
        weight: int = 0,
    ) -> asyncio.Future[T]:
        return self._submit(operation, ALONE, then, weight)

    def submit_bulk(
        self,
        operation: BulkOperation[Item, T],
        item: Item,
        then: Callable[[Sequence[T]], None],
        weight: int = 0,
    ) -> asyncio.Future[T]:
        if (refusal := self._capacity.refusal) is not None:
            raise type(refusal)(str(refusal))
        return self._submit(operation, item, then, weight)

    def _submit(
        self,
        operation: Callable[..., Any],
        item: object,
        then: Callable[[Any], None] | None,
        weight: int,
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._broken is not None:
            raise self._broken  # nothing that is written now can be believed
        if self._waiting >= MAX_WAITING or self._waiting_bytes + weight > MAX_WAITING_BYTES:
            raise StoreFull("more waits to be written than the disk takes")
        self._waiting += 1
        self._waiting_bytes += weight
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(Job(operation, item, then, future, weight))
        return future

    @property
    def broken(self) -> bool:
        return self._broken is not None

    def fits(self) -> Fits | None:
        return self._capacity.fits()

    def fail(self, error: StoreBroken) -> None:
        if self._broken is None:
            self._broken = error
            self._loop.call_soon_threadsafe(self._on_broken, error)

    async def close(self) -> None:
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        if self.broken:
            self._database.abandon()
        self._database.close()
        self._checkpointer.close(abandon=self.broken)

    def _run(self) -> None:
        last = False
        while not last:
            batch = self._take()
            last = batch[-1:] == [None]
            try:
                self._commit([job for job in batch if job is not None])
            except Exception as exc:  # noqa: BLE001  (a thread that is gone would keep all waiting)
                self.fail(StoreBroken(f"the store's writer failed: {exc!r}"))
            self._keep_house()

    def _take(self) -> list[Job | None]:
        """What waits, up to a batch; nothing when it is time to look at the room instead."""
        try:
            batch = [self._next(self._capacity.wait_s())]
        except queue.Empty:
            return []
        while len(batch) < MAX_BATCH and batch[-1] is not None:
            if not self._aside and self._queue.empty():
                break
            batch.append(self._next())
        return batch

    def _next(self, wait_s: float | None = None) -> Job | None:
        return self._aside.popleft() if self._aside else self._queue.get(timeout=wait_s)

    def _keep_house(self) -> None:
        if self._broken is not None:
            return
        try:
            self._checkpointer.rotate(self._database)
            self._capacity.look(self._database)
        except StoreBroken as exc:
            self.fail(exc)
        except Exception as exc:  # without this thread every sender waits for ever
            log.error("a look at the room failed", exc_info=exc)

    def _commit(self, batch: Sequence[Job]) -> None:
        if self._broken is not None:
            self._refuse(batch, self._broken)
            return
        if self._capacity.refusal is not None:
            batch = self._refuse_arrivals(batch, self._capacity.refusal)
        if not batch:
            return
        try:
            self._check_room([job.weight for job in batch if job.arrives])
            results, changes = self._batches.commit(batch)
        except Exception as exc:  # noqa: BLE001  (without this thread every sender waits for ever)
            self._recover(batch, exc)
        else:
            self._loop.call_soon_threadsafe(self._answer_stored, batch, results, changes)

    def _check_room(self, weights: Sequence[int]) -> None:
        """See that the log stays small enough for the room that there is.

        Raises:
            StoreFull: It would not.
        """
        if not weights or self._capacity.can_fold(self._database, self._log_bytes, weights):
            return
        self._checkpointer.fold(self._database)
        if not self._capacity.can_fold(self._database, self._log_bytes, weights):
            raise _TooMuch("the disk has no room for it")

    @property
    def _log_bytes(self) -> int:
        return self._checkpointer.log_bytes

    def _recover(self, batch: Sequence[Job], failure: Exception) -> None:
        """What SQLite refuses to one must not fail its neighbours, unless the disk refuses all."""
        match failure:
            case StoreBroken():
                self._refuse(batch, failure)
                self.fail(failure)
            case _TooMuch() if len(batch) > 1:
                self._commit(batch[: len(batch) // 2])
                self._commit(batch[len(batch) // 2 :])
            case StoreFull():
                self._make_room(batch, failure)
            case StoreReadOnly():
                self._refuse(batch, failure)
                self._capacity.forbid(failure)
            case _ if len(batch) > 1:
                for job in batch:
                    self._commit([job])
            case _:
                self._refuse(batch, failure)

    def _make_room(self, batch: Sequence[Job], failure: RelayError) -> None:
        """Refuse webhooks, at once, and try the rest again with what was kept in reserve."""
        weight, first = max(job.weight for job in batch), self._capacity.taking
        waiting = self._refuse_arrivals(batch, failure)
        try:
            self._database.ask(lambda db: self._capacity.refuse(db, weight))
            self._refuse_queue(failure)
            relieved = self._database.ask(lambda db: self._capacity.relieve(db, first=first))
        except RelayError as exc:
            failure, relieved = exc, False
        if relieved:
            self._commit(waiting)
        elif isinstance(failure, StoreBroken):
            self._recover(waiting, failure)
        else:
            self._refuse(waiting, failure)

    def _refuse_queue(self, failure: RelayError) -> None:
        """Making room takes a while, and senders are not to wait for it."""
        while not self._queue.empty():
            self._aside.append(self._queue.get_nowait())
        kept = [job for job in self._aside if job is None or not job.arrives]
        self._refuse([job for job in self._aside if job is not None and job.arrives], failure)
        self._aside = deque(kept)

    def _refuse_arrivals(self, batch: Sequence[Job], failure: RelayError) -> list[Job]:
        """Refuse the webhooks among these; returns the others."""
        self._refuse([job for job in batch if job.arrives], failure)
        return [job for job in batch if not job.arrives]

    def _refuse(self, batch: Sequence[Job], failure: Exception) -> None:
        if batch:
            self._loop.call_soon_threadsafe(self._answer, batch, [failure] * len(batch))

    def _tell(self, reason: str) -> None:
        self._loop.call_soon_threadsafe(self._space.change, reason)

    def _answer_stored(
        self, batch: Sequence[Job], results: Sequence[Any], changes: Sequence[Change]
    ) -> None:
        """See first that what was written is where the next start will look for it.

        Here, because each call of the system costs the writer's thread a wait for the interpreter.
        """
        try:
            self._identity.check()
        except StoreBroken as exc:
            self.fail(exc)
            self._answer(batch, [exc] * len(batch))
            return
        for change in changes:
            self._tell_change(change)
        publish(batch, results)
        self._answer(batch, results)

    def _answer(self, batch: Sequence[Job], results: Sequence[Any]) -> None:
        for job, result in zip(batch, results, strict=True):
            self._waiting -= 1
            self._waiting_bytes -= job.weight
            job.answer(result)
