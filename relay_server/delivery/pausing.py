"""Subscriptions whose target wants no more (410): that outlives connection and process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import structlog

from relay_server.clock import Clock
from relay_server.configs import SubscriptionConfig
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.errors import SubscriptionNotFound
from relay_server.store.interface import Store
from relay_server.values import Subscription, SubscriptionNumber

log = structlog.get_logger()


class Pauses:
    """Has pauses stored, however long that takes: people see and resume what is stored."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pausing: dict[SubscriptionNumber, str] = {}  # why; until it is stored
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def pause(self, subscription: Subscription, reason: str) -> None:
        """Pause a subscription until somebody resumes it."""
        facts = {"channel": subscription.channel, "subscription": subscription.name}
        log.warning("subscription paused until somebody resumes it", reason=reason, **facts)
        if subscription.number in self._pausing:
            return
        self._pausing[subscription.number] = reason
        task = asyncio.create_task(self._keep(subscription, reason, facts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, number: SubscriptionNumber) -> None:
        """Somebody set the subscription otherwise meanwhile: what they said holds."""
        self._pausing.pop(number, None)

    async def close(self) -> None:
        """Try no more."""
        self._closing.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, subscription: Subscription, reason: str, facts: dict[str, str]) -> None:
        number, now = subscription.number, self._clock.unix_ms()
        backoff = StoreBackoff(self._clock, "the pause could not be stored yet", **facts)

        def pause(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, paused=reason, paused_at=now, paused_by="")

        async def store() -> None:
            with suppress(SubscriptionNotFound):
                await self._store.change_subscription(number, pause)
            self._pausing.pop(number, None)

        while number in self._pausing and not await backoff.run(store):
            with suppress(TimeoutError):
                async with asyncio.timeout(STORE_RETRY_S):
                    await self._closing.wait()
                    return
