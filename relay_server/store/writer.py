"""The one thread that writes: all that waits goes into one transaction."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.store.database import BUSY_TIMEOUT_MS, Database, translate

T = TypeVar("T")
Item = TypeVar("Item")
Operation = Callable[[Database], T]
BulkOperation = Callable[[Database, Sequence[Item]], Sequence[T | RelayError]]

MAX_BATCH = 256  # operations in one transaction
MAX_WAITING = 4_096  # operations
MAX_WAITING_BYTES = 67_108_864
CHECKPOINT_PAGES = 4_000  # of 4 KiB: the log is folded into the database at about 16 MiB


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do; with an item, together with others of the same operation."""

    operation: Callable[..., Any]
    item: Any
    then: Callable[[Any], None] | None
    future: asyncio.Future[Any]
    weight: int


_ALONE = object()  # stands for no item


class Writer:
    """Runs operations in a thread of its own, grouped into transactions.

    An operation that raises a `RelayError` must not have written anything: the others of its
    transaction are kept.

    Args:
        before_commit: Called in the writer's thread inside each transaction, first.
        on_broken: Called in the event loop when the disk or the database failed.
    """

    def __init__(
        self,
        path: Path,
        before_commit: Operation[Callable[[bool], None]],
        on_broken: Callable[[StoreBroken], None],
    ) -> None:
        self._path = path
        self._before_commit = before_commit
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._broken: StoreBroken | None = None
        self._database = Database(path)
        self._checkpointer = Checkpointer(path)
        self._database.connection.set_wal_hook(self._checkpointer.log_grew)
        self._thread = threading.Thread(target=self._run, name="relay-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        operation: Operation[T],
        then: Callable[[T], None] | None = None,
        weight: int = 0,
    ) -> asyncio.Future[T]:
        """Have an operation done; the future is done once it is committed.

        Args:
            operation: Called in the writer's thread, inside a transaction.
            then: Called with the result in the event loop, even if nobody waits any more.
            weight: Bytes that wait in memory until it is written.

        Raises:
            StoreFull: Too much waits already.
            StoreUnavailable: The writer was closed.
        """
        return self._submit(operation, _ALONE, then, weight)

    def submit_bulk(
        self,
        operation: BulkOperation[Item, T],
        item: Item,
        then: Callable[[T], None] | None = None,
        weight: int = 0,
    ) -> asyncio.Future[T]:
        """Like `submit`, for an operation that does all items of a transaction in one call.

        It returns a result for each item, in order; an item's `RelayError` stands for what it
        would have raised.
        """
        return self._submit(operation, item, then, weight)

    def _submit(
        self,
        operation: Callable[..., Any],
        item: object,
        then: Callable[[T], None] | None,
        weight: int,
    ) -> asyncio.Future[T]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._broken is not None:
            raise self._broken  # nothing that is written now can be believed
        if self._waiting >= MAX_WAITING or self._waiting_bytes + weight > MAX_WAITING_BYTES:
            raise StoreFull("more waits to be written than the disk takes")
        self._waiting += 1
        self._waiting_bytes += weight
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(operation, item, then, future, weight))
        return future

    async def close(self) -> None:
        """Do what was submitted, then end the thread."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._database.close()
        self._checkpointer.close()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            batch = [job]
            last = False
            while len(batch) < MAX_BATCH and not self._queue.empty():
                following = self._queue.get_nowait()
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._commit(batch)
            self._checkpointer.rotate(self._database)
            if last:
                return

    def _commit(self, batch: Sequence[_Job]) -> None:
        try:
            results = self._transaction(batch)
        except Exception as exc:  # noqa: BLE001  (without this thread every sender waits for ever)
            self._recover(batch, exc)
        else:
            self._loop.call_soon_threadsafe(self._answer, batch, results)

    def _transaction(self, batch: Sequence[_Job]) -> list[Any]:
        finish: Callable[[bool], None] | None = None
        try:
            self._database.begin()
            finish = self._before_commit(self._database)
            results = self._perform(batch)
            self._database.commit()
        except Exception:
            if finish is not None:
                finish(False)
            self._database.rollback()
            raise
        finish(True)
        return results

    def _perform(self, batch: Sequence[_Job]) -> list[Any]:
        """Do every job, items of one operation together; results are in the order of the jobs."""
        bulks: dict[Callable[..., Any], list[_Job]] = {}
        for job in batch:
            if job.item is not _ALONE:
                bulks.setdefault(job.operation, []).append(job)
        done = {
            operation: iter(operation(self._database, [job.item for job in jobs]))
            for operation, jobs in bulks.items()
        }
        return [
            self._attempt(job) if job.item is _ALONE else next(done[job.operation]) for job in batch
        ]

    def _attempt(self, job: _Job) -> Any:
        try:
            return job.operation(self._database)
        except RelayError as exc:
            return exc

    def _recover(self, batch: Sequence[_Job], error: Exception) -> None:
        """One operation that SQLite refuses must not fail its neighbours."""
        failure = translate(error) if isinstance(error, apsw.Error) else error
        hopeless = isinstance(failure, StoreBroken | StoreFull)
        if len(batch) > 1 and not hopeless:
            for job in batch:
                self._commit([job])
            return
        self._loop.call_soon_threadsafe(self._answer, batch, [failure] * len(batch))
        if isinstance(failure, StoreBroken):
            self._broken = failure
            self._loop.call_soon_threadsafe(self._on_broken, failure)

    def _answer(self, batch: Sequence[_Job], results: Sequence[Any]) -> None:
        for job, result in zip(batch, results, strict=True):
            self._waiting -= 1
            self._waiting_bytes -= job.weight
            if isinstance(result, Exception):
                if not job.future.done():
                    job.future.set_exception(result)
                continue
            if job.then is not None:
                job.then(result)
            if not job.future.done():
                job.future.set_result(result)


class Checkpointer:
    """Copies the log into the database in a thread of its own, so that no webhook waits for it.

    A passive checkpoint copies what it can while the writer goes on; the log begins anew only when
    all of it was copied, which under load never happens by itself. So once the bulk is copied the
    writer copies the small rest, between two transactions.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._wanted = threading.Event()
        self._copied = threading.Event()
        self._closing = False
        self._pages = 0
        self._thread = threading.Thread(target=self._run, name="relay-checkpointer", daemon=True)
        self._thread.start()

    def log_grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """SQLite's hook after each commit, in the writer's thread."""
        self._pages = pages
        if pages >= CHECKPOINT_PAGES and not self._copied.is_set():
            self._wanted.set()
        return apsw.SQLITE_OK

    def rotate(self, database: Database) -> None:
        """Copy the rest and begin the log anew, if the bulk is copied and nobody reads it."""
        if not self._copied.is_set():
            return
        self._copied.clear()
        database.connection.set_busy_timeout(0)  # senders must not wait for a long reader, a backup
        self._checkpoint(database, apsw.SQLITE_CHECKPOINT_RESTART)
        database.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wanted.set()
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            if self._checkpoint(self._database, apsw.SQLITE_CHECKPOINT_PASSIVE):
                self._copied.set()

    @staticmethod
    def _checkpoint(database: Database, mode: int) -> bool:
        """Errors are left to the next commit, which meets the same disk and says so to senders."""
        try:
            database.connection.wal_checkpoint(mode=mode)
        except apsw.Error:
            return False
        return True
