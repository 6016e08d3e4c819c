"""A disk that is full, read-only or failing, below a store that promises."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from relay_server.configs import ChannelConfig
from relay_server.errors import (
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from relay_server.store.sqlite import checkpointer, integrity, room
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.room import (
    BATCH_BYTES,
    LAST_BYTES,
    RESERVE_BYTES,
    RESERVE_NAME,
    Reserve,
)
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.store.sqlite.writer import Writer
from relay_server.values import Appended, Channel, Progress
from tests.support import badfs
from tests.support.badfs import BadFs, Fault, bad_fs
from tests.support.clock import START_MS
from tests.support.events import attempt, mark, new_event
from tests.support.stores import append_many, make_channel, make_subscription, progress_of
from tests.support.waiting import LONG_S, until

FULL_DISKS = [badfs.DISK_FULL, badfs.OVER_QUOTA]


@dataclass
class Disk:
    """The free space that the store sees."""

    free: int = 1 << 40


@dataclass
class Opened:
    """A store on a file system that can fail.

    Attributes:
        broken: What the server was told.
        closed: It was closed already.
        taking: Each change of whether it takes webhooks.
    """

    store: SqliteStore
    channel: Channel
    fs: BadFs
    broken: list[StoreBroken] = field(default_factory=list)
    closed: bool = False
    taking: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store.space.listen(lambda space: self.taking.append(space.taking))

    async def turned(self, *taking: bool) -> None:
        """Wait until it has stopped to take webhooks, and begun again, in this order."""
        await until(lambda: self.taking == list(taking))

    async def append(self, count: int = 1) -> list[str]:
        return await append_many(self.store, self.channel, count)

    async def close(self) -> None:
        """Close it, once."""
        if self.closed:
            return
        self.closed = True
        self.fs.heal()
        try:
            await self.store.close()
        except StoreBroken:
            assert self.broken


@pytest.fixture
def fs() -> Iterator[BadFs]:
    """Below everything that is opened in a test."""
    with bad_fs() as fs:
        yield fs


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Much is free, until a test says otherwise; it is looked at often."""
    disk = Disk()
    monkeypatch.setattr(room, "LOOK_S", 0.01)
    monkeypatch.setattr(Reserve, "free", lambda _: disk.free)
    return disk


@pytest.fixture
async def opened(tmp_path: Path, fs: BadFs, disk: Disk) -> AsyncIterator[Opened]:
    """A store with a channel."""
    broken: list[StoreBroken] = []
    store = await open_sqlite(tmp_path, broken.append)
    opened = Opened(store, await make_channel(store), fs, broken)
    yield opened
    await opened.close()


def reserved(data_dir: Path) -> bool:
    """Whether the reserve really takes its place."""
    try:
        return (data_dir / RESERVE_NAME).stat().st_blocks * 512 >= RESERVE_BYTES
    except FileNotFoundError:
        return False


def ids(data_dir: Path) -> list[str]:
    """What another process would find."""
    with closing(apsw.Connection(str(data_dir / FILE_NAME))) as connection:
        return [str(i) for (i,) in connection.execute("SELECT id FROM events ORDER BY position")]


# Full


def test_the_reserve_takes_its_place_and_gives_it_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)

    assert reserve.make()
    assert reserved(tmp_path)
    assert (tmp_path / RESERVE_NAME).stat().st_mode & 0o777 == 0o600
    assert Reserve(tmp_path).make(), "it is left from before"
    assert reserve.release()
    assert not (tmp_path / RESERVE_NAME).exists()
    assert not reserve.release()


def test_a_reserve_of_holes_is_made_anew(tmp_path: Path) -> None:
    """A copied data dir may have one."""
    with (tmp_path / RESERVE_NAME).open("wb") as file:
        file.truncate(RESERVE_BYTES)

    assert Reserve(tmp_path).make()

    assert reserved(tmp_path)


