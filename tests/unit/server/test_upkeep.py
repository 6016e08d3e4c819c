"""Old events go once everybody has them, in every channel, however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay_server.delivery import upkeep
from relay_server.delivery.upkeep import DAY_MS, Upkeep
from relay_server.metrics import Metrics
from relay_server.store.base import EventStore
from relay_server.values import ChannelConfig, MarkState, Progress
from tests.support.clock import START_MS, VirtualClock
from tests.support.events import mark, new_event
from tests.support.stores import BACKENDS, make_subscription, open_test_store


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    async with open_test_store(request.param, tmp_path) as store:
        yield store


async def fill(store: EventStore, name: str, days: float, ages: list[float]) -> int:
    """A channel that keeps events for some days, with events of these ages in days."""
    channel = await store.create_channel(name, ChannelConfig(retention_days=days), START_MS)
    for age in ages:
        await store.append(channel.number, new_event(received_at=START_MS - round(age * DAY_MS)))
    return channel.number


async def left(store: EventStore, channel: int) -> list[int]:
    return sorted(event.sequence for event in await store.list_events(channel, None, 10_000))


async def test_each_channel_keeps_what_it_says(store: EventStore) -> None:
    week = await fill(store, "week", 7, [8, 7.001, 7, 6.9, 0])
    hour = await fill(store, "hour", 1 / 24, [1, 0.05, 0.04, -1])
    ever = await fill(store, "ever", 36_500, [9_000, 0])

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 4
    assert await left(store, week) == [3, 4, 5]
    assert await left(store, hour) == [3, 4]
    assert await left(store, ever) == [1, 2]
    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 0


async def test_what_is_undelivered_or_dead_stays(store: EventStore) -> None:
    channel = await fill(store, "chatwoot", 7, [])
    _, claim = await make_subscription(store)
    for _ in range(4):
        await store.append(channel, new_event(received_at=START_MS - 8 * DAY_MS))
    store.record(claim, Progress(3, (mark(2, MarkState.DEAD),)))
    await store.flush()

    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 2
    assert await left(store, channel) == [2, 4]


async def test_many_go_in_batches(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 10)
    channel = await fill(store, "chatwoot", 7, [8.0] * 35 + [1])
    assert await Upkeep(store, VirtualClock(), Metrics()).run_once() == 35
    assert await left(store, channel) == [36]
