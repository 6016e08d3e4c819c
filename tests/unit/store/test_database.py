"""A store opens what is its own, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import apsw
import pytest

from relay_protocol.errors import RelayError
from relay_server.errors import (
    InvalidValue,
    StoreBroken,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from relay_server.store.sql.pending import Pending
from relay_server.store.sqlite import store as module
from relay_server.store.sqlite.database import APPLICATION_ID, Database, translate
from relay_server.store.sqlite.sql import migrations, queries
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.values import Progress
from tests.support.events import mark, new_event
from tests.support.stores import append_many, make_channel, make_subscription
from tests.support.waiting import LONG_S, until


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[SqliteStore]:
    """A store, closed at the end."""
    store = await open_sqlite(data_dir)
    try:
        yield store
    finally:
        await store.close()


def execute(file: Path, sql: str) -> list[tuple[object, ...]]:
    """Something done to a database from outside."""
    with closing(apsw.Connection(str(file))) as connection:
        connection.set_busy_timeout(5_000)  # the store may be writing
        return connection.execute(sql).fetchall()


async def test_a_new_store_is_ours_and_for_its_owner_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass

    file = tmp_path / FILE_NAME
    assert execute(file, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert execute(file, "PRAGMA user_version") == [(len(migrations()),)]
    assert execute(file, "PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_store_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    execute(tmp_path / FILE_NAME, "PRAGMA user_version = 999")

    with pytest.raises(StoreTooNew, match="999"):
        await open_sqlite(tmp_path)

    assert execute(tmp_path / FILE_NAME, "PRAGMA user_version") == [(999,)]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE notes (text TEXT)",
        "PRAGMA application_id = 42",
        "PRAGMA user_version = 1",
        "CREATE TABLE channels (number INTEGER)",
    ],
)
async def test_a_database_of_another_program_is_left_alone(tmp_path: Path, sql: str) -> None:
    file = tmp_path / FILE_NAME
    execute(file, sql)
    tables = execute(file, "SELECT name FROM sqlite_schema")

    with pytest.raises(StoreBroken):
        await open_sqlite(tmp_path)

    assert execute(file, "SELECT name FROM sqlite_schema") == tables


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 1_000)

    for _ in range(2):  # the lock was let go
        with pytest.raises(StoreBroken):
            await open_sqlite(tmp_path)

    assert (tmp_path / FILE_NAME).read_bytes() == b"no database " * 1_000


async def test_a_data_dir_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no-such-dir"):
        await open_sqlite(tmp_path / "no-such-dir")


def test_every_query_is_one_that_sqlite_understands(tmp_path: Path) -> None:
    with migrated(tmp_path / "x.db") as connection:
        for name, sql in queries().items():
            assert explained(connection, sql), name


# Statements that go through a whole table which grows with webhooks, and why they may.
SCANNED = {
    "count_all": "what a backup holds is counted once, when it is restored",
    "empty_answers": "of failures, when bodies come to be sealed for the first time",
    "readers_that_skip": "of filtered subscriptions that wait, once, when a store is opened",
}
SCAN = re.compile(r"SCAN (\w+)")


def test_no_statement_goes_through_a_table_that_grows(tmp_path: Path) -> None:
    """One that did would take longer with each webhook; each alias counts as its table."""
    scanning = dict[str, set[str]]()
    with migrated(tmp_path / "x.db") as connection:
        for name, sql in queries().items():
            if tables := scanned(connection, sql) & {"events", "deliveries", "attempts", "skips"}:
                scanning[name] = tables
    assert scanning.keys() == SCANNED.keys(), scanning


def test_a_scan_is_seen_also_under_an_alias(tmp_path: Path) -> None:
    with migrated(tmp_path / "x.db") as connection:
        for sql in (
            "SELECT 1 FROM events e WHERE e.size > ?",
            "SELECT count(*) FROM events",
            "DELETE FROM events WHERE received_at < ?",
            "SELECT 1 FROM channels c WHERE EXISTS (SELECT 1 FROM events AS x WHERE x.kind = ?)",
        ):
            assert "events" in scanned(connection, sql), sql
        assert not scanned(connection, "SELECT 1 FROM events e WHERE e.position > ?")


@contextmanager
def migrated(file: Path) -> Iterator[apsw.Connection]:
    """An empty database of this version, with the functions that its queries call."""
    with closing(apsw.Connection(str(file))) as connection:
        for name, count in (("meant", 1), ("opened", 3)):
            connection.create_scalar_function(name, lambda *values: values[0], count)
        for script in migrations():
            connection.execute(script)
        yield connection


def scanned(connection: apsw.Connection, sql: str) -> set[str]:
    """Tables that a statement goes through from one end to the other."""
    details = [str(row[3]) for row in explained(connection, sql, "EXPLAIN QUERY PLAN")]
    names = {found[1] for detail in details if (found := SCAN.match(detail))}
    aliases = dict(re.findall(r"\b(?:FROM|JOIN|,)\s+(\w+)\s+(?:AS\s+)?(\w+)", sql))
    return names | {table for table, alias in aliases.items() if alias in names}


def explained(
    connection: apsw.Connection, sql: str, how: str = "EXPLAIN"
) -> list[tuple[object, ...]]:
    """SQLite's program for a query, which is given as many values as it takes."""
    for count in range(20):
        try:
            return connection.execute(f"{how} {sql}", [0] * count).fetchall()
        except apsw.BindingsError:
            continue
    raise AssertionError(sql)


