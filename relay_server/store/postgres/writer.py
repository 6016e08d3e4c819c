"""The two threads that write: one stores webhooks, the other does all else.

    event loop                    relay-append: a link of its own
    append ─▶ queue ─ all that waits ─▶ append_v1, one call ─▶ answers, feed, other replicas
    submit ─▶ queue ─ all that waits ─▶ BEGIN, progress, operations, COMMIT ─▶ the same
                                  relay-operate: a link of its own

A commit is a round trip, and with a standby a second one behind it. So all webhooks that came since
the last call go with the next (group commit), and no webhook waits for a clean-up: the row of its
channel is all that both may want at once.

A call whose end nobody knows (`LinkLost`) is made again, by another link and under the same ids, so
that nothing is stored twice. Where that fails, too, the webhooks are refused: each sender has been
told so already, or is now.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Generic, TypeVar

import structlog

from relay_protocol.errors import RelayError
from relay_protocol.values import EventHead, RequestHead
from relay_server.errors import (
    ChannelFull,
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from relay_server.metrics import COMMIT_BUCKETS, Times
from relay_server.store.bodies import crc
from relay_server.store.feed import Change, EventsStored
from relay_server.store.postgres.database import Database
from relay_server.store.postgres.link import Link, LinkLost
from relay_server.store.postgres.neighbours import raise_version
from relay_server.store.sql.jobs import Arrival, Call, Operation, answer
from relay_server.store.sql.positions import sequence_of
from relay_server.values import Appended, Event

log = structlog.get_logger()

T = TypeVar("T")
JobT = TypeVar("JobT", Arrival, Call)
First = Callable[[Database], Callable[[bool], None]]

MAX_BATCH = 256  # webhooks, or operations, at once
MAX_BATCH_BYTES = 4_194_304  # bodies and heads of webhooks, or one that is larger
MAX_WAITING = 4_096  # that wait; one more is refused, a webhook with 429 or 503
MAX_WAITING_BYTES = 67_108_864  # their bodies and heads: the same
APPEND = (
    "SELECT * FROM relay.append_v1(%s::boolean, %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[],"
    " %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[])"
)
NO_LIMIT = (1 << 62) - 1


class Queue(Generic[JobT]):
    """What waits for a thread that does jobs, some at once.

    Args:
        name: The thread's.
        do: Called in it with what waits, up to a batch.
    """

    def __init__(self, name: str, do: Callable[[Sequence[JobT]], None]) -> None:
        self._do: Callable[[Sequence[JobT]], None] = do
        self._queue: queue.SimpleQueue[JobT | None] = queue.SimpleQueue()  # None at its end
        self._waiting = self._waiting_bytes = 0  # in the event loop
        self._held: JobT | None = None  # taken out of the queue, too large for the batch before
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: JobT) -> None:
        """Have a job done; raises StoreFull."""
        if self._waiting >= MAX_WAITING or self._waiting_bytes + job.weight > MAX_WAITING_BYTES:
            raise StoreFull("more waits to be written than the database takes")
        self._waiting += 1
        self._waiting_bytes += job.weight
        self._queue.put(job)

    def answer(self, batch: Sequence[JobT]) -> None:
        """Tell whoever waits for these; in the event loop."""
        self._waiting -= len(batch)
        self._waiting_bytes -= sum([job.weight for job in batch])
        answer(batch)

    async def close(self) -> None:
        """Do what waits, and end."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._ended or self._held is not None:
            if batch := self._take():
                self._do(batch)

    def _take(self) -> list[JobT]:
        job = self._held or self._queue.get()
        self._held = None
        batch, size = list[JobT](), 0
        while job is not None:
            size += job.weight
            if batch and size > MAX_BATCH_BYTES:
                self._held = job
                return batch
            batch.append(job)
            if len(batch) == MAX_BATCH or self._queue.empty():
                return batch
            job = self._queue.get()
        self._ended = True
        return batch


