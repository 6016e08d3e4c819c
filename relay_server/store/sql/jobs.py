"""What is asked of the one that writes: webhooks, operations, and who waits for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
import structlog

from relay_server.errors import StoreBroken
from relay_server.metrics import Times
from relay_server.store.cache import Held
from relay_server.store.interface import Waiter
from relay_server.values import Appended, ChannelNumber, NewEvent

log = structlog.get_logger()

T = TypeVar("T")
Operation = Callable[[Any], T]  # it is given the backend's own database


class Arrival(msgspec.Struct, eq=False):
    """A webhook to be stored, for which somebody waits.

    It needs room that is not there while the disk is full.

    Attributes:
        request: `new.request` as it is stored.
        weight: Bytes that it takes: in memory until it is stored, and in its channel then.
        room: Bytes on the disk that it needs.
        held: Its channel's, which counts it as on its way until it is answered.
        waiter: Told once it is committed.
        result: Where it is stored, or that its channel is gone.
        first: Id of the first event of the same webhook, where this is a repeat.
        conflict: Another event has the same sender's id and another body.
    """

    channel: ChannelNumber
    new: NewEvent
    request: bytes
    weight: int
    room: int
    held: Held
    waiter: Waiter
    result: Appended | Exception | None = None
    first: str | None = None
    conflict: bool = False


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


def answer(jobs: Iterable[Job]) -> int:
    """Tell whoever waits what came of it, in the event loop; the bytes that waited with them."""
    weight = 0
    for job in jobs:
        if isinstance(job, Arrival):
            weight += job.weight
            job.held.arriving -= job.weight
            tell(job.waiter, job.result)
        else:
            tell(job.future, job.result)
    return weight


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
