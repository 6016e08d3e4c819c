"""One look, and one sweep, goes through so many rows and no more: others wait meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay_server.store.sqlite import housekeeping, readers
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.rows import encode
from relay_server.store.sqlite.sql import position
from relay_server.store.sqlite.store import SWEEP_ROWS
from relay_server.values import Removable, ReplayState, Selection
from tests.support.stores import append_many, make_channel, open_test_store


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A store's database with one subscription and twelve events, the newest in the middle."""
    with closing(Database(tmp_path / "relay.db")) as database:
        prepare(database)
        config = encode({})
        database.run("create_channel", name="chatwoot", config=config, now=0)
        database.run("create_subscription", channel=1, name="ana", now=0, start=0, config=config)
        database.run("pass_dropped", channel=1, floor=12)
        rows = [
            (
                position(1, n),
                f"evt_{n}",
                99 if n == 6 else n,
                0,
                0,
                "",
                "",
                None,
                None,
                b"",
                b"",
                None,
                None,
            )
            for n in range(1, 13)
        ]
        database.run("take_sequences", count=12, bytes=0, channel=1)
        database.run_rows("append", rows)
        yield database


def count(database: Database, table: str) -> int:
    [(rows,)] = database.connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(str(rows))


def test_a_copy_is_told_by_what_it_holds(database: Database) -> None:
    assert database.one("count_all") == (1, 12, 99)


def test_what_may_go_is_looked_for_in_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_AT", 5)

    looks = [housekeeping.removable(database, 1, None, after, 9) for after in (0, 5, 10)]

    assert looks == [
        Removable((1, 2, 3, 4, 5), 5),
        Removable((6, 7, 8, 9, 10), 10),
        Removable((11, 12), None),
    ]


@pytest.mark.parametrize(
    ("bound", "selection"),
    [("LOOK_AT", Selection(kind="none")), ("LOOK_AT_BODIES", Selection(text="nowhere"))],
)
def test_what_is_replayed_is_looked_for_in_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch, bound: str, selection: Selection
) -> None:
    monkeypatch.setattr(readers, bound, 5)
    replay = readers.create_replay(database, 1, selection, 5.0, 0, "ana")

    looks = [readers.select(database, 1, replay, after, 9).read_up_to for after in (0, 5, 10)]

    assert looks == [5, 10, 12]


def test_so_many_replays_are_listed_and_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LISTED_REPLAYS", 2)
    for _ in range(4):
        replay = readers.create_replay(database, 1, Selection(), 5.0, 0, "ana")
        readers.end_replay(database, replay.number, ReplayState.DONE, 0)

    assert [r.number for r in readers.replays(database, None, running=False)] == [-4, -3]
    housekeeping.forget_dead(database, 1, 1, 3, 0)
    assert [r.number for r in readers.replays(database, None, running=False)] == [-4]


def test_what_is_gone_is_swept_in_steps(database: Database) -> None:
    attempts = [(1, n, 1, 0, 0, "response", 200, "") for n in range(1, 6)]
    marks = [(1, n, 3, 1, 0, 0, None, "", 0) for n in range(1, 6)]
    database.run_rows("attempt", attempts)
    database.run_rows("mark", marks)
    database.run("begin_purge", channel=1)
    database.run("forget_reader", reader=1)

    left, more = [], True
    while more:
        more = housekeeping.sweep(database, 4)
        left.append([count(database, table) for table in ("events", "attempts", "deliveries")])

    assert left == [[8, 5, 5], [4, 5, 5], [0, 5, 5], [0, 5, 5], [0, 1, 1], *[[0, 0, 0]] * 3]


async def test_a_deleted_channel_goes_in_small_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that webhooks of others wait for little of it at once."""
    limits, sweep = list[int](), housekeeping.sweep

    def noted(database: Database, limit: int) -> bool:
        limits.append(limit)
        return sweep(database, 3)

    monkeypatch.setattr(housekeeping, "sweep", noted)
    async with open_test_store("sqlite", tmp_path) as store:
        await append_many(store, await make_channel(store), 10)
        await store.delete_channel("chatwoot")

    assert limits == [SWEEP_ROWS] * 5, "ten events by three, and a look that finds no more"