class Writer:
    """A `GroupCommit` on PostgreSQL.

    Args:
        connect: Makes the link of a thread, by its name.
        first: Called inside each transaction of operations, first.
        tell: Called in the event loop with each change that was committed.
        tell_others: Called in a thread that writes, with its link, what was committed, and the
            catalogue's version where that changed.
        on_broken: Called once, in the event loop, when the database failed.
    """

    def __init__(
        self,
        connect: Callable[[str], Link],
        first: First,
        tell: Callable[[Change], None],
        tell_others: Callable[[Link, Sequence[Change], int | None], None],
        on_broken: Callable[[StoreBroken], None],
    ) -> None:
        self.commits = Times(COMMIT_BUCKETS)
        self._connect = connect
        self._first = first
        self._tell = tell
        self._tell_others = tell_others
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._broken: StoreBroken | None = None
        self._closed = False
        self._appending: Link | None = None
        self._operating: Link | None = None
        self._arrivals = Queue[Arrival]("relay-append", self._append)
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
        self._arrivals.put(arrival)

    def lean_rows(self) -> int | None:
        return None

    def fail(self, error: StoreBroken) -> None:
        if self._broken is None:
            self._broken = error
            self._loop.call_soon_threadsafe(self._on_broken, error)

    async def close(self) -> None:
        self._closed = True
        await self._arrivals.close()
        await self._calls.close()
        for link in (self._appending, self._operating):
            if link is not None:
                link.close()

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._broken is not None:
            raise self._broken

    # In the thread that stores webhooks

    def _append(self, batch: Sequence[Arrival]) -> None:
        # Those of a channel one after the other, in the order in which they came.
        batch = sorted(batch, key=attrgetter("channel"))
        changes: Sequence[Change] = ()
        try:
            changes = self._stored(batch, self._call_append(batch))
        except RelayError as exc:
            self._refuse(batch, exc)
        except Exception as exc:  # a thread that is gone would keep all waiting
            log.error("webhooks could not be stored", exc_info=exc)
            self._refuse(batch, StoreUnavailable(f"the webhook could not be stored: {exc!r}"))
        self._loop.call_soon_threadsafe(self._answer, self._arrivals, batch, changes)
        if changes and self._appending is not None:
            self._tell_others(self._appending, changes, None)

    def _call_append(self, batch: Sequence[Arrival]) -> list[tuple[Any, ...]]:
        try:
            return self._append_link().called(APPEND, _columns(batch, again=False))
        except LinkLost:
            return self._append_link().called(APPEND, _columns(batch, again=True))

    def _append_link(self) -> Link:
        if self._appending is None or self._appending.ended:
            self._appending = self._connect("append")
        return self._appending

    def _stored(self, batch: Sequence[Arrival], rows: Sequence[Any]) -> list[Change]:
        """Give each its result; what is to be told of it, channel by channel."""
        changes = list[Change]()
        each = zip(batch, rows, strict=True)
        for channel, pairs in groupby(each, lambda pair: pair[0].channel):
            events, weights = list[Event](), list[int]()
            for arrival, (state, place, event, first, differs) in pairs:
                arrival.result = _result(arrival, state, place, event)
                if state == "s":
                    new, sequence = arrival.new, sequence_of(place)
                    head = EventHead(
                        new.id, sequence, new.received_at, new.key, new.kind, new.request
                    )
                    events.append(Event(channel, head, new.body, differs, first))
                    weights.append(arrival.weight)
            if events:
                last = events[-1].head.sequence
                changes.append(EventsStored(channel, last, tuple(events), tuple(weights)))
        return changes

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
        self._loop.call_soon_threadsafe(self._answer, self._calls, batch, changes)
        if changes and self._operating is not None:
            self._tell_others(self._operating, changes, version)

    def _commit(self, batch: Sequence[Call]) -> tuple[Sequence[Change], int | None]:
        """Do operations in a transaction: what has changed, and the catalogue's version if that."""
        if self._operating is None or self._operating.ended:
            self._operating = self._connect("operate")
        database, finish = Database(self._operating), None
        database.commits = self.commits
        try:
            database.begin()
            finish = self._first(database)
            for call in batch:
                self._attempt(call, database)
            version = raise_version(database)
            database.commit()
        except BaseException:
            if finish is not None:
                finish(False)
            if not self._operating.ended:
                self._operating.rollback()
            raise
        finish(True)
        return database.changes, version

    def _attempt(self, call: Call, database: Database) -> None:
        try:
            call.result = call.operation(database)
        except (StoreUnavailable, StoreBroken):
            raise
        except RelayError as exc:
            call.result = exc

    # In both, and in the event loop

    def _refuse(self, batch: Sequence[JobT], failure: Exception) -> None:
        for job in batch:
            job.result = failure

    def _answer(
        self, waiting: Queue[JobT], batch: Sequence[JobT], changes: Sequence[Change]
    ) -> None:
        # A sender waits for its answer, and what a reader does first it would wait for as well.
        waiting.answer(batch)
        for change in changes:
            self._tell(change)


def _result(arrival: Arrival, state: str, place: int, event: str) -> Appended | RelayError:
    match state:
        case "g":
            return ChannelNotFound(f"number {arrival.channel}")
        case "f":
            limit = arrival.held.channel.config.max_bytes or 0
            arrival.held.refuse(arrival.weight, limit)
            return ChannelFull(limit)
        case _:
            return Appended(event, sequence_of(place), duplicate=state == "d")


def _columns(batch: Sequence[Arrival], *, again: bool) -> tuple[Any, ...]:
    """The webhooks as `append_v1` takes them: a list for each column."""
    rows = [_row(arrival) for arrival in batch]
    return (again, *map(list, zip(*rows, strict=True)))


def _row(arrival: Arrival) -> tuple[Any, ...]:
    new, limit = arrival.new, arrival.held.channel.config.max_bytes
    return (
        arrival.channel,
        arrival.window_ms,
        NO_LIMIT if limit is None else limit,
        new.id,
        new.received_at,
        len(new.body),
        new.key,
        new.kind,
        new.sender_id,
        None if new.sender_id is None else digest_of(new.request, new.body),
        arrival.request,
        new.body,
        crc(arrival.request, crc(new.body)),
        None,
    )


def digest_of(request: RequestHead, body: bytes) -> bytes:
    """Stands for a body, in its first half, and for method and target, in the second."""
    line = f"{request.method} {request.request_target}".encode()
    return hashlib.sha256(body).digest()[:16] + hashlib.sha256(line).digest()[:16]