# Errors


IO = apsw.IOError


@pytest.mark.parametrize(
    ("kind", "code", "number", "meaning"),
    [
        (apsw.FullError, apsw.SQLITE_FULL, errno.ENOSPC, StoreFull),
        (apsw.FullError, apsw.SQLITE_FULL, 0, StoreFull),  # the cap
        (IO, apsw.SQLITE_IOERR_WRITE, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EDQUOT, StoreFull),
        (IO, apsw.SQLITE_IOERR_SHMSIZE, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_SHMOPEN, errno.ENOSPC, StoreFull),
        (IO, apsw.SQLITE_IOERR_TRUNCATE, errno.EDQUOT, StoreFull),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.ENOSPC, StoreFull),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.EMFILE, StoreUnavailable),
        (apsw.ReadOnlyError, apsw.SQLITE_READONLY, 0, StoreReadOnly),
        (apsw.ReadOnlyError, apsw.SQLITE_READONLY_DBMOVED, 0, StoreBroken),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EROFS, StoreReadOnly),
        (apsw.CantOpenError, apsw.SQLITE_CANTOPEN, errno.EROFS, StoreReadOnly),
        (IO, apsw.SQLITE_IOERR_WRITE, errno.EIO, StoreBroken),
        (IO, apsw.SQLITE_IOERR_SHMSIZE, errno.EIO, StoreBroken),
        (IO, apsw.SQLITE_IOERR_FSYNC, errno.ENOSPC, StoreBroken),  # what was written may be gone
        (IO, apsw.SQLITE_IOERR_DIR_FSYNC, errno.EROFS, StoreBroken),
        (IO, apsw.SQLITE_IOERR_READ, errno.ENOSPC, StoreBroken),
        (IO, apsw.SQLITE_IOERR_SHORT_READ, 0, StoreBroken),
        (apsw.CorruptError, apsw.SQLITE_CORRUPT, 0, StoreBroken),
        (apsw.NotADBError, apsw.SQLITE_NOTADB, errno.ENOSPC, StoreBroken),
        (apsw.BusyError, apsw.SQLITE_BUSY, errno.ENOSPC, StoreUnavailable),  # of another error
        (apsw.ConstraintError, apsw.SQLITE_CONSTRAINT, 0, StoreUnavailable),
    ],
)
def test_an_error_means(
    kind: type[apsw.Error], code: int, number: int, meaning: type[RelayError]
) -> None:
    error = kind("SQLite's words")
    error.extendedresult = code  # type: ignore[attr-defined]

    failure = translate(error, "/data/relay.db", number)

    assert type(failure) is meaning
    assert "/data/relay.db" in str(failure)
    if meaning in (StoreBroken, StoreReadOnly):
        said = f" ({os.strerror(number)})" if number else ""
        assert f"SQLite's words{said}" in str(failure)


# Progress


def floor(data_dir: Path) -> object:
    """The floor on the disk, read without asking the store."""
    return execute(data_dir / FILE_NAME, "SELECT floor FROM subscriptions")[0][0]


async def test_what_is_recorded_is_written_without_being_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        _, claim = await make_subscription(store)
        await append_many(store, channel, 1)

        store.record(claim, Progress(1))

        await until(lambda: floor(tmp_path) == 1)


