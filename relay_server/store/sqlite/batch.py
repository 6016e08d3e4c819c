"""Jobs that are done together: a transaction for all that wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken
from relay_server.store.feed import Change
from relay_server.store.sql.jobs import Arrival, Call, Job
from relay_server.store.sqlite.arrivals import append_all
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.sequences import Sequences

# Begins each transaction, which may be for webhooks alone, and returns what is called once that was
# committed, or was not.
First = Callable[[Database, bool], Callable[[bool], None]]


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
