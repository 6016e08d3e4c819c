"""What people ask costs few statements, however much it is about, and holds up no delivery."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from relay_server.store.interface import Store
from relay_server.store.sql.part import reports
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.store import SqliteStore
from relay_server.values import MarkState, Progress
from tests.support.events import attempt, mark
from tests.support.stores import (
    append_many,
    make_channel,
    make_replay,
    make_subscription,
    open_test_store,
)

EVENTS, SUBSCRIPTIONS = 60, 12

REPORTS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "deliveries": lambda store: store.deliveries(1, range(1, EVENTS + 1)),
    "all subscriptions": lambda store: store.subscription_status(),
    "one subscription": lambda store: store.subscription_status([1]),
    "channels": lambda store: store.channel_status(),
    "events": lambda store: store.list_events(1, None, EVENTS),
    "dead": lambda store: store.dead(1, 0, EVENTS),
    "replays": lambda store: store.replays(),
}


async def fill(store: Store) -> None:
    """Events that each subscription and a replay of each has had, one of them in vain."""
    channel = await make_channel(store)
    readers = [await make_subscription(store, name=f"s{n}") for n in range(SUBSCRIPTIONS)]
    await append_many(store, channel, EVENTS)
    had = tuple(attempt(n) for n in range(1, EVENTS))
    for subscription, claim in readers:
        store.record(claim, Progress(EVENTS - 1, (mark(EVENTS, MarkState.DEAD),), had))
        _, again = await make_replay(store, subscription)
        store.record(again, Progress(EVENTS - 1, (), had))
    await store.flush()


@pytest.mark.parametrize("name", REPORTS)
async def test_a_report_takes_a_handful_of_statements(name: str, tmp_path: Path) -> None:
    statements = list[str]()
    async with open_test_store("sqlite", tmp_path) as store:
        assert isinstance(store, SqliteStore)
        await fill(store)

        def note(_cursor: object, sql: str, _values: object) -> bool:
            statements.append(sql)
            return True

        database = store._reports.database
        assert isinstance(database, Database)
        database.connection.exec_trace = note
        assert await REPORTS[name](store)

    assert len(statements) <= 3


async def test_a_long_report_delays_no_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what a connecting client and a sender with a full channel wait for."""
    begun, end = threading.Event(), threading.Event()

    @reports
    def long(_self: SqliteStore, _database: Database, *_: object) -> list[object]:
        begun.set()
        assert end.wait(30)
        return []

    async with open_test_store("sqlite", tmp_path) as store:
        await fill(store)
    monkeypatch.setattr(SqliteStore, "list_events", long)
    async with open_test_store("sqlite", tmp_path) as store:  # so that all is read from the disk
        reported = asyncio.ensure_future(store.list_events(1, None, EVENTS))
        await asyncio.to_thread(begun.wait)

        async with asyncio.timeout(20):
            outlines = await store.outlines(1, 0, EVENTS)
            events = await store.fetch(1, [1, EVENTS])
            [running] = await store.replays(1, running=True)
            selected = await store.select(1, running, 0, EVENTS)
            known = await store.subscriptions("chatwoot")

        assert not reported.done()
        end.set()
        assert await reported == []

    assert [len(found) for found in (outlines, events, known)] == [EVENTS, 2, SUBSCRIPTIONS]
    assert len(selected.outlines) == EVENTS
