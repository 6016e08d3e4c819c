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
from relay_server.store.sqlite.arrivals import Arrival, Stored, append_all
from relay_server.store.sqlite.database import Database

T = TypeVar("T")
Operation = Callable[[Database], T]
# Begins each transaction, and returns what is called once that was committed, or was not; it says
# what has changed by that.
First = Callable[[Database], Callable[[bool], Sequence[Change]]]


@dataclass(frozen=True, slots=True)
class Job:
    """Something to write that somebody waits for: an operation, or a webhook.

    Attributes:
        work: What to do, inside a transaction, or what to store.
        then: Called with the result in the event loop, even if nobody waits any more; for webhooks
            once a transaction, with all that were stored.
        future: Done once it is committed.
    """

    work: Operation[Any] | Arrival
    then: Callable[[Any], None] | None
    future: asyncio.Future[Any]

    @property
    def arrives(self) -> bool:
        """True for a webhook: it needs room that is not there while the disk is full."""
        return isinstance(self.work, Arrival)

    @property
    def weight(self) -> int:
        """Bytes that wait in memory until it is written."""
        return self.work.weight if isinstance(self.work, Arrival) else 0

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
    stored: dict[Callable[[Any], None], list[Any]] = {}
    others = list[tuple[Callable[[Any], None], Any]]()
    for job, result in zip(batch, results, strict=True):
        if job.then is None or isinstance(result, Exception):
            continue
        if job.arrives:
            stored.setdefault(job.then, []).append(result)
        else:
            others.append((job.then, result))
    for then, result in (*stored.items(), *others):
        then(result)


class GroupCommit(Protocol):
    """Does operations in transactions, all that wait in one.

    The thread of `Writer` does; without a thread it can be done where it is asked for.
    """

    @property
    def broken(self) -> bool:
        """True once the disk or the database failed."""

    def submit(
        self, operation: Operation[T], then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        """Have an operation done; the future is done once it is committed.

        Args:
            operation: Called inside a transaction, in the thread that writes.
            then: Called with the result in the event loop, even if nobody waits any more.

        Raises:
            StoreFull: Too much waits already.
            StoreUnavailable: The writer was closed.
        """

    def append(
        self, arrival: Arrival, then: Callable[[Sequence[Stored]], None]
    ) -> asyncio.Future[Stored]:
        """Have a webhook stored; while there is no room for any it is refused at once.

        Args:
            arrival: The webhook.
            then: As of `submit`, but called once a transaction, with all that were stored.
        """

    def lean_rows(self) -> int | None:
        """Rows of progress that there is room for; None while there is plenty."""

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
        """Do every job, webhooks together; results are in the order of the jobs."""
        arrivals = [job.work for job in batch if isinstance(job.work, Arrival)]
        stored = iter(append_all(self._database, arrivals) if arrivals else ())
        return [
            next(stored) if isinstance(job.work, Arrival) else self._attempt(job.work)
            for job in batch
        ]

    def _attempt(self, operation: Operation[Any]) -> Any:
        try:
            return operation(self._database)
        except StoreBroken:
            raise
        except RelayError as exc:
            return exc
