"""Progress that waits is more than a full disk has room for: it gets on with what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from relay_server.delivery.upkeep import Upkeep
from relay_server.errors import StoreFull
from relay_server.metrics import Metrics
from relay_server.store.sqlite import room
from relay_server.store.sqlite.checkpointer import Checkpointer
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.room import Reserve
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.values import Attempt, Channel, Mark, MarkState, Progress
from tests.support import badfs
from tests.support.badfs import BadFs, bad_fs
from tests.support.clock import START_MS, VirtualClock
from tests.support.disks import MIB, SmallDisk, small_disk
from tests.support.events import new_event
from tests.support.stores import append_many, make_channel, make_subscription, record
from tests.support.waiting import until

EVENTS = 100
TRIES = 100
TEXT = "x" * 1_000


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_S", 0.01)
    monkeypatch.setattr("relay_server.store.sqlite.store.FULL_RECORD_S", 0.01)


def all_tries() -> tuple[Attempt, ...]:
    """Some 10 MB."""
    return tuple(
        Attempt(sequence, number, START_MS, 1, "response", 500, TEXT)
        for sequence in range(1, EVENTS + 1)
        for number in range(1, TRIES + 1)
    )


async def fill(store: SqliteStore, channel: Channel) -> None:
    """Store the events."""
    for _ in range(EVENTS):
        await store.append(channel.number, new_event(b"x" * 100_000))


async def append_one(store: SqliteStore, channel: Channel) -> None:
    await store.append(channel.number, new_event(b"x" * 100_000))


# On a disk that is really full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 96 MiB."""
    with small_disk(tmp_path / "data", 96 * MIB) as disk:
        yield disk


@pytest.fixture
async def store(disk: SmallDisk) -> AsyncIterator[SqliteStore]:
    """A store on it."""
    store = await open_sqlite(disk.folder)
    yield store
    disk.clear()
    await store.close()


async def backlogs(store: SqliteStore) -> set[int]:
    """What waits for each subscription, as far as it is written."""
    return {status.backlog for status in await store.subscription_status()}


async def clean_up(store: SqliteStore) -> None:
    """What the server does again and again while its disk is full."""
    upkeep = Upkeep(store, VirtualClock(), Metrics())
    with suppress(StoreFull):
        await upkeep.run_once(disk_is_full=True)


@pytest.mark.slow
async def test_a_little_room_is_enough_for_much_progress_and_for_the_clean_up(
    store: SqliteStore, disk: SmallDisk
) -> None:
    """Others took what the reserve gave: 20 MB wait, and 2 MiB are free."""
    channel = await make_channel(store)
    claims = [(await make_subscription(store, name=name))[1] for name in ("ana", "bia")]
    await fill(store, channel)
    disk.fill()
    with pytest.raises(StoreFull):
        await append_one(store, channel)
    await record(store, claims[0], Progress(1))
    assert not (disk.folder / "reserve").exists()
    await until(lambda: (disk.folder / f"{FILE_NAME}-wal").stat().st_size == 0)
    disk.fill()
    for claim in claims:
        store.record(claim, Progress(EVENTS, (), all_tries()))
    with suppress(StoreFull):
        await store.flush()

    disk.give_back(2 * MIB)

    async with asyncio.timeout(20):
        while store.usage(channel.number):
            await clean_up(store)
    assert await backlogs(store) == {0}
    assert disk.free < 8 * MIB, "nothing else made room"


async def append_until_full(store: SqliteStore, channel: Channel) -> int:
    """Very large webhooks, as fast as they come; returns how many were stored."""
    stored = 0

    async def append_some() -> None:
        nonlocal stored
        for _ in range(100):
            await store.append(channel.number, new_event(b"x" * 1_000_000))
            stored += 1

    results = await asyncio.gather(*[append_some() for _ in range(16)], return_exceptions=True)
    assert all(isinstance(result, StoreFull) for result in results)
    return stored


@pytest.mark.slow
@pytest.mark.parametrize("free", [24, 40, 56])
async def test_a_log_of_large_webhooks_can_be_folded_once_the_disk_is_full(
    store: SqliteStore, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """The thread that copies it gets no time: nothing but the reserve is left to fold it with."""
    monkeypatch.setattr(Checkpointer, "copy", lambda self: self._wanted.clear())
    channel = await make_channel(store)
    _, claim = await make_subscription(store)
    disk.fill(but=free * MIB)

    stored = await append_until_full(store, channel)

    await until(lambda: (disk.folder / f"{FILE_NAME}-wal").stat().st_size == 0)
    assert stored >= free // 4, "room is used as far as that is safe"
    events = await store.list_events(channel.number, None, 1_000)
    assert len(events) == stored
    store.record(claim, Progress(stored))
    async with asyncio.timeout(20):
        while store.usage(channel.number):
            await clean_up(store)


@pytest.mark.slow
async def test_a_disk_that_the_store_has_filled_is_used_again_once_that_is_delivered(
    store: SqliteStore, disk: SmallDisk
) -> None:
    """Again and again: the database's file does not shrink, and nobody else makes room."""
    channel = await make_channel(store)
    _, claim = await make_subscription(store)
    delivered = 0

    for _ in range(3):
        stored = await append_until_full(store, channel)
        assert stored > 10
        delivered += stored
        store.record(claim, Progress(delivered, (), all_tries()))
        async with asyncio.timeout(20):
            while not store.space.taking:
                await clean_up(store)
                await asyncio.sleep(0.01)  # the pace of the server
        assert (disk.folder / "reserve").exists(), "there is no need for it"


# With a disk that takes so many pages and no more


@pytest.fixture
def fs() -> Iterator[BadFs]:
    """Below everything that is opened in a test."""
    with bad_fs() as fs:
        yield fs


async def test_what_fits_is_kept_though_all_of_it_never_fits(
    tmp_path: Path, fs: BadFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(tmp_path)
    try:
        await append_many(store, await make_channel(store), EVENTS)
        _, claim = await make_subscription(store, since=0)
        monkeypatch.setattr(Reserve, "free", lambda _: 0)
        waiting = [Mark(n, MarkState.WAITING, 1, reason=TEXT) for n in range(1, EVENTS + 1)]
        store.record(claim, Progress(0, tuple(waiting)))

        for _ in range(20):
            fs.fail(badfs.DISK_FULL, "-wal", skip=60)  # each page is two writes
            with suppress(StoreFull):
                await store.flush()
            fs.heal()
            if written_marks(tmp_path) == EVENTS:
                break
        assert written_marks(tmp_path) == EVENTS
    finally:
        await store.close()


def written_marks(data_dir: Path) -> int:
    """What another process would find."""
    with closing(Database(data_dir / FILE_NAME, readonly=True)) as database:
        return len(database.all("marks_above", reader=1, floor=0))
