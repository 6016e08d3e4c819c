"""Every store, opened the same way, and shortcuts to fill it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay_server.store.base import EventStore
from relay_server.store.memory import MemoryStore
from relay_server.store.sqlite import open_sqlite
from relay_server.values import Channel, ChannelConfig, Claim, DeliveryState, Subscription
from tests.support.clock import START_MS
from tests.support.events import new_event

BACKENDS = ("memory", "sqlite")


@asynccontextmanager
async def open_test_store(backend: str, data_dir: Path) -> AsyncIterator[EventStore]:
    """A store of a kind, closed at the end."""
    store: EventStore = MemoryStore() if backend == "memory" else await open_sqlite(data_dir)
    try:
        yield store
    finally:
        await store.close()


async def make_channel(store: EventStore, name: str = "chatwoot") -> Channel:
    """A channel with the usual configuration."""
    return await store.create_channel(name, ChannelConfig(), START_MS)


async def make_subscription(
    store: EventStore, channel: str = "chatwoot", name: str = "ana", since: int | None = None
) -> tuple[Subscription, Claim]:
    """A subscription, and the claim to record its progress."""
    subscription, _ = await store.subscribe(channel, name, since, START_MS)
    claim = await store.claim(subscription.number)
    assert claim is not None
    return subscription, claim


async def append_many(
    store: EventStore, channel: Channel, count: int, key: str | None = None
) -> list[str]:
    """Append events, each of a key of its own unless one is given; returns their ids in order."""
    events = [new_event(b"%d" % n, key=str(n) if key is None else key) for n in range(count)]
    return [(await store.append(channel.number, event)).id for event in events]


async def deliveries(store: EventStore, channel: Channel, sequence: int) -> list[DeliveryState]:
    """What became of one event."""
    [states] = await store.deliveries(channel.number, [sequence])
    return list(states)


async def trim(store: EventStore, channel: Channel, received_before: int, limit: int) -> int:
    """Delete at most so many of the old events that nobody needs; how many that were."""
    found = await store.removable(channel.number, received_before, 0, limit)
    return await store.remove(channel.number, found.sequences)
