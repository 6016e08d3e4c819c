"""Keeping channels small: what every subscription has, and is old enough, goes."""

from __future__ import annotations

import structlog

from relay_server.clock import Clock
from relay_server.store.base import EventStore

log = structlog.get_logger()

DAY_MS = 86_400_000
BATCH = 500  # events in one transaction, so that webhooks wait little


async def trim(store: EventStore, clock: Clock) -> int:
    """Delete from each channel what is older than it keeps; what is undelivered stays.

    Returns:
        How many events were deleted.
    """
    deleted = 0
    for channel in list(store.catalog.channels.values()):
        before = clock.unix_ms() - round(channel.config.retention_days * DAY_MS)
        while count := await store.trim(channel.number, before, BATCH):
            deleted += count
    if deleted:
        log.info("old events deleted", events=deleted)
    return deleted
