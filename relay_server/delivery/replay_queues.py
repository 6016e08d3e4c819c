"""The queues of a reader's running replays: in line with what the store has, served in turn.

Somebody asks for a replay, or stops one, in the store; the reader is told so by its feed and brings
its queues in line at its next turn. One that has settled everything is ended in the store. One that
was stopped keeps the keys of what is under way until the target is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.delivery.queue import Queue
from relay_server.errors import ReplayNotFound
from relay_server.store.interface import Store
from relay_server.values import Claim, ReaderNumber, Replay, ReplayState, SubscriptionNumber

log = structlog.get_logger()


class ReplayQueues:
    """One queue for each running replay of a subscription.

    Args:
        queue: Makes one.
        facts: What a log line tells of the reader.

    Attributes:
        changed: Replays were asked for or stopped since they were last taken up.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        subscription: SubscriptionNumber,
        queue: Callable[[Claim, Replay], Queue],
        facts: Mapping[str, str],
    ) -> None:
        self.changed = True
        self._store = store
        self._clock = clock
        self._subscription = subscription
        self._queue = queue
        self._facts = facts
        self._queues: dict[ReaderNumber, Queue] = {}  # the one that was served last at the end
        self._closed = False

    def __bool__(self) -> bool:
        """True if there are any, or may be."""
        return self.changed or bool(self._queues)

    def __iter__(self) -> Iterator[Queue]:
        """All, in the order in which they are to be served."""
        return iter(list(self._queues.values()))

    def get(self, number: ReaderNumber) -> Queue | None:
        """The queue of a replay, while there is one."""
        return self._queues.get(number)

    def served(self, queue: Queue, now: float) -> None:
        """One got something: its rate counts it, and the others come first the next time."""
        queue.pace.spend(now)
        self._queues[queue.number] = self._queues.pop(queue.number)

    def close(self) -> None:
        """Take up no more, and free what is under way."""
        self._closed = True
        for queue in self:
            queue.close()

    async def take_up(self) -> None:
        """Bring the queues in line with the replays that the store has.

        Raises:
            StoreUnavailable: It cannot be asked now; they are as changed as before.
        """
        self.changed = False
        try:
            running = await self._store.replays(self._subscription, running=True)
            for replay in running:
                # Once it is closed, whoever came after this reader has claimed it, or will.
                if replay.number not in self._queues and not self._closed:
                    claim = await self._store.claim(replay.number)
                    if claim is not None and not self._closed:
                        self._queues[replay.number] = self._queue(claim, replay)
        except RelayError:
            self.changed = True
            raise
        numbers = {replay.number for replay in running}
        for queue in self:
            if queue.number not in numbers:
                queue.stop()

    async def end_some(self) -> None:
        """Let go of those that were stopped, and end those that are over.

        Raises:
            StoreUnavailable: It cannot be told now.
        """
        for queue in self:
            if queue.stopped and not queue.under_way:
                self._queues.pop(queue.number).close()
            elif queue.over:
                await self._end(queue)

    async def _end(self, queue: Queue) -> None:
        with suppress(ReplayNotFound):  # its subscription was deleted meanwhile
            await self._store.end_replay(queue.number, ReplayState.DONE, self._clock.unix_ms())
        self._queues.pop(queue.number, queue).close()
        log.info("replay done", replay=-queue.number, **self._facts)
