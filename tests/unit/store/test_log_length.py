"""The log's file grows ahead of the log: a commit then waits for its pages alone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest

from relay_server.errors import StoreBroken
from relay_server.store.sqlite import checkpointer
from relay_server.store.sqlite.checkpointer import FRAME_HEAD, LENGTHEN_BYTES, PAGE_SIZE
from relay_server.store.sqlite.room import PLENTY_BYTES, Reserve
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.values import Channel
from tests.support.stores import append_many, make_channel
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps make the file as long as it is to be, and the disk has room for it."""
    pages = 5 * LENGTHEN_BYTES // 2 // (PAGE_SIZE + FRAME_HEAD)
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PAGES", pages)
    monkeypatch.setattr(Reserve, "free", lambda _: PLENTY_BYTES)


@pytest.fixture
def broken() -> list[StoreBroken]:
    """What the server was told."""
    return []


@pytest.fixture
async def store(tmp_path: Path, broken: list[StoreBroken]) -> AsyncIterator[SqliteStore]:
    """A store in `tmp_path`."""
    store = await open_sqlite(tmp_path, broken.append)
    yield store
    with suppress(StoreBroken):  # where a test broke it
        await store.close()


@pytest.fixture
async def channel(store: SqliteStore) -> Channel:
    """One of its channels."""
    return await make_channel(store)


def log_of(folder: Path) -> Path:
    """The log's file."""
    return folder / f"{FILE_NAME}-wal"


async def append_each(store: SqliteStore, channel: Channel, count: int) -> list[str]:
    """Store events, a commit for each."""
    return [(await append_many(store, channel, 1))[0] for _ in range(count)]


async def test_the_file_is_longer_than_the_log_from_early_on(
    store: SqliteStore, channel: Channel, tmp_path: Path
) -> None:
    await append_each(store, channel, 100)

    await until(lambda: log_of(tmp_path).stat().st_size >= 3 * LENGTHEN_BYTES)
    length = log_of(tmp_path).stat().st_size
    await append_each(store, channel, 100)
    assert log_of(tmp_path).stat().st_size == length


async def test_what_follows_the_log_is_no_part_of_it(
    store: SqliteStore, channel: Channel, tmp_path: Path
) -> None:
    """As after a crash: another program finds log and zeros, and all that was stored."""
    stored = await append_each(store, channel, 120)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in (FILE_NAME, log_of(tmp_path).name):
        shutil.copyfile(tmp_path / name, crashed / name)

    assert log_of(crashed).read_bytes().endswith(bytes(LENGTHEN_BYTES))
    with closing(apsw.Connection(str(crashed / FILE_NAME))) as database:
        assert [id_ for (id_,) in database.execute("SELECT id FROM events")] == stored
        assert database.pragma("integrity_check") == "ok"


async def test_a_command_leaves_the_file_as_short_as_the_log(
    store: SqliteStore, channel: Channel, tmp_path: Path
) -> None:
    await append_each(store, channel, 5)

    assert log_of(tmp_path).stat().st_size < LENGTHEN_BYTES


async def test_a_disk_without_plenty_of_room_keeps_it(
    store: SqliteStore, channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reserve, "free", lambda _: PLENTY_BYTES - 1)

    await append_each(store, channel, 50)

    assert log_of(tmp_path).stat().st_size < LENGTHEN_BYTES


@pytest.mark.parametrize("call", ["open", "write"])
async def test_a_file_that_cannot_be_made_longer_costs_nobody_a_webhook(
    store: SqliteStore,
    channel: Channel,
    broken: list[StoreBroken],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    refuse_of_log(monkeypatch, call, errno.ENOSPC)

    stored = await append_each(store, channel, 100)

    assert [o.sequence for o in await store.outlines(channel.number, 0, 999)][-1] == len(stored)
    assert not broken


async def test_a_failed_fsync_of_it_ends_all_promises(
    store: SqliteStore,
    channel: Channel,
    broken: list[StoreBroken],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What else of the file is not on the disk then, nobody can know."""
    refuse_of_log(monkeypatch, "fsync", errno.EIO)

    with pytest.raises(StoreBroken, match="longer"):
        await append_each(store, channel, 1_000)

    await until(lambda: bool(broken))


def refuse_of_log(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """Have a system call fail where it is about the log; SQLite's own are not made by Python."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"{checkpointer.__name__}.os.{call}", refused)
