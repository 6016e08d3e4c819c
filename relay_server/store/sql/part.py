"""What the parts of the store share: the threads in which their methods work.

A part implements one protocol of `interface`. Its method is written as it works on the database,
and the decorator says where that is done. Whoever calls it gives all but the database, and awaits:

    @writes    in the writer's thread, in a transaction; `Database.changes` says what it changed
    @asks      in a thread for short questions, on which deliveries or a sender wait
    @reports   in another for what people ask, and clean-up, which may take long

Any number of connections read beside the one that writes, each as of its last commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from relay_server.errors import StoreBroken, StoreFull, StoreReadOnly
from relay_server.store.cache import Cache
from relay_server.store.interface import Space
from relay_server.store.sql.database import Database
from relay_server.store.sql.jobs import GroupCommit, Operation
from relay_server.store.sql.pending import Pending

P = ParamSpec("P")
T = TypeVar("T")


class Reading(Protocol):
    """Asks a database."""

    @property
    def database(self) -> Database:
        """For what is asked while the store is opened."""

    async def ask(self, query: Operation[T]) -> T:
        """Have a question answered, after those that were asked before."""

    async def close(self, *, abandon: bool) -> None:
        """Answer what was asked, and close; abandon the files of a failed disk as they are."""


class Part:
    """What each part of the store works with.

    Attributes:
        pending: Progress that waits to be written.
    """

    _cache: Cache
    _pending: Pending
    _writer: GroupCommit
    _reading: Reading
    _reports: Reading
    space: Space

    async def flush(self) -> None:
        await self._writer.submit(nothing)
        while self._pending.left:
            await self._writer.submit(nothing)

    async def flush_if_possible(self) -> None:
        with suppress(StoreFull, StoreReadOnly):
            await self.flush()

    async def guarded(self, answer: Awaitable[T]) -> T:
        """What is read wrong, is not to be written on."""
        try:
            return await answer
        except StoreBroken as exc:
            self._writer.fail(exc)
            raise


S = TypeVar("S", bound=Part)
D = TypeVar("D", bound=Database)
Method = Callable[Concatenate[S, D, P], T]
Asked = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def writes(method: Method[S, D, P, T]) -> Asked[S, P, T]:
    """Have a method work in the writer's thread."""

    async def submit(self: S, /, *args: P.args, **values: P.kwargs) -> T:
        return await self._writer.submit(lambda db: method(self, db, *args, **values))

    return submit


def asks(method: Method[S, D, P, T]) -> Asked[S, P, T]:
    """Have a method answer a short question."""

    async def ask(self: S, /, *args: P.args, **values: P.kwargs) -> T:
        question = self._reading.ask(lambda db: method(self, db, *args, **values))
        return await self.guarded(question)

    return ask


def reports(method: Method[S, D, P, T]) -> Asked[S, P, T]:
    async def report(self: S, /, *args: P.args, **values: P.kwargs) -> T:
        question = self._reports.ask(lambda db: method(self, db, *args, **values))
        return await self.guarded(question)

    return report


def reports_progress(method: Method[S, D, P, T]) -> Asked[S, P, T]:
    """The same, once the progress that was recorded before is written, if it can be."""
    answered = reports(method)

    async def report(self: S, /, *args: P.args, **values: P.kwargs) -> T:
        await self.flush_if_possible()
        return await answered(self, *args, **values)

    return report


def nothing(_database: Database) -> None:
    """Progress that waits is written before any operation, so also before this one."""
