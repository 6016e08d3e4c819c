"""When nobody reads a subscription, and since when; and those that go then.

The last reader that leaves is noted in the store, so that who comes back is told what came
meanwhile, and people see who has been away for long. A server that was killed notes nothing: the
next one does, at its start. Nothing was received in between, so that is as true.

    left ──noted──▶ away ──joined──▶ read
                      └──`GRACE_S`, if it is temporary──▶ deleted

A temporary subscription is one like any other for as long as it is read. A server that starts gives
those it finds the same time: its clients come back, or do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock, until_next
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.errors import SubscriptionNotFound
from relay_server.store.interface import Store
from relay_server.values import Claim, Subscription, SubscriptionNumber

log = structlog.get_logger()

# A temporary subscription that nobody has read for so long is deleted: a client whose connection
# broke, or whose server restarts, is back within half of it.
GRACE_S = 30.0
LOOK_S = 1.0  # how often is looked for those

Alone = Callable[[str, str], AbstractAsyncContextManager[object]]


class Absences:
    """Notes who left when, and deletes what is temporary.

    Args:
        alone: Has nobody join a subscription, by channel and name, meanwhile.
        is_read: Whether somebody reads a subscription.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        alone: Alone,
        is_read: Callable[[SubscriptionNumber], bool],
    ) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        self._is_read = is_read
        self._began_at = clock.unix_ms()
        self._tasks: set[asyncio.Task[None]] = set()
        self._going: dict[SubscriptionNumber, tuple[Subscription, float]] = {}  # until when

    async def run(self) -> None:
        """Note that nobody reads yet, then delete what is temporary, until cancelled."""
        backoff = StoreBackoff(self._clock, "the store did not say what is temporary")
        while not await backoff.run(self._begin):  # noqa: ASYNC110  (of another thread)
            await asyncio.sleep(STORE_RETRY_S)
        while True:
            await asyncio.sleep(until_next(LOOK_S, self._clock.monotonic()))
            now = self._clock.monotonic()
            for going in [s for s, until in self._going.values() if until <= now]:
                await self._delete(going)

    def left(self, subscription: Subscription, claim: Claim) -> None:
        """The last reader of a subscription is gone."""
        if subscription.config.forward is not None:
            return
        self._goes(subscription)
        task = asyncio.create_task(self._note(self._clock.unix_ms(), claim))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def joining(self, subscription: Subscription) -> None:
        """Somebody begins to join a subscription: if that fails, nobody is to leave it."""
        self._goes(subscription)

    def back(self, number: SubscriptionNumber) -> None:
        """Somebody has joined a subscription."""
        self._going.pop(number, None)

    async def close(self) -> None:
        """Return once all that left is noted."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def since(
        self, subscription: Subscription, away_ms: int | None, *, is_read: bool
    ) -> int | None:
        """Since when nobody has read a subscription, in Unix milliseconds.

        Args:
            subscription: As it was before somebody joins it.
            away_ms: How long that one has been without it, as it says.
            is_read: Somebody reads it now: perhaps the same one's lost connection.

        Returns:
            None where somebody reads it all the while.
        """
        moments = list[int]()
        if not is_read:
            moments.append(subscription.left_at or self._began_at)
        if away_ms is not None:
            moments.append(self._clock.unix_ms() - away_ms)
        return min(moments, default=None)

    async def _begin(self) -> None:
        await self._note(self._began_at)
        for subscription in await self._store.subscriptions():
            if not self._is_read(subscription.number):
                self._goes(subscription)

    async def _note(self, now: int, claim: Claim | None = None) -> None:
        with suppress(RelayError):  # a full disk: then it counts from this server's start on
            await self._store.leave(now, claim)

    def _goes(self, subscription: Subscription) -> None:
        if subscription.config.temporary:
            until = self._clock.monotonic() + GRACE_S
            self._going[subscription.number] = subscription, until

    async def _delete(self, subscription: Subscription) -> None:
        """Delete it, unless somebody joins it; on a full disk later."""
        facts = {"channel": subscription.channel, "subscription": subscription.name}
        async with self._alone(subscription.channel, subscription.name):
            if self._is_read(subscription.number) or subscription.number not in self._going:
                self.back(subscription.number)
                return
            try:
                await self._store.unsubscribe(subscription.number)
            except SubscriptionNotFound:
                pass
            except RelayError:
                self._goes(subscription)
                return
        self.back(subscription.number)
        log.info("a temporary subscription went with its client", **facts)
