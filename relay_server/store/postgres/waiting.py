"""What waits for a thread that does jobs, some at once."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from relay_server.errors import StoreFull
from relay_server.store.sql.jobs import Arrival, Call, answer

JobT = TypeVar("JobT", Arrival, Call)

MAX_BATCH = 256  # webhooks, or operations, at once
MAX_BATCH_BYTES = 4_194_304  # bodies and heads of webhooks, or one that is larger
MAX_WAITING = 4_096  # that wait; one more is refused, a webhook with 429 or 503
MAX_WAITING_BYTES = 67_108_864  # their bodies and heads: the same


class Queue(Generic[JobT]):
    """Jobs, and the thread that does them.

    Attributes:
        oldest: When the first of the batch came that is being done; monotonic seconds.
    """

    def __init__(self, name: str, do: Callable[[Sequence[JobT]], None]) -> None:
        self.oldest = 0.0
        self._do: Callable[[Sequence[JobT]], None] = do
        # With the moment at which each came; None at its end.
        self._queue: queue.SimpleQueue[tuple[float, JobT] | None] = queue.SimpleQueue()
        self._waiting = self._waiting_bytes = 0  # in the event loop
        # Taken out of the queue, too large for the batch before.
        self._held: tuple[float, JobT] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: JobT) -> None:
        """Have a job done; raises StoreFull."""
        if self._waiting >= MAX_WAITING or self._waiting_bytes + job.weight > MAX_WAITING_BYTES:
            raise StoreFull("more waits to be written than the database takes")
        self._waiting += 1
        self._waiting_bytes += job.weight
        self._queue.put((time.monotonic(), job))

    def answer(self, batch: Sequence[JobT]) -> None:
        """Tell whoever waits for these; in the event loop."""
        self._waiting -= len(batch)
        self._waiting_bytes -= answer(batch)

    async def close(self) -> None:
        """Do what waits, and end."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._ended or self._held is not None:
            if batch := self._take():
                self._do(batch)

    def _take(self) -> list[JobT]:
        next_one = self._held or self._queue.get()
        self._held = None
        batch, size = list[JobT](), 0
        while next_one is not None:
            came, job = next_one
            size += job.weight
            if batch and size > MAX_BATCH_BYTES:
                self._held = next_one
                return batch
            if not batch:
                self.oldest = came
            batch.append(job)
            if len(batch) == MAX_BATCH or self._queue.empty():
                return batch
            next_one = self._queue.get()
        self._ended = True
        return batch
