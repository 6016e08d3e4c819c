"""Keeping channels small: what every subscription has settled goes, by age and when room is short.

Each minute, and at once when a channel is short of room, for each channel:

1. dead deliveries that are too old are let go of: now their events may be deleted, too,
2. events older than the retention that nobody needs are deleted; any age on a full disk,
3. above `FULL` of the channel's bytes the oldest that nobody needs, down to `NEARLY_FULL`,
4. and then, only where the channel says `drop_oldest`, what somebody still needs; it is counted,
5. where the channel keeps no bodies, those are dropped that everybody has and whose senders do not
   send them again: what a duplicate is compared with stays for the channel's window.

All of it in small transactions, between which webhooks are stored; on a full disk in smaller ones.
A look that found nothing rests for a while: with millions of events each costs much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from relay_server.clock import Clock
from relay_server.errors import StoreFull
from relay_server.metrics import Metrics
from relay_server.store.interface import Store
from relay_server.values import NEARLY_FULL, Channel, ChannelNumber, Emptied

T = TypeVar("T")

log = structlog.get_logger()

DAY_MS = 86_400_000
BATCH = 500  # old events deleted in one transaction, so that webhooks wait little
FULL = 0.9  # of a channel's bytes: from here on what is delivered goes, down to `NEARLY_FULL`
REST = 10  # times what a look through a channel took that found nothing, before the next one …
LONGEST_REST_S = 60.0  # … and no longer than this


def share(store: Store, channel: Channel) -> float:
    """How full a channel is, from 0 on; 0 without a limit."""
    limit = channel.config.max_bytes
    return store.usage(channel.number) / limit if limit else 0.0


async def is_worrying(store: Store, channel: Channel) -> bool:
    """True if it is nearly full, and not of what goes by itself when room is needed."""
    if share(store, channel) < NEARLY_FULL:
        return False
    return not (await store.removable(channel.number, None, 0, 1)).sequences


class Upkeep:
    """Deletes what need not be kept; `run_once` each minute, and when room is short."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._batch = BATCH
        self._worrying: set[int] = set()  # channels that people were warned of
        # Until when not to look through a channel again, for what is old, and for whatever may go.
        self._rests: dict[tuple[ChannelNumber, bool], float] = {}
        self._emptied: dict[ChannelNumber, int] = {}  # streams, and up to where no body is left

    async def run_once(self, *, disk_is_full: bool = False) -> int:
        """Delete what need not be kept.

        Args:
            disk_is_full: Delivered events go whatever their age.

        Returns:
            How many events were deleted.

        Raises:
            StoreUnavailable: The store cannot be written now.
        """
        now, deleted, self._batch = self._clock.monotonic(), 0, BATCH
        self._rests = {look: until for look, until in self._rests.items() if until > now}
        for channel in list(self._store.catalog.channels.values()):
            deleted += await self._tidy(channel, disk_is_full=disk_is_full)
        while await self._fitting(self._store.sweep):
            pass
        if deleted:
            log.info("old events deleted", events=deleted)
        return deleted

    def needed(self) -> bool:
        """True if a channel is so full that waiting for the next minute would refuse webhooks."""
        return any(self._is_short(c) for c in self._store.catalog.channels.values())

    async def _tidy(self, channel: Channel, *, disk_is_full: bool) -> int:
        config, now = channel.config, self._clock.unix_ms()
        dead_before = now - round(config.dead_days * DAY_MS)

        async def forget(limit: int) -> int:
            return await self._store.forget_dead(channel.number, dead_before, limit, now)

        while dead := await self._fitting(forget):
            log.warning("dead deliveries let go: too old", channel=channel.name, deliveries=dead)
        before = None if disk_is_full else now - round(config.retention_days * DAY_MS)
        deleted = await self._remove(channel, before) + await self._remove_edited(channel, before)
        if self._is_short(channel):
            deleted += await self._remove(channel, None, for_room=True)
        if self._is_short(channel) and config.drop_oldest:
            deleted += await self._drop(channel)
        if not config.keep_bodies and await self._store.subscriptions(channel.name):
            before = now - round(config.dedupe_window_s * 1_000)
            for stream in (channel.number, -channel.number):
                await self._drop_bodies(stream, before)
        await self._warn(channel)
        return deleted

    async def _remove(
        self, channel: Channel, received_before: int | None, *, for_room: bool = False
    ) -> int:
        """Delete what nobody needs: all of it, or as much as makes room."""
        look, began = (channel.number, received_before is None), self._clock.monotonic()
        if look in self._rests:
            return 0
        deleted, after = 0, 0

        async def remove_some(limit: int) -> tuple[int, int | None]:
            found = await self._store.removable(channel.number, received_before, after, limit)
            if not found.sequences:
                return 0, found.looked_up_to
            enough = self._excess(channel) if for_room else None
            removed = await self._store.remove(channel.number, found.sequences, enough)
            return removed, found.looked_up_to

        while not for_room or self._excess(channel):
            removed, looked_up_to = await self._fitting(remove_some)
            deleted += removed
            if looked_up_to is None:
                break
            after = looked_up_to
        if not deleted:
            now = self._clock.monotonic()
            self._rests[look] = now + min(REST * (now - began), LONGEST_REST_S)
        return deleted

    async def _remove_edited(self, channel: Channel, received_before: int | None) -> int:
        """The same of edited events, which are few."""
        stream = -channel.number

        async def remove_some(limit: int) -> int:
            found = await self._store.removable(stream, received_before, 0, limit)
            if not found.sequences:
                return 0
            return await self._store.remove(stream, found.sequences)

        return await self._fitting(remove_some)

    async def _drop_bodies(self, stream: ChannelNumber, received_before: int) -> None:
        """Drop those that nobody needs, from the first on that somebody needed the last time."""
        after, needed = self._emptied.get(stream, 0), list[int]()

        async def drop_some(limit: int) -> Emptied:
            return await self._store.drop_bodies(stream, received_before, after, limit)

        while True:
            found = await self._fitting(drop_some)
            needed += [found.needed] if found.needed is not None else []
            if found.looked_up_to is None:
                break
            after = found.looked_up_to
        self._emptied[stream] = needed[0] - 1 if needed else after

    async def _drop(self, channel: Channel) -> int:
        """Make room as the operator chose: by what was not delivered."""

        async def drop_some(limit: int) -> int:
            return await self._store.drop_oldest(channel.number, limit, self._excess(channel))

        dropped = 0
        while self._excess(channel) and (count := await self._fitting(drop_some)):
            dropped += count
        log.warning("events dropped to make room", channel=channel.name, events=dropped)
        self._metrics.dropped(channel, dropped)
        return dropped

    async def _fitting(self, work: Callable[[int], Awaitable[T]]) -> T:
        """Have so many rows dealt with, or on a full disk as many as there is room for.

        Raises:
            StoreFull: There is not even room for one.
        """
        while True:
            try:
                return await work(self._batch)
            except StoreFull:
                if self._batch == 1:
                    raise
                self._batch //= 2

    def _is_short(self, channel: Channel) -> bool:
        """True if webhooks are, or soon will be, refused for want of room."""
        limit, refused = channel.config.max_bytes, self._store.refused(channel.number)
        if not limit:
            return False
        return (
            share(self._store, channel) >= FULL
            or self._store.usage(channel.number) + refused > limit
        )

    def _excess(self, channel: Channel) -> int:
        """Bytes that must go, so that there is room, for what was refused, too."""
        limit, refused = channel.config.max_bytes, self._store.refused(channel.number)
        if not limit:
            return 0
        allowed = min(round(NEARLY_FULL * limit), limit - refused)
        return max(0, self._store.usage(channel.number) - allowed)

    async def _warn(self, channel: Channel) -> None:
        if not await is_worrying(self._store, channel):
            self._worrying.discard(channel.number)
        elif channel.number not in self._worrying:
            self._worrying.add(channel.number)
            log.warning(
                "channel is nearly full: what waits for its subscriptions fills it",
                channel=channel.name,
                percent=round(share(self._store, channel) * 100),
            )
