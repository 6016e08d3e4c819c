"""The two threads that write: one stores webhooks, the other does all else.

    event loop                    relay-append: a link of its own
    append ─▶ `Appending` ─▶ answers, feed, other replicas
    submit ─▶ queue ─ all that waits ─▶ BEGIN, progress, operations, COMMIT ─▶ the same
                                  relay-operate: a link of its own

No webhook waits for a clean-up: the row of its channel is all that both may want at once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

from relay_protocol.errors import RelayError
from relay_server.errors import StoreBroken, StoreUnavailable
from relay_server.metrics import COMMIT_BUCKETS, Times
from relay_server.store.bodies import BodyKeys
from relay_server.store.feed import Change
from relay_server.store.interface import Space
from relay_server.store.postgres.appending import Appending
from relay_server.store.postgres.database import Database
from relay_server.store.postgres.finding import LinkLost
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.neighbours import raise_version
from relay_server.store.postgres.spool import Spool
from relay_server.store.postgres.waiting import Queue
from relay_server.store.sql.jobs import Arrival, Call, Operation

T = TypeVar("T")
First = Callable[[Database], Callable[[bool], None]]


class Writer:
    """A `GroupCommit` on PostgreSQL.

    Args:
        connect: Makes the link of a thread, by its name.
        first: Called inside each transaction of operations, first.
        tell: Called in the event loop with each change that was committed.
        tell_others: Called in a thread that writes, with its link, what was committed, and the
            catalogue's version where that changed.
        on_broken: Called once, in the event loop, when the database or the spool's disk failed.
        spool: Where webhooks wait while the database is away.
        bodies: Seals what is stored of them.
        space: Told how much waits there.
    """

    def __init__(
        self,
        connect: Callable[[str], Link],
        first: First,
        tell: Callable[[Change], None],
        tell_others: Callable[[Link, Sequence[Change], int | None], None],
        on_broken: Callable[[StoreBroken], None],
        spool: Spool,
        bodies: BodyKeys,
        space: Space,
    ) -> None:
        self.commits = Times(COMMIT_BUCKETS)
        self._connect = connect
        self._bodies = bodies
        self._first = first
        self._tell = tell
        self._tell_others = tell_others
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._broken: StoreBroken | None = None
        self._taking, self._closed = True, False
        self._operating: Link | None = None
        link = functools.partial(connect, "append")
        self._appending = Appending(link, spool, bodies, space, tell, tell_others, self.fail)
        self._calls = Queue[Call]("relay-operate", self._operate)

    @property
    def broken(self) -> bool:
        return self._broken is not None

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        self._check()
        call = Call(operation, self._loop.create_future())
        self._calls.put(call)
        return call.future

    def append(self, arrival: Arrival) -> None:
        self._check()
        if not self._taking:
            raise StoreUnavailable("the store is closed")
        self._appending.put(arrival)

    def limit(self, reason: str) -> None:
        """Have it said why no webhook is taken, or that they are again."""
        self._appending.limit(reason)

    def lean_rows(self) -> int | None:
        return None

    def fail(self, error: StoreBroken) -> None:
        if self._broken is None:
            self._broken = error
            self._loop.call_soon_threadsafe(self._on_broken, error)

    async def close_appending(self) -> None:
        """Store no more webhooks, once those that wait are stored or spooled."""
        self._taking = False
        await self._appending.close(abandon=self.broken)

    async def close(self) -> None:
        self._closed = True
        await self._calls.close()
        if self._operating is not None:
            self._operating.close()

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._broken is not None:
            raise self._broken

    # In the thread that does all else

    def _operate(self, batch: Sequence[Call]) -> None:
        changes: Sequence[Change] = ()
        version: int | None = None
        try:
            changes, version = self._commit(batch)
        except Exception as exc:  # noqa: BLE001  (what is refused to one must not fail its neighbours)
            if len(batch) > 1 and not isinstance(exc, LinkLost | StoreBroken):
                for call in batch:
                    self._operate([call])
                return
            if isinstance(exc, StoreBroken):
                self.fail(exc)
            self._refuse(batch, exc)
        self._loop.call_soon_threadsafe(self._answer, batch, changes)
        if changes and self._operating is not None:
            self._tell_others(self._operating, changes, version)

    def _commit(self, batch: Sequence[Call]) -> tuple[Sequence[Change], int | None]:
        """Do operations in a transaction: what has changed, and the catalogue's version if that."""
        database, finish = self._begin(), None
        try:
            finish = self._first(database)
            for call in batch:
                self._attempt(call, database)
            version = raise_version(database)
            database.commit()
        except BaseException:
            if finish is not None:
                finish(False)
            if not database.link.ended:
                database.link.rollback()
            raise
        finish(True)
        return database.changes, version

    def _begin(self) -> Database:
        """An open transaction; a link may have been lost long ago, and nobody has asked since."""
        kept = self._operating is not None and not self._operating.ended
        if self._operating is None or not kept:
            self._operating = self._connect("operate")
        database = Database(self._operating, self._bodies)
        database.commits = self.commits
        try:
            database.begin()
        except LinkLost:
            if not kept:
                raise
            return self._begin()
        except BaseException:
            database.link.rollback()
            raise
        return database

    def _attempt(self, call: Call, database: Database) -> None:
        try:
            call.result = call.operation(database)
        except (StoreUnavailable, StoreBroken):
            raise
        except RelayError as exc:
            call.result = exc

    def _refuse(self, batch: Sequence[Call], failure: Exception) -> None:
        for call in batch:
            call.result = failure

    # In the event loop

    def _answer(self, batch: Sequence[Call], changes: Sequence[Change]) -> None:
        self._calls.answer(batch)
        for change in changes:
            self._tell(change)
