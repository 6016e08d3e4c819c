"""The messages of deliveries that moved: of which event each is, for which subscription.

The store tells of a delivery by numbers alone, its reader's and a sequence in that reader's stream:
a channel's, or that of the channel's edited events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from relay_server.errors import ReplayNotFound
from relay_server.live.messages import Delivery, frame
from relay_server.live.news import Moved
from relay_server.store.interface import Store
from relay_server.values import (
    Attempt,
    Channel,
    ChannelNumber,
    ReaderNumber,
    Replay,
    Subscription,
    SubscriptionNumber,
)

MAX_REPLAYS = 1_000  # that are remembered while a live feed is open


class _Reader(NamedTuple):
    """Who a delivery is of; `stream` is where its sequence counts."""

    number: ReaderNumber
    subscription: Subscription
    channel: Channel
    stream: ChannelNumber


class Deliveries:
    """Finds out what moved deliveries are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._replays = dict[ReaderNumber, Replay]()

    async def messages(
        self,
        moved: Mapping[tuple[ReaderNumber, int], Moved],
        subscriptions: Mapping[SubscriptionNumber, Subscription],
    ) -> dict[str, bytes]:
        """By channel; without those of which event or subscription is gone.

        Raises:
            StoreUnavailable: The store cannot be read now.
        """
        by_stream = defaultdict[ChannelNumber, list[tuple[_Reader, int, Moved]]](list)
        for (number, sequence), delivery in moved.items():
            reader = await self._reader(number, subscriptions)
            if reader is not None:
                by_stream[reader.stream].append((reader, sequence, delivery))
        told = defaultdict[str, bytes](bytes)
        for stream, deliveries in by_stream.items():
            ids = await self._store.event_ids(stream, sorted({s for _, s, _ in deliveries}))
            found = [_message(reader, ids[s], s, d) for reader, s, d in deliveries if s in ids]
            told[deliveries[0][0].channel.name] += b"".join(found)
        return told

    async def _reader(
        self,
        number: ReaderNumber,
        subscriptions: Mapping[SubscriptionNumber, Subscription],
    ) -> _Reader | None:
        replay = await self._replay(number) if number < 0 else None
        subscription = subscriptions.get(replay.subscription if replay else number)
        channel = subscription and self._store.catalog.channels.get(subscription.channel)
        if not subscription or not channel:
            return None
        stream = -channel.number if replay and replay.edited else channel.number
        return _Reader(number, subscription, channel, stream)

    async def _replay(self, number: ReaderNumber) -> Replay | None:
        if number not in self._replays:
            if len(self._replays) >= MAX_REPLAYS:
                self._replays.clear()
            with suppress(ReplayNotFound):
                self._replays[number] = await self._store.replay(number)
        return self._replays.get(number)


def _message(reader: _Reader, event: str, sequence: int, moved: Moved) -> bytes:
    """What has an attempt and no mark was delivered, or has expired: its reader's floor says so."""
    mark, attempt = moved
    last = mark or attempt
    unmarked = "skipped"
    if attempt is not None:
        unmarked = attempt.settles_as if attempt.is_note else "delivered"
    return frame(
        Delivery(
            event=event,
            channel=reader.channel.name,
            sequence=sequence,
            edited=reader.stream < 0,
            subscription=reader.subscription.name,
            state=mark.state.name.lower() if mark else unmarked,
            attempt=last.attempt if last else 0,
            status=attempt.status if attempt else None,
            reason=mark.reason if mark else _reason(attempt),
            due_at=(mark.due_at or None) if mark else None,
            replay=-reader.number if reader.number < 0 else None,
        )
    )


def _reason(attempt: Attempt | None) -> str:
    return attempt.text if attempt is not None and attempt.is_note else ""
