"""What becomes of readers when another database took over: a standby was promoted.

It may lack what the one before had confirmed last: claims, and events that were read, whose
sequences others get. So nothing is delivered any more by the readers there were, and what they have
not recorded is not believed (the store refuses it: their epochs are of another database). Whoever
was served by them begins anew, with a claim of the new one:

    promoted ──▶ readers stop ──asked whose it is──┬─ ours, or a claim that was lost ──▶ come back
                                                   └─ a newer claim is there already ──▶ taken over

They come back by new connections, since in the old ones a delivery's id may be another event's.
What their targets have answered already, clients know by the event's id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from relay_server.clock import Clock
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.store.interface import Store
from relay_server.values import Claim, Subscription

BACK_WITHIN_S = 0.5  # for all to begin anew, spread out
REASON = "another database has taken over"


class Reading(Protocol):
    """Who was served."""

    def taken_over(self, subscription: str, host: str) -> None:
        """Another has the subscription now."""

    def go_away(self, reason: str, retry_after_s: float) -> None:
        """Come back."""


class Stopped(NamedTuple):
    """A reader that stopped, and whom it served; those that share come back in any case."""

    subscription: Subscription
    claim: Claim
    peers: Sequence[Reading]
    shared: bool


class Promotions:
    """Those that are to begin anew.

    Args:
        left: Told of those whose subscription nobody reads until they are back.
    """

    def __init__(
        self, store: Store, clock: Clock, left: Callable[[Subscription, Claim], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._left = left
        self._tasks: set[asyncio.Task[None]] = set()

    def begin_anew(self, stopped: Sequence[Stopped]) -> None:
        """Have them begin anew, once it is known who may."""
        task = asyncio.create_task(self._begin_anew(stopped), name="promotion")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin_anew(self, stopped: Sequence[Stopped]) -> None:
        backoff = StoreBackoff(self._clock, "the database that took over did not answer")
        lost = list[Stopped]()

        async def look() -> None:
            lost.clear()
            for one in [each for each in stopped if not each.shared]:
                newest = await self._store.standing(one.subscription.number)
                if newest is not None and newest.epoch > one.claim.epoch:
                    lost.append(one)

        while not await backoff.run(look):  # noqa: ASYNC110  (of another thread)
            await asyncio.sleep(STORE_RETRY_S)
        for one in lost:  # first: who serves several, and lost one, is told of that
            for peer in one.peers:
                peer.taken_over(one.subscription.name, host="")
        for one in [each for each in stopped if each not in lost]:
            self._left(one.subscription, one.claim)
            for peer in one.peers:
                pause_s = random.uniform(0.0, BACK_WITHIN_S)  # noqa: S311  (no secret)
                peer.go_away(REASON, pause_s)
