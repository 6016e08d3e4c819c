"""Jobs that are done together: a transaction for all that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken
from relay_server.store.feed import Change
from relay_server.store.sql.jobs import Arrival, Call, Job
from relay_server.store.sqlite.arrivals import append
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.sequences import Sequences
from relay_server.values import ChannelNumber

# Begins each transaction, which may be for webhooks alone, and returns what is called once that was
# committed, or was not, if anything is to be.
First = Callable[[Database, bool], Callable[[bool], None] | None]


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
        webhooks, calls = _sorted(batch)
        database, finish = self._database, None
        try:
            database.begin()
            finish = self._first(database, not calls)
            for channel, arrivals in webhooks.items():
                append(database, self._sequences, channel, arrivals)
            if calls:
                self._sequences.settle()
                for call in calls:
                    self._attempt(call)
            database.commit()
        except Exception as exc:
            if finish is not None:
                finish(False)
            failure = database.explain(exc) if isinstance(exc, apsw.Error) else exc
            self._undo(webhooks.values())
            raise failure from exc
        if finish is not None:
            finish(True)
        return database.changes

    def _undo(self, webhooks: Iterable[Iterable[Arrival]]) -> None:
        """What cannot be undone would go on with the next transaction."""
        self._sequences.forget()
        for arrivals in webhooks:
            for arrival in arrivals:  # what it repeats may not be there when it is tried again
                arrival.first, arrival.conflict = None, False
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


def _sorted(batch: Iterable[Job]) -> tuple[dict[ChannelNumber, list[Arrival]], list[Call]]:
    """The webhooks of each channel, and the operations, each in their order."""
    webhooks: dict[ChannelNumber, list[Arrival]] = {}
    calls: list[Call] = []
    for job in batch:
        if isinstance(job, Call):
            calls.append(job)
        else:
            webhooks.setdefault(job.channel, []).append(job)
    return webhooks, calls
