"""When nobody reads a subscription, and since when.

The last reader that leaves is noted in the store, so that who comes back is told what came
meanwhile, and people see who has been away for long. A server that was killed notes nothing: the
next one does, at its start. Nothing was received in between, so that is as true.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.store.interface import Store
from relay_server.values import Claim, Subscription


class Absences:
    """Notes who left when."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._began_at = clock.unix_ms()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """A server starts: nobody reads yet."""
        await self._note(self._began_at)

    def left(self, claim: Claim) -> None:
        """The last reader of a subscription is gone."""
        task = asyncio.create_task(self._note(self._clock.unix_ms(), claim))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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

    async def _note(self, now: int, claim: Claim | None = None) -> None:
        with suppress(RelayError):  # a full disk: then it counts from this server's start on
            await self._store.leave(now, claim)
