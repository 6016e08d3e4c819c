"""One look, and one sweep, goes through so many rows and no more: others wait meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from relay_server.configs import ChannelConfig
from relay_server.store.sql import events, housekeeping, readers
from relay_server.store.sql.catalogue import SWEEP_ROWS
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.store import SqliteStore
from relay_server.values import Progress, Removable, ReplayState, Selection, Subscription
from tests.support.events import attempt, mark, new_event
from tests.support.stores import (
    MemoryStore,
    append_many,
    make_channel,
    open_in_memory,
    open_test_store,
    record,
)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """One subscription and twelve events that it had, the newest in the middle."""
    with closing(open_in_memory()) as database:
        store = MemoryStore(database)
        await store.create_channel("chatwoot", ChannelConfig(), 0)
        subscription, _ = await store.subscribe("chatwoot", "ana", None, 0)
        for n in range(1, 13):
            await store.append(1, new_event(received_at=99 if n == 6 else n))
        claim = await store.claim(subscription.number)
        assert claim is not None
        store.record(claim, Progress(12))
        yield store
        await store.close()


async def subscription(store: SqliteStore) -> Subscription:
    [found] = await store.subscriptions()
    return found


def count(database: Database, table: str) -> int:
    [(rows,)] = database.connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(str(rows))


def test_a_copy_is_told_by_what_it_holds(store: MemoryStore) -> None:
    assert store.database.one("count_all") == (1, 12, 99)


async def test_what_may_go_is_looked_for_in_steps(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.flush()
    monkeypatch.setattr(housekeeping, "LOOK_AT", 5)

    looks = [await store.removable(1, None, after, 9) for after in (0, 5, 10)]

    assert looks == [
        Removable((1, 2, 3, 4, 5), 5),
        Removable((6, 7, 8, 9, 10), 10),
        Removable((11, 12), None),
    ]


@pytest.mark.parametrize(
    ("bound", "selection"),
    [("LOOK_AT", Selection(kind="none")), ("LOOK_AT_BODIES", Selection(text="nowhere"))],
)
async def test_what_is_replayed_is_looked_for_in_steps(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, bound: str, selection: Selection
) -> None:
    monkeypatch.setattr(events, bound, 5)
    replay = await store.create_replay(await subscription(store), selection, 5.0, 0, "ana")

    looks = [(await store.select(1, replay, after, 9)).read_up_to for after in (0, 5, 10)]

    assert looks == [5, 10, 12]


async def test_so_many_replays_are_listed_and_forgotten(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LISTED_REPLAYS", 2)
    for _ in range(4):
        replay = await store.create_replay(await subscription(store), Selection(), 5.0, 0, "ana")
        await store.end_replay(replay.number, ReplayState.DONE, 0)

    assert [r.number for r in await store.replays()] == [-4, -3]
    await store.forget_dead(1, 1, 3, 0)
    assert [r.number for r in await store.replays()] == [-4]


async def test_what_is_gone_is_swept_in_steps(store: MemoryStore) -> None:
    claim = await store.claim(1)
    assert claim is not None
    above, had = tuple(map(mark, range(13, 18))), tuple(map(attempt, range(1, 6)))
    await record(store, claim, Progress(12, above, had))
    store.database.run("begin_purge", channel=1)
    store.database.run("forget_reader", reader=1)

    left, more = [], True
    while more:
        more = await store.sweep(4)
        tables = ("events", "attempts", "deliveries")
        left.append([count(store.database, table) for table in tables])

    first = [[8, 5, 5], [4, 5, 5], [0, 5, 5], [0, 5, 5], [0, 1, 1]]
    assert left == [*first, *[[0, 0, 0]] * 3]


async def test_a_deleted_channel_goes_in_small_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that webhooks of others wait for little of it at once."""
    limits, sweep = list[int](), SqliteStore.sweep

    async def noted(store: SqliteStore, limit: int) -> bool:
        limits.append(limit)
        return await sweep(store, 3)

    monkeypatch.setattr(SqliteStore, "sweep", noted)
    async with open_test_store("sqlite", tmp_path) as store:
        await append_many(store, await make_channel(store), 10)
        await store.delete_channel("chatwoot")

    assert limits == [SWEEP_ROWS] * 5, "ten events by three, and a look that finds no more"