@pytest.mark.parametrize(("collect_s", "written"), [(0.0, 1), (9.0, 0)])
async def test_progress_rides_along_with_a_webhook_once_some_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collect_s: float, written: int
) -> None:
    monkeypatch.setattr(module, "COLLECT_S", collect_s)
    monkeypatch.setattr(module, "RECORD_WITHIN_S", 10.0)
    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        _, claim = await make_subscription(store)
        await append_many(store, channel, 2)

        store.record(claim, Progress(1))
        await append_many(store, channel, 1)

        assert floor(tmp_path) == written


async def test_progress_is_tried_again_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no other webhook to come, somebody has to think of it."""
    tried: list[Pending] = []
    write = Pending.write

    def counted(pending: Pending, database: Database, rows: int | None) -> None:
        tried.append(pending)
        write(pending, database, rows)

    monkeypatch.setattr(Pending, "write", counted)
    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        _, claim = await make_subscription(store)
        await append_many(store, channel, 1)
        file = tmp_path / FILE_NAME
        execute(file, "ALTER TABLE deliveries RENAME TO hidden")

        tried.clear()
        store.record(claim, Progress(1, (mark(9),)))
        await until(lambda: len(tried) >= 3)
        assert floor(tmp_path) == 0
        execute(file, "ALTER TABLE hidden RENAME TO deliveries")

        await until(lambda: floor(tmp_path) == 1)


async def test_progress_outlives_the_failure_of_what_it_rode_along_with(tmp_path: Path) -> None:
    """Its own time to be written came and went meanwhile."""
    gate = threading.Event()

    def fail(_: Database) -> None:
        gate.wait(LONG_S)
        raise apsw.ConstraintError("no")

    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        _, claim = await make_subscription(store)
        await append_many(store, channel, 1)
        store.record(claim, Progress(1))
        failing = store._writer.submit(fail)
        await until(lambda: store._write_timer is None)

        gate.set()
        with pytest.raises(StoreUnavailable):
            await failing

        await until(lambda: floor(tmp_path) == 1)


async def test_a_store_that_cannot_write_its_last_words_still_lets_go(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path)
    await make_channel(store)
    _, claim = await make_subscription(store)
    execute(tmp_path / FILE_NAME, "ALTER TABLE deliveries RENAME TO hidden")
    store.record(claim, Progress(0, (mark(9),)))

    with pytest.raises(StoreUnavailable):
        await store.close()

    execute(tmp_path / FILE_NAME, "ALTER TABLE hidden RENAME TO deliveries")
    async with opened(tmp_path) as again:
        assert set(again.catalog.channels) == {"chatwoot"}


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        channel = await make_channel(store)

    with pytest.raises(StoreUnavailable):
        await store.append(channel.number, new_event())


# Backup


async def test_a_backup_made_while_others_write_opens_and_holds_what_came_before(
    tmp_path: Path,
) -> None:
    copy_dir = tmp_path / "copy"
    copy_dir.mkdir()
    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        subscription, claim = await make_subscription(store)
        before = await append_many(store, channel, 300)
        store.record(claim, Progress(7, (mark(9),)))
        writing = asyncio.create_task(append_many(store, channel, 300))
        await store.backup(copy_dir / FILE_NAME)
        await writing

    async with opened(copy_dir) as copy:
        outlines = await copy.outlines(channel.number, 0, 1_000)
        kept = [e.id for e in await copy.list_events(channel.number, None, 1_000)][::-1]
        again = await copy.claim(subscription.number)
        assert kept[:300] == before
        assert [o.sequence for o in outlines] == list(range(1, len(outlines) + 1))
        assert again is not None
        assert again.progress == Progress(7, (mark(9),))
        assert (await append_many(copy, channel, 1))[0] not in kept
        assert (await make_channel(copy, "new")).number != channel.number
    assert stat.S_IMODE((copy_dir / FILE_NAME).stat().st_mode) == 0o600


async def test_a_backup_has_no_other_file_beside_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await make_channel(store)
        (tmp_path / "copies").mkdir()
        await store.backup(tmp_path / "copies" / "relay.db")

        with pytest.raises(InvalidValue):
            await store.backup(tmp_path / "copies" / "relay.db")

    assert [f.name for f in (tmp_path / "copies").iterdir()] == ["relay.db"]
