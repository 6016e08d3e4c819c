"""Operations that are done together: a transaction for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken
from relay_server.store.feed import Change
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.pending import Fits

T = TypeVar("T")
Item = TypeVar("Item")
Operation = Callable[[Database], T]
BulkOperation = Callable[[Database, Sequence[Item]], Sequence[T | RelayError]]
# Begins each transaction, and returns what is called once that was committed, or was not; it says
# what has changed by that.
First = Callable[[Database], Callable[[bool], Sequence[Change]]]

ALONE = object()  # stands for no item


@dataclass(frozen=True, slots=True)
class Job:
    """An operation that somebody waits for; with an item, done together with others of its kind.

    Attributes:
        operation: What to do, inside a transaction.
        item: What a bulk operation is to do it with; `ALONE` where it is no bulk operation.
        then: Called with the result in the event loop, even if nobody waits any more; that of a
            bulk operation once a transaction, with all results.
        future: Done once it is committed.
        weight: Bytes that wait in memory until it is written.
    """

    operation: Callable[..., Any]
    item: Any
    then: Callable[[Any], None] | None
    future: asyncio.Future[Any]
    weight: int

    @property
    def arrives(self) -> bool:
        """True for a webhook: it needs room that is not there while the disk is full."""
        return self.item is not ALONE

    def answer(self, result: Any) -> None:
        """Tell what came of it; an exception is raised to whoever waits."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


def publish(batch: Sequence[Job], results: Sequence[Any]) -> None:
    """Call what is to hear of results, in the event loop: of webhooks first, as they were done."""
    bulks: dict[Callable[[Any], None], list[Any]] = {}
    alone = list[tuple[Callable[[Any], None], Any]]()
    for job, result in zip(batch, results, strict=True):
        if job.then is None or isinstance(result, Exception):
            continue
        if job.arrives:
            bulks.setdefault(job.then, []).append(result)
        else:
            alone.append((job.then, result))
    for then, result in (*bulks.items(), *alone):
        then(result)


class GroupCommit(Protocol):
    """Does operations in transactions, all that wait in one.

    The thread of `Writer` does; without a thread it can be done where it is asked for.
    """

    @property
    def broken(self) -> bool:
        """True once the disk or the database failed."""

    def submit(
        self,
        operation: Operation[T],
        then: Callable[[T], None] | None = None,
        weight: int = 0,
    ) -> asyncio.Future[T]:
        """Have an operation done; the future is done once it is committed.

        Args:
            operation: Called inside a transaction, in the thread that writes.
            then: Called with the result in the event loop, even if nobody waits any more.
            weight: Bytes that wait in memory until it is written.

        Raises:
            StoreFull: Too much waits already.
            StoreUnavailable: The writer was closed.
        """

    def submit_bulk(
        self,
        operation: BulkOperation[Item, T],
        item: Item,
        then: Callable[[Sequence[T]], None],
        weight: int = 0,
    ) -> asyncio.Future[T]:
        """Like `submit`, for webhooks: the operation does all items of a transaction in one call.

        It returns a result for each item, in order; an item's `RelayError` stands for what it
        would have raised; `then` is called with all the others. While there is no room for
        webhooks they are refused at once.
        """

    def fits(self) -> Fits | None:
        """What progress there is room for; None while there is plenty."""

    def fail(self, error: StoreBroken) -> None:
        """Believe nothing that is written or read from now on; from any thread."""

    async def close(self) -> None:
        """Do what was submitted, and end."""


class Batches:
    """Does jobs on a database, those that it is given together in one transaction.

    An operation that raises a `RelayError` must not have written anything: the others of its
    transaction are kept.

    Args:
        database: Nobody else may use it meanwhile.
        first: Called inside each transaction before all jobs.
    """

    def __init__(self, database: Database, first: First) -> None:
        self._database = database
        self._first = first

    def commit(self, batch: Sequence[Job]) -> tuple[list[Any], Sequence[Change]]:
        """Do jobs, and commit.

        Returns:
            Their results, in order; a job's own `RelayError` is the result of it. And what `first`
            has changed.

        Raises:
            RelayError: Nothing was written, of none of them.
        """
        finish: Callable[[bool], Sequence[Change]] | None = None
        try:
            self._database.begin()
            finish = self._first(self._database)
            results = self._perform(batch)
            self._database.commit()
        except Exception as exc:
            if finish is not None:
                finish(False)
            failure = self._database.explain(exc) if isinstance(exc, apsw.Error) else exc
            self._undo()
            raise failure from exc
        return results, finish(True)

    def _undo(self) -> None:
        """What cannot be undone would go on with the next transaction."""
        try:
            self._database.rollback()
        except apsw.Error as exc:
            raise StoreBroken(f"a transaction could not be undone: {exc}") from exc

    def _perform(self, batch: Sequence[Job]) -> list[Any]:
        """Do every job, items of one operation together; results are in the order of the jobs."""
        bulks: dict[Callable[..., Any], list[Job]] = {}
        for job in batch:
            if job.arrives:
                bulks.setdefault(job.operation, []).append(job)
        done = {
            operation: iter(operation(self._database, [job.item for job in jobs]))
            for operation, jobs in bulks.items()
        }
        return [next(done[job.operation]) if job.arrives else self._attempt(job) for job in batch]

    def _attempt(self, job: Job) -> Any:
        try:
            return job.operation(self._database)
        except StoreBroken:
            raise
        except RelayError as exc:
            return exc
