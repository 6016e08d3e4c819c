"""Jobs that are done together: a transaction for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import apsw
import msgspec
import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken
from relay_server.metrics import Times
from relay_server.store.feed import Change
from relay_server.store.interface import Waiter
from relay_server.store.sqlite.arrivals import Arrival, append_all
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.sequences import Sequences

log = structlog.get_logger()

T = TypeVar("T")
Operation = Callable[[Database], T]
# Begins each transaction, which may be for webhooks alone, and returns what is called once that was
# committed, or was not.
First = Callable[[Database, bool], Callable[[bool], None]]


class Call(msgspec.Struct, eq=False):
    """An operation that somebody waits for.

    Attributes:
        operation: Called inside the transaction, in the thread that writes.
        future: Done once it is committed.
        result: What came of it; an exception is raised to whoever waits.
        weight, room: As an `Arrival`'s: it takes none that is not kept for it.
    """

    operation: Operation[Any]
    future: asyncio.Future[Any]
    result: Any = None
    weight: int = 0
    room: int = 0


Job: TypeAlias = Call | Arrival


def answer(jobs: Iterable[Job]) -> None:
    """Tell whoever waits what came of it; in the event loop."""
    for job in jobs:
        if isinstance(job, Arrival):
            job.held.arriving -= job.weight
            tell(job.waiter, job.result)
        else:
            tell(job.future, job.result)


def tell(waiter: Waiter | asyncio.Future[Any], result: Any) -> None:
    """Tell who waits a result, or an exception; one that fails at it holds up no other."""
    if waiter.done():
        return  # it has gone
    try:
        if isinstance(result, Exception):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)
    except Exception as exc:
        log.error("a result could not be told", exc_info=exc)


class GroupCommit(Protocol):
    """Does what is submitted in the order it came; many at once share a transaction."""

    @property
    def broken(self) -> bool:
        """The disk or the database failed, and nothing more is written."""

    @property
    def commits(self) -> Times:
        """How long they took."""

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Have an operation done, also while there is no room for webhooks.

        What it adds to `Database.changes` is told, even if nobody waits for it any more.

        Raises:
            StoreFull: Too much waits already.
            StoreUnavailable: The writer was closed.
        """

    def append(self, arrival: Arrival) -> None:
        """Have a webhook stored; while there is no room for any it is refused at once."""

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
        self._sequences = Sequences(database)
        self._first = first

    def commit(self, batch: Sequence[Job]) -> Sequence[Change]:
        """Do jobs, webhooks first, and commit; each has its result then, or its `RelayError`.

        Returns:
            What has changed, to be told in the loop turn in which the jobs are answered.

        Raises:
            RelayError: Nothing was written, of none of them.
        """
        finish: Callable[[bool], None] | None = None
        try:
            self._database.begin()
            arrivals = [job for job in batch if isinstance(job, Arrival)]
            finish = self._first(self._database, len(arrivals) == len(batch))
            append_all(self._database, self._sequences, arrivals)
            if len(arrivals) < len(batch):
                self._sequences.settle()
            for job in batch:
                if isinstance(job, Call):
                    self._attempt(job)
            self._database.commit()
        except Exception as exc:
            if finish is not None:
                finish(False)
            failure = self._database.explain(exc) if isinstance(exc, apsw.Error) else exc
            self._undo()
            raise failure from exc
        finish(True)
        return self._database.changes

    def _undo(self) -> None:
        """What cannot be undone would go on with the next transaction."""
        self._sequences.forget()
        try:
            self._database.rollback()
        except apsw.Error as exc:
            raise StoreBroken(f"a transaction could not be undone: {exc}") from exc

    def _attempt(self, call: Call) -> None:
        try:
            call.result = call.operation(self._database)
        except StoreBroken:
            raise
        except RelayError as exc:
            call.result = exc