@pytest.mark.parametrize("fault", FULL_DISKS, ids=["disk", "quota"])
async def test_a_full_disk_refuses_webhooks_and_lets_the_rest_go_on(
    opened: Opened, disk: Disk, tmp_path: Path, fault: Fault
) -> None:
    store = opened.store
    _, claim = await make_subscription(store)
    stored = await opened.append(3)
    assert reserved(tmp_path)

    disk.free = 0
    opened.fs.fail(fault, "-wal", times=2)  # first for webhooks, then for anything
    store.record(claim, Progress(1, (mark(2),), (attempt(2),)))
    results = await asyncio.gather(
        *(store.append(opened.channel.number, new_event()) for _ in range(5)),
        return_exceptions=True,
    )

    assert [type(r) for r in results] == [StoreFull] * 5
    await opened.turned(False)
    assert opened.broken == []
    with pytest.raises(StoreFull, match="is full"):
        await opened.append()
    assert reserved(tmp_path), "what webhooks left free may do"
    await store.create_channel("more", ChannelConfig(), 0)
    assert not reserved(tmp_path), "it did not"
    await store.flush()
    assert ids(tmp_path) == stored
    assert await progress_of(store, claim.reader) == Progress(1, (mark(2),))


async def test_it_takes_webhooks_again_by_itself(
    opened: Opened, disk: Disk, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        disk.free = 0
        opened.fs.fail(badfs.DISK_FULL, "-wal", times=1)
        for _ in range(3):
            with pytest.raises(StoreFull):
                await opened.append()
        disk.free = 1 << 40

        await opened.turned(False, True)

    assert reserved(tmp_path)
    assert len(await opened.append(2)) == 2
    said = [(e["log_level"], e["event"]) for e in logs]
    assert said == [
        ("error", "webhooks are refused; deliveries go on"),
        ("warning", "webhooks are taken again"),
    ]


async def test_webhooks_that_wait_do_not_wait_for_the_clean_up(
    opened: Opened, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving the log's place back takes a while on a slow disk; all know the answer by then."""
    loop, gate, told = asyncio.get_running_loop(), threading.Event(), list[bool]()
    fold, writer = checkpointer.Checkpointer.fold, opened.store._writer
    assert isinstance(writer, Writer)

    def slowly(mine: checkpointer.Checkpointer, database: Database) -> None:
        if not told:
            told.append(asyncio.run_coroutine_threadsafe(all_done(waiting), loop).result(5))
        fold(mine, database)

    monkeypatch.setattr(checkpointer.Checkpointer, "fold", slowly)
    disk.free = 0
    begun = threading.Event()

    def hold(_: Database) -> None:
        begun.set()
        gate.wait(LONG_S)

    held = writer.submit(hold)
    await until(begun.is_set)
    number = opened.channel.number  # more than one transaction takes:
    waiting = [opened.store.append(number, new_event()) for _ in range(999)]

    gate.set()
    await held
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert {type(r) for r in results} == {StoreFull}
    await until(lambda: told)
    assert told == [True]


async def all_done(waiting: Sequence[asyncio.Future[Appended]]) -> bool:
    """Whether all end without any help."""
    _, late = await asyncio.wait(waiting, timeout=LONG_S)
    return not late


async def test_progress_that_finds_no_room_either_is_kept(
    opened: Opened, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_server.store.sqlite.store.FULL_RECORD_S", 0.01)
    store = opened.store
    _, claim = await make_subscription(store)
    await opened.append(3)
    disk.free = 0
    opened.fs.fail(badfs.DISK_FULL)

    store.record(claim, Progress(2))
    with pytest.raises(StoreFull):
        await store.flush()
    [status] = await store.subscription_status()
    assert status.backlog == 3
    assert len(await store.fetch(opened.channel.number, [1, 2, 3])) == 3

    opened.fs.heal()
    disk.free = 1 << 40
    await opened.turned(False, True)
    [status] = await store.subscription_status()
    assert status.backlog == 1


async def test_progress_is_written_while_webhooks_are_refused(
    opened: Opened, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than otherwise, without being asked, and for good without what only tells of it."""
    monkeypatch.setattr("relay_server.store.sqlite.store.FULL_RECORD_S", 0.05)
    store = opened.store
    _, claim = await make_subscription(store)
    await opened.append(2)
    disk.free = 0
    opened.fs.fail(badfs.DISK_FULL, "-wal", times=1)
    with pytest.raises(StoreFull):
        await opened.append()

    store.record(claim, Progress(1, (), (attempt(1),)))

    assert store._pending.waiting
    await until(lambda: not store._pending.waiting)
    [states] = await store.deliveries(opened.channel.number, [1])
    assert (states[0].state, states[0].attempts) == ("delivered", ())


async def test_a_stop_with_a_full_disk_lets_go_all_the_same(
    tmp_path: Path, fs: BadFs, disk: Disk
) -> None:
    store = await open_sqlite(tmp_path)
    await make_channel(store)
    _, claim = await make_subscription(store)
    disk.free = 0
    fs.fail(badfs.DISK_FULL, "-wal")
    store.record(claim, Progress(0, (mark(1),)))

    await store.close()

    fs.heal()
    await (await open_sqlite(tmp_path)).close()


async def test_space_inside_the_database_is_room_too(
    opened: Opened, disk: Disk, tmp_path: Path
) -> None:
    """Deleted events leave pages that new ones go to, though the disk has little more."""
    for _ in range(100):
        await opened.store.append(opened.channel.number, new_event(b"x" * 200_000))
    disk.free = 0
    opened.fs.fail(badfs.DISK_FULL, "-wal", times=2)
    with pytest.raises(StoreFull):
        await opened.append()
    await opened.store.create_channel("more", ChannelConfig(), 0)
    assert not reserved(tmp_path)
    disk.free = LAST_BYTES + BATCH_BYTES

    await opened.store.delete_channel("chatwoot")

    await opened.turned(False, True)
    assert not reserved(tmp_path)
    channel = await make_channel(opened.store)
    await append_many(opened.store, channel, 10)


async def test_a_cap_is_held_and_left_to_what_is_deleted(
    tmp_path: Path, fs: BadFs, disk: Disk
) -> None:
    store = await open_sqlite(tmp_path, max_bytes=8_000_000)
    try:
        channel = await make_channel(store)

        async def fill() -> None:
            for _ in range(1_000):
                await store.append(channel.number, new_event(b"x" * 100_000))

        with pytest.raises(StoreFull):
            await fill()
        assert reserved(tmp_path), "the disk itself has room"
        await until(lambda: not store.space.taking)
        assert "RELAY_SERVER_MAX_STORE_BYTES" in store.space.reason
        await store.create_channel("more", ChannelConfig(), 0)

        await store.delete_channel("chatwoot")

        await until(lambda: store.space.taking)
        await append_many(store, await make_channel(store), 10)
    finally:
        await store.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 9_000_000


async def test_deleting_a_channel_is_done_though_what_it_held_cannot_be_swept_now(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_store: SqliteStore, _limit: int) -> bool:
        raise StoreFull("no room")

    await opened.append(3)
    monkeypatch.setattr(SqliteStore, "sweep", full)

    await opened.store.delete_channel("chatwoot")

    assert not opened.store.catalog.channels


async def test_nothing_is_remembered_of_a_channel_that_is_deleted_under_load(
    opened: Opened,
) -> None:
    store, number = opened.store, opened.channel.number
    appending = [store.append(number, new_event()) for _ in range(400)]
    deleting = asyncio.ensure_future(store.delete_channel("chatwoot"))
    await asyncio.sleep(0)  # it is submitted
    appending += [store.append(number, new_event()) for _ in range(400)]

    answers = await asyncio.gather(*appending, return_exceptions=True)
    await deleting
    with pytest.raises(ChannelNotFound):
        await store.append(number, new_event())
    await store.fetch(number, [1])

    assert {ChannelNotFound, Appended} >= {type(answer) for answer in answers}
    assert store._cache.of(number) is None
    assert (store._cache._events, store._cache._kept) == (0, 0)


# Read-only


async def test_a_read_only_disk_refuses_until_it_can_be_written_to(
    opened: Opened, tmp_path: Path
) -> None:
    opened.fs.fail(badfs.READ_ONLY)
    for _ in range(2):
        with pytest.raises(StoreReadOnly, match=f"{tmp_path}.*Read-only file system"):
            await opened.append()
    assert opened.broken == []

    opened.fs.heal()

    await opened.turned(False, True)
    assert await opened.append() == ids(tmp_path)


# Failing


@pytest.mark.parametrize(
    "fault",
    [badfs.SYNC_FAILED, badfs.SYNC_FULL, badfs.WRITE_FAILED],
    ids=["fsync", "full", "write"],
)
async def test_a_disk_that_fails_ends_all_promises(
    opened: Opened, tmp_path: Path, fault: Fault
) -> None:
    stored = await opened.append(2)
    opened.fs.fail(fault, "-wal", times=1)  # once is enough: the next one may lie
    results = await asyncio.gather(
        *(opened.store.append(opened.channel.number, new_event()) for _ in range(600)),
        return_exceptions=True,
    )

    assert {type(r) for r in results} == {StoreBroken}
    await until(lambda: opened.broken)
    [error] = opened.broken
    assert str(tmp_path / FILE_NAME) in str(error)
    assert os.strerror(fault.number) in str(error)
    assert error.hint
    with pytest.raises(StoreBroken):
        await opened.append()
    assert set(stored) <= set(ids(tmp_path))


async def test_a_failed_read_ends_all_promises(opened: Opened) -> None:
    event = (await opened.append())[0]
    opened.fs.fail(badfs.READ_FAILED)

    database = opened.store._reports.database
    assert isinstance(database, Database)
    database.connection.release_memory()

    with pytest.raises(StoreBroken):
        await opened.store.find_event(event)

    await until(lambda: opened.broken)


async def test_a_failed_checkpoint_ends_all_promises(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for it, so nobody else would hear of it."""
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PAGES", 10)
    opened.fs.fail(badfs.SYNC_FAILED, FILE_NAME)

    async def go_on() -> None:
        while not opened.broken:
            await opened.append(20)
        await opened.append(20)  # the failure may have come between two

    with pytest.raises(StoreBroken, match="sync"):
        await go_on()


async def test_a_row_that_cannot_be_read_ends_all_promises(opened: Opened, tmp_path: Path) -> None:
    """SQLite keeps no checksums: a flipped bit in a value is sound to it. Events have their own."""
    await opened.store.subscribe("chatwoot", "ana", None, START_MS)
    with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as connection:
        connection.execute("UPDATE subscriptions SET config = x'c1c1'")

    with pytest.raises(StoreBroken, match="damaged"):
        await opened.store.subscriptions()

    await until(lambda: opened.broken)


# Vanished


def removed(file: Path) -> None:
    file.unlink()


def replaced(file: Path) -> None:
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.rename(file)


@pytest.mark.parametrize("name", [FILE_NAME, f"{FILE_NAME}-wal"])
@pytest.mark.parametrize("happens", [removed, replaced])
async def test_what_goes_into_a_file_that_nobody_will_find_is_not_stored(
    opened: Opened, tmp_path: Path, name: str, happens: Callable[[Path], None]
) -> None:
    await opened.append()
    happens(tmp_path / name)
    there = (tmp_path / name).exists() and (tmp_path / name).read_bytes()

    with pytest.raises(StoreBroken, match=str(tmp_path / name)):
        await opened.append()
    await until(lambda: opened.broken)
    await opened.close()

    assert ((tmp_path / name).exists() and (tmp_path / name).read_bytes()) == there


async def test_a_data_dir_that_was_removed(opened: Opened, tmp_path: Path) -> None:
    for file in tmp_path.iterdir():
        file.unlink()
    tmp_path.rmdir()

    with pytest.raises(StoreBroken, match="removed or replaced"):
        await opened.append()

    await until(lambda: opened.broken)
    tmp_path.mkdir()


# At the start


async def test_a_full_disk_at_the_start_is_one_of_refusals(
    tmp_path: Path, fs: BadFs, disk: Disk
) -> None:
    disk.free = 0

    store = await open_sqlite(tmp_path)

    await until(lambda: not store.space.taking)
    disk.free = 1 << 40
    await until(lambda: store.space.taking)
    await store.close()


async def test_without_a_reserve_a_start_says_that_the_disk_is_full(
    tmp_path: Path, fs: BadFs, disk: Disk
) -> None:
    disk.free = 0
    fs.fail(badfs.DISK_FULL)

    with pytest.raises(StoreUnavailable, match="full"):
        await open_sqlite(tmp_path)


async def test_a_large_store_is_checked_while_it_works(
    tmp_path: Path, fs: BadFs, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "INLINE_CHECK_BYTES", 0)
    store = await open_sqlite(tmp_path)
    await append_many(store, await make_channel(store), 300)
    await store.close()
    with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as connection:
        connection.execute("UPDATE channels SET last_sequence = 7")
    broken: list[StoreBroken] = []

    store = await open_sqlite(tmp_path, broken.append)

    await until(lambda: broken)
    assert "channel chatwoot has event 300, but counts up to 7" in str(broken[0])
    with pytest.raises(StoreBroken):
        await store.close()


async def test_a_stop_does_not_wait_until_a_large_store_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def check(database: Database, _path: Path) -> None:
        begun.set()
        endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        database.ask(lambda db: db.connection.execute(f"{endless} SELECT max(i) FROM n").fetchall())

    monkeypatch.setattr(integrity, "INLINE_CHECK_BYTES", -1)
    monkeypatch.setattr(integrity, "check", check)
    store = await open_sqlite(tmp_path)
    await until(begun.is_set)

    async with asyncio.timeout(LONG_S):
        await store.close()
