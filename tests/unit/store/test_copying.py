"""A whole store in another database: the same rows, numbers and sequences, and no half of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay_server.errors import BodyKeyMissing, InvalidValue, StoreLocked
from relay_server.store import copying
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.copying import TABLES, Side, copy_store
from relay_server.store.opening import open_side, open_store
from relay_server.store.postgres.rows import Row
from relay_server.store.postgres.spool import Spool
from relay_server.store.sqlite.sql import migrations
from relay_server.store.sqlite.store import FILE_NAME, open_sqlite
from tests.support.events import new_event
from tests.support.postgres import database_of, need_postgres
from tests.support.stores import KEY, append_many, make_channel, open_test_store

pytestmark = pytest.mark.postgres

FULL = Path(__file__).parents[2] / "fixtures" / "stores" / f"v{len(migrations())}.db"


@pytest.fixture
async def full(tmp_path: Path) -> Path:
    """A data dir whose store has something of everything."""
    folder = tmp_path / "full"
    folder.mkdir()
    shutil.copy(FULL, folder / FILE_NAME)
    await (await open_sqlite(folder)).close()
    return folder


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of an empty database."""
    need_postgres()
    return database_of(tmp_path)


def copied(
    source: tuple[str, Path], target: tuple[str, Path], bodies: BodyKeys = IN_THE_CLEAR
) -> dict[str, int]:
    """Copy one store to another place: how many rows there are."""
    with (
        open_side(*source, None, target=False) as old,
        open_side(*target, None, target=True) as new,
    ):
        return copy_store(old, new, lambda _: None, bodies)


def content(data_dir: Path) -> dict[str, list[Any]]:
    """Every row of a SQLite store."""
    connection = apsw.Connection(str(data_dir / FILE_NAME))
    return {
        table.name: connection.execute(
            f"SELECT {', '.join(table.columns)} FROM"
            f" {'counted' if table.name == 'channels' else table.name} ORDER BY 1, 2"
            if len(table.columns) > 1
            else f"SELECT * FROM {table.name} ORDER BY 1"
        ).fetchall()
        for table in TABLES
    }


async def test_there_and_back_nothing_is_lost_or_other(
    full: Path, database: str, tmp_path: Path
) -> None:
    rows = copied(("sqlite", full), (database, tmp_path))
    back = tmp_path / "back"
    back.mkdir()
    assert copied((database, tmp_path), ("sqlite", back)) == rows

    assert {name for name, count in rows.items() if not count} <= {"purges", "forgotten", "skips"}
    assert content(back) == content(full)


async def test_what_is_sealed_stays_so_and_repeats_are_known(
    full: Path, database: str, tmp_path: Path
) -> None:
    bodies, back = BodyKeys(KEY), tmp_path / "back"
    store = await open_sqlite(full, bodies=bodies)
    channel = store.catalog.channels["chatwoot"]
    first = await store.append(channel.number, new_event(b"{}", sender_id="d"))
    await store.close()
    back.mkdir()
    with pytest.raises(BodyKeyMissing):
        copied(("sqlite", full), (database, tmp_path))
    copied(("sqlite", full), (database, tmp_path), bodies)

    async with open_test_store("postgres-sealed", tmp_path) as copy:
        again = await copy.append(channel.number, new_event(b"{}", sender_id="d"))
        assert (again.id, again.duplicate) == (first.id, True)
    copied((database, tmp_path), ("sqlite", back), bodies)
    store = await open_sqlite(back, bodies=bodies)
    assert (await store.append(channel.number, new_event(b"{}", sender_id="d"))).id == first.id
    await store.close()


def test_what_waits_in_a_spool_is_brought_first(full: Path, database: str, tmp_path: Path) -> None:
    """Its rows name channels by numbers, which are another store's after a copy."""
    row = Row(1, 0, 1 << 60, "evt_1", 0, 2, "7", "k", None, None, b"r", b"{}", 0, None)
    spool = Spool(tmp_path / "spool" / "dead", 1 << 20)
    spool.put([row])
    spool.close()
    with pytest.raises(InvalidValue, match=r"1 webhooks .* wait in .*dead: start the server"):
        copied(("sqlite", full), (database, tmp_path))


async def test_the_copy_goes_on_where_the_store_was(
    full: Path, database: str, tmp_path: Path
) -> None:
    old = await open_sqlite(full)
    [channel, *_] = old.catalog.channels.values()
    newest = old.newest(channel.number)
    await old.close()
    copied(("sqlite", full), (database, tmp_path))

    async with open_test_store("postgres", tmp_path) as store:
        await append_many(store, channel, 1)
        assert store.newest(channel.number) == newest + 1
        made = await make_channel(store, "another")
        assert made.number > max(c.number for c in old.catalog.channels.values())


async def test_what_was_interrupted_goes_on(
    full: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody opens the half of it meanwhile."""
    monkeypatch.setattr(copying, "PAGE_ROWS", 2)
    with (
        open_side("sqlite", full, None, target=False) as old,
        open_side(database, tmp_path, None, target=True) as new,
    ):
        pages = 0

        def interrupted(done: int) -> None:
            nonlocal pages
            pages += 1
            if pages == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_store(old, new, interrupted)
    with pytest.raises(InvalidValue, match="not whole"):
        async with open_test_store("postgres", tmp_path):
            pass

    rows = copied(("sqlite", full), (database, tmp_path))

    assert rows["events"] == len(content(full)["events"])
    async with open_test_store("postgres", tmp_path) as store:
        assert await store.channel_status()


async def test_a_source_that_went_on_is_not_mixed_with_what_it_was(
    full: Path, database: str, tmp_path: Path
) -> None:
    with open_side("sqlite", full, None, target=False) as old:
        _begin(database, tmp_path, old)
    store = await open_sqlite(full)
    await append_many(store, next(iter(store.catalog.channels.values())), 1)
    await store.close()

    with pytest.raises(InvalidValue, match="gone on"):
        copied(("sqlite", full), (database, tmp_path))


def _begin(database: str, folder: Path, old: Side) -> None:
    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with (
        open_side(database, folder, None, target=True) as new,
        pytest.raises(KeyboardInterrupt),
    ):
        copy_store(old, new, stop)


async def test_nothing_is_copied_over_a_store_or_off_one_that_runs(
    full: Path, database: str, tmp_path: Path
) -> None:
    async with open_test_store("postgres", tmp_path) as store:
        await make_channel(store)
        with pytest.raises(InvalidValue, match="servers run on"):
            copied(("sqlite", full), (database, tmp_path))
    with pytest.raises(InvalidValue, match="holds a store already"):
        copied(("sqlite", full), (database, tmp_path))
    with pytest.raises(InvalidValue, match="is there already"):
        copied((database, tmp_path), ("sqlite", full))
    running = await open_store("sqlite", full)
    with pytest.raises(StoreLocked):
        copied(("sqlite", full), (database, tmp_path))
    await running.close()
