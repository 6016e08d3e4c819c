"""The one thread that writes: all that waits goes into one transaction.

How it works. An fsync takes a millisecond or ten, whatever it makes safe. So there is one for all
that came since the last (group commit), and who comes meanwhile waits for the next:

    event loop                          writer's thread
    append ─┐                           ┌─ room for the webhooks? ───────────── no ──┐
            ├─▶ queue ─▶ backlog ──────▶│  BEGIN, progress, webhooks, operations,    │
    submit ─┘              a batch of   │  COMMIT with its fsync of the log          │
                           `MAX_BATCH`  └─ a look at the log and at the room         │
    futures, listeners ◀── stored ──────────────┘          ◀────── refused ──────────┘

Waits are bounded in number and in bytes: beyond that a webhook is refused before it is queued.

A transaction that fails is undone whole. Then:

- the disk failed: nothing can be believed any more. All are told so, and the server stops;
- no room: webhooks are refused, those that wait, too, and the rest is tried again: for progress,
  clean-up and commands some room was kept (`room` says how);
- read-only: all are refused, webhooks until it can be written to again;
- anything else is of one operation: each is done alone, so that it fails alone.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from relay_server.errors import StoreBroken, StoreFull, StoreReadOnly, StoreUnavailable
from relay_server.metrics import Times
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.feed import Change
from relay_server.store.interface import Space
from relay_server.store.sql.jobs import Arrival, Call, Job, Operation, answer
from relay_server.store.sqlite.batch import Batches, First
from relay_server.store.sqlite.checkpointer import Checkpointer
from relay_server.store.sqlite.database import Database, begun_log
from relay_server.store.sqlite.integrity import Identity
from relay_server.store.sqlite.room import BATCH_BYTES, Room

log = structlog.get_logger()

T = TypeVar("T")

MAX_BATCH = 256  # operations in one transaction
MAX_WAITING = 4_096  # operations that wait; one more is refused, a webhook with 429 or 503
MAX_WAITING_BYTES = 67_108_864  # their bodies and heads: the same


class Writer:
    """A `GroupCommit` in a thread of its own.

    Args:
        path: The database.
        first: Called in the writer's thread inside each transaction, first.
        on_broken: Called once, in the event loop, when the disk or the database failed.
        tell: Called in the event loop with each change that was committed.
        space: Told whether there is room.
        max_bytes: What the database may grow to; 0 for no cap.
        bodies: Seals what is stored of them.
    """

    def __init__(
        self,
        path: Path,
        first: First,
        on_broken: Callable[[StoreBroken], None],
        tell: Callable[[Change], None] = lambda _: None,
        space: Space | None = None,
        max_bytes: int = 0,
        bodies: BodyKeys = IN_THE_CLEAR,
    ) -> None:
        self._on_broken = on_broken
        self._tell_change = tell
        self._loop = asyncio.get_running_loop()
        # One at a time, and none at its end: that only wakes the thread.
        self._queue: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
        self._backlog: deque[Job] = deque()  # taken out of the queue, by the thread alone
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._broken: StoreBroken | None = None
        self._space = space or Space()
        self._database = Database(path, bodies=bodies)
        self._batches = Batches(self._database, first)
        self._identity = Identity((path, begun_log(self._database)))
        self._room = Room(path, max_bytes, self._tell_space)
        self._room.begin(self._database)
        self._checkpointer = Checkpointer(path, self.fail)
        self._database.connection.set_wal_hook(self._checkpointer.log_grew)
        self._database.on_wipe = self._checkpointer.wipe
        self._thread = threading.Thread(target=self._run, name="relay-writer", daemon=True)
        self._thread.start()

    @property
    def commits(self) -> Times:
        return self._database.commits

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        call = Call(operation, self._loop.create_future())
        self._enqueue(call)
        return call.future

    def append(self, arrival: Arrival) -> None:
        if (refusal := self._room.refusal) is not None:
            raise type(refusal)(str(refusal))
        self._enqueue(arrival)

    def _enqueue(self, job: Job) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._broken is not None:
            raise self._broken  # nothing that is written now can be believed
        if self._waiting >= MAX_WAITING or self._waiting_bytes + job.weight > MAX_WAITING_BYTES:
            raise StoreFull("more waits to be written than the disk takes")
        self._waiting += 1
        self._waiting_bytes += job.weight
        self._queue.put((job,))

    @property
    def broken(self) -> bool:
        return self._broken is not None

    def lean_rows(self) -> int | None:
        return self._room.lean_rows()

    def fail(self, error: StoreBroken) -> None:
        if self._broken is None:
            self._broken = error
            self._loop.call_soon_threadsafe(self._on_broken, error)

    async def close(self) -> None:
        self._closed = True
        self._queue.put(())
        await asyncio.to_thread(self._thread.join)
        if self.broken:
            self._database.abandon()
        self._database.close()
        self._checkpointer.close(abandon=self.broken)

    def _run(self) -> None:
        while self._backlog or not (self._closed and self._queue.empty()):
            batch, room = self._take()
            try:
                if batch:
                    self._commit(batch, room)
            except Exception as exc:  # noqa: BLE001  (a thread that is gone would keep all waiting)
                failure = StoreBroken(f"the store's writer failed: {exc!r}")
                self.fail(failure)
                self._refuse(batch, failure)
            self._keep_house()

    def _take(self) -> tuple[Sequence[Job], int]:
        """What waits, up to a batch, and the room that it needs.

        Nothing when it is time to look at the room instead.
        """
        backlog = self._backlog
        if not backlog:
            try:
                backlog += self._queue.get(timeout=self._room.wait_s())
            except queue.Empty:
                return (), 0
        self._receive_all()
        batch: list[Job] = []
        needed = 0
        while backlog and len(batch) < MAX_BATCH:
            room = backlog[0].room
            if batch and needed + room > BATCH_BYTES:
                break
            needed += room
            batch.append(backlog.popleft())
        return batch, needed

    def _receive_all(self) -> None:
        while not self._queue.empty():
            self._backlog += self._queue.get_nowait()

    def _keep_house(self) -> None:
        """Look at the log and the room, after each transaction; mostly there is nothing to do."""
        if self._broken is not None or not (self._checkpointer.due or self._room.tight):
            return
        try:
            if self._room.refusal is None:
                self._checkpointer.rotate(self._database, tight=self._room.tight)
                if self._checkpointer.short and self._room.plenty:
                    self._checkpointer.lengthen(self._database)
            else:
                self._checkpointer.fold(self._database)
            if self._room.tight:
                self._room.look(self._database)
        except StoreBroken as exc:
            self.fail(exc)
        except Exception as exc:  # without this thread every sender waits for ever
            log.error("a look at the room failed", exc_info=exc)

    def _commit(self, batch: Sequence[Job], room: int) -> None:
        """Do jobs, whose webhooks need so much room."""
        if self._broken is not None:
            self._refuse(batch, self._broken)
            return
        try:
            if room and (
                refusal := self._room.refusal_for(self._database, room, self._checkpointer)
            ):
                self._refuse_waiting()
                batch = self._refuse_arrivals(batch, refusal)
                if not batch:
                    return
            changes = self._batches.commit(batch)
        except Exception as exc:  # noqa: BLE001  (without this thread every sender waits for ever)
            self._recover(batch, exc)
        else:
            self._loop.call_soon_threadsafe(self._answer_stored, batch, changes)

    def _recover(self, batch: Sequence[Job], failure: Exception) -> None:
        """What SQLite refuses to one must not fail its neighbours, unless the disk refuses all."""
        match failure:
            case StoreBroken():
                self._refuse(batch, failure)
                self.fail(failure)
            case StoreFull():
                self._make_room(batch, failure)
            case StoreReadOnly():
                self._refuse(batch, failure)
                self._room.refuse(self._database, failure)
                self._refuse_waiting()
            case _ if len(batch) > 1:
                for job in batch:
                    self._commit([job], job.room)
            case _:
                self._refuse(batch, failure)

    def _make_room(self, batch: Sequence[Job], failure: StoreFull) -> None:
        """Refuse webhooks, and try the rest again: leaner, then with the reserve's place, too."""
        was_taking, rest = self._room.taking, self._refuse_arrivals(batch, failure)
        self._room.refuse(self._database)
        self._refuse_waiting()
        again = was_taking or self._room.give_up_reserve()
        self._checkpointer.fold(self._database)
        if not again:
            self._refuse(rest, failure)
        elif rest:
            self._commit(rest, 0)

    def _refuse_waiting(self) -> None:
        """Once no webhooks are taken, tell those that wait: to fold a large log takes a while."""
        if self._room.refusal is not None:
            self._receive_all()
            self._backlog = deque(self._refuse_arrivals(self._backlog, self._room.refusal))

    def _refuse_arrivals(self, batch: Iterable[Job], failure: Exception) -> list[Job]:
        """Refuse the webhooks among these; returns the others."""
        jobs = list(batch)
        self._refuse([job for job in jobs if isinstance(job, Arrival)], failure)
        return [job for job in jobs if not isinstance(job, Arrival)]

    def _refuse(self, batch: Sequence[Job], failure: Exception) -> None:
        if batch:
            self._loop.call_soon_threadsafe(self._fail, batch, failure)

    def _tell_space(self, reason: str) -> None:
        self._loop.call_soon_threadsafe(self._space.change, reason)

    def _answer_stored(self, batch: Sequence[Job], changes: Sequence[Change]) -> None:
        """See first that what was written is where the next start will look for it.

        Here, because each call of the system costs the writer's thread a wait for the interpreter.
        """
        try:
            self._identity.check()
        except StoreBroken as exc:
            self.fail(exc)
            self._fail(batch, exc)
            return
        # A sender waits for its answer, and what a reader does first it would wait for as well.
        self._answer(batch)
        for change in changes:
            self._tell_change(change)

    def _fail(self, batch: Sequence[Job], failure: Exception) -> None:
        for job in batch:
            job.result = failure
        self._answer(batch)

    def _answer(self, batch: Sequence[Job]) -> None:
        self._waiting -= len(batch)
        self._waiting_bytes -= answer(batch)
