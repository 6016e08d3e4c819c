"""A restore leaves the backup or the store that was there, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay_server.errors import BackupUnusable, StoreFull, StoreLocked, StoreTooNew
from relay_server.store.sqlite import restore as module
from relay_server.store.sqlite.restore import restore
from relay_server.store.sqlite.store import FILE_NAME, open_sqlite
from tests.support.stores import append_many, make_channel

NOW_MS = 1_783_000_810_000
KEPT = f"{FILE_NAME}.before-restore-20260702T140010Z"


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the store is."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


async def fill(data_dir: Path, count: int) -> list[str]:
    """Put so many more events into a store; returns what it has then."""
    store = await open_sqlite(data_dir)
    channel = store.catalog.channels.get("chatwoot") or await make_channel(store)
    await append_many(store, channel, count)
    await store.close()
    return await events(data_dir)


async def events(data_dir: Path) -> list[str]:
    """What a server finds."""
    store = await open_sqlite(data_dir)
    channel = store.catalog.channels["chatwoot"]
    found = [e.id for e in await store.list_events(channel.number, None, 1_000)]
    await store.close()
    return found


@pytest.fixture
async def backup(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the store with 3 events."""
    await fill(data_dir, 3)
    store = await open_sqlite(data_dir)
    await store.backup(tmp_path / "backup.db")
    await store.close()
    return tmp_path / "backup.db"


async def test_the_backup_is_the_store_and_the_former_one_is_kept(
    data_dir: Path, backup: Path, tmp_path: Path
) -> None:
    then = await events(data_dir)
    now = await fill(data_dir, 2)

    done = restore(data_dir / FILE_NAME, backup, NOW_MS)

    assert (done.kept, done.channels, done.events) == (data_dir / KEPT, 1, 3)
    assert await events(data_dir) == then
    former = tmp_path / "former"
    former.mkdir()
    (data_dir / KEPT).rename(former / FILE_NAME)
    assert await events(former) == now
    assert {f.name for f in data_dir.iterdir()} == {
        FILE_NAME,
        "relay.lock",
        "relay.made",
        "reserve",
    }


async def test_it_can_be_restored_where_nothing_was(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    done = restore(tmp_path / "new" / FILE_NAME, backup, NOW_MS)

    assert done.kept is None
    assert len(await events(tmp_path / "new")) == 3
    assert (tmp_path / "new" / FILE_NAME).stat().st_mode & 0o777 == 0o600


async def test_the_log_of_a_damaged_store_is_not_taken_for_that_of_the_backup(
    data_dir: Path, backup: Path
) -> None:
    (data_dir / FILE_NAME).write_bytes(b"no database" * 1_000)
    (data_dir / f"{FILE_NAME}-wal").write_bytes(b"a log")

    restore(data_dir / FILE_NAME, backup, NOW_MS)

    assert (data_dir / f"{KEPT}-wal").read_bytes() == b"a log"
    assert not (data_dir / f"{FILE_NAME}-wal").exists()
    assert len(await events(data_dir)) == 3


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Ends the process at the so-manieth step: before it, and with half a step more after it."""
    left = {"steps": 0}

    def crashing(name: str) -> None:
        real = getattr(module, name)

        def step(*arguments: object) -> object:
            left["steps"] -= 1
            if left["steps"] == 0:
                raise Crash
            return real(*arguments)

        monkeypatch.setattr(module, name, step)

    for name in ("_copy", "_check", "_fold_log", "_rename"):
        crashing(name)
    yield left
    left["steps"] = 0


async def test_a_crash_at_any_step_leaves_the_one_or_the_other(
    data_dir: Path, backup: Path, crashes: dict[str, int]
) -> None:
    then = await events(data_dir)
    now = await fill(data_dir, 2)
    outcomes = []
    for step in range(1, 20):
        crashes["steps"] = step
        try:
            restore(data_dir / FILE_NAME, backup, NOW_MS + step * 1_000)
        except Crash:
            crashes["steps"] = 0
            outcomes.append(await events(data_dir))
            assert outcomes[-1] in (then, now), step
            if outcomes[-1] == then:  # once it is decided, it stays so
                restore(data_dir / FILE_NAME, newest_kept(data_dir), NOW_MS + 100_000 * step)
        else:
            break
    assert outcomes.count(now) >= 3
    assert outcomes.count(then) >= 2
    assert not list(data_dir.glob("*.restor*"))


def newest_kept(data_dir: Path) -> Path:
    return max(data_dir.glob(f"{FILE_NAME}.before-restore-*"))


async def test_what_is_no_sound_backup_changes_nothing(
    data_dir: Path, backup: Path, tmp_path: Path
) -> None:
    now = await events(data_dir)
    bad = tmp_path / "bad.db"
    whole = backup.read_bytes()
    damaged = whole[:8_192] + b"\xff" * 4_096 + whole[12_288:]
    for content in (b"", b"no database" * 1_000, whole[: len(whole) // 2], damaged):
        bad.write_bytes(content)
        with pytest.raises(BackupUnusable):
            restore(data_dir / FILE_NAME, bad, NOW_MS)
    bad.write_bytes(whole)
    (tmp_path / "bad.db-wal").write_bytes(b"more")
    for file in (bad, data_dir / FILE_NAME, tmp_path / "none", tmp_path):
        with pytest.raises(BackupUnusable):
            restore(data_dir / FILE_NAME, file, NOW_MS)

    assert await events(data_dir) == now
    assert not list(data_dir.glob("*.restor*"))


async def test_a_backup_of_a_later_version_is_left_to_it(data_dir: Path, backup: Path) -> None:
    with closing(apsw.Connection(str(backup))) as connection:
        connection.pragma("user_version", 999)

    with pytest.raises(StoreTooNew, match="999"):
        restore(data_dir / FILE_NAME, backup, NOW_MS)


async def test_a_store_in_use_is_not_replaced(data_dir: Path, backup: Path) -> None:
    store = await open_sqlite(data_dir)
    with pytest.raises(StoreLocked) as refused:
        restore(data_dir / FILE_NAME, backup, NOW_MS)
    await store.close()

    assert "Stop the server" in refused.value.hint


async def test_no_room_for_the_copy_changes_nothing(
    data_dir: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    now = await events(data_dir)
    monkeypatch.setattr("shutil.copyfileobj", full)

    with pytest.raises(StoreFull):
        restore(data_dir / FILE_NAME, backup, NOW_MS)

    assert await events(data_dir) == now
