"""Bodies at rest: sealed, opened, and stored anew when keys change. A stolen folder shows none."""

from __future__ import annotations

import base64
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay_server.errors import (
    BodyKeyMissing,
    InvalidValue,
    StoreBroken,
    StoreFull,
    StoreLocked,
    StoreUnavailable,
)
from relay_server.files import beside, sync
from relay_server.store.bodies import CLEAR, IN_THE_CLEAR, BodyKeys, Damaged, crc, name_of
from relay_server.store.interface import Store
from relay_server.store.opening import rebuild_store
from relay_server.store.rules import SQLITE
from relay_server.store.sql import resealing
from relay_server.store.sqlite import rebuilding
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.restore import COPYING
from relay_server.store.sqlite.room import Reserve
from relay_server.store.sqlite.store import FILE_NAME, SqliteStore, open_sqlite
from relay_server.values import Attempt, NewEvent, Progress
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.stores import make_channel, make_subscription, record, shows
from tests.support.waiting import until, until_true

NAME = "João Conceição 🎉"
SECRET = f'{{"event":"message_created","content":"{NAME} perdeu a senha"}}'.encode()


def key(letter: str) -> str:
    """One that is told apart."""
    return base64.b64encode(letter.encode() * 32).decode()


K, L = key("k"), key("l")
BY_K, BY_L, BY_L_AND_K = BodyKeys(K), BodyKeys(L), BodyKeys(f"{L} {K}")


@asynccontextmanager
async def opened(
    folder: Path, keys: str = "", *, sealing: bool = True
) -> AsyncIterator[SqliteStore]:
    """A store with some keys, in which all bodies are stored as these say."""
    bodies = BodyKeys(keys, sealing=sealing)
    store = await open_sqlite(folder, bodies=bodies)
    try:
        await until(lambda: under_one_key(folder, bodies))
        yield store
    finally:
        await store.close()


def under_one_key(folder: Path, bodies: BodyKeys) -> bool:
    with closing(apsw.Connection(str(folder / FILE_NAME), apsw.SQLITE_OPEN_READONLY)) as database:
        database.set_busy_timeout(1_000)
        rows = database.execute("SELECT fingerprint FROM body_keys WHERE NOT gone").fetchall()
    return rows == [(bodies.current,)]


async def bodies_of(store: Store) -> list[bytes]:
    [channel] = store.catalog.channels.values()
    outlines = await store.outlines(channel.number, 0, 10_000)
    events = await store.examine(
        channel.number, [o.sequence for o in outlines], lambda event: event
    )
    assert not any(event.damaged for event in events)
    return [event.body for event in events]


async def fill(store: Store, count: int, text: bytes = SECRET) -> list[bytes]:
    """Webhooks whose bodies are all different."""
    channel = store.catalog.channels.get("chatwoot") or await make_channel(store)
    made = [text + b" %d" % number for number in range(count)]
    for number, body in enumerate(made):
        await store.append(channel.number, new_event(body, sender_id=f"d-{number}"))
    return made


@given(st.binary(max_size=5_000), st.text(max_size=40))
def test_what_is_sealed_opens_as_its_own_event_only(body: bytes, event: str) -> None:
    stored, fingerprint = BY_K.seal(event, body)

    assert BY_K.open(event, stored, fingerprint) == body
    assert BY_L_AND_K.open(event, stored, fingerprint) == body
    for changed in (stored[:-1], stored[:-1] + bytes((stored[-1] ^ 1,)), b""):
        with pytest.raises(Damaged):
            BY_K.open(event, changed, fingerprint)
    with pytest.raises(Damaged):
        BY_K.open(event + "x", stored, fingerprint)
    with pytest.raises(Damaged):
        BY_L.open(event, stored, fingerprint)


def test_what_was_sealed_once_opens_for_ever() -> None:
    stored = bytes.fromhex(
        "746874ad872ed1d3d6c9c51580c9aa3677bf822510c5b10336e69a9223a7027b3823f08cf4"
    )

    assert BY_K.open("evt_1", stored, 1_606_109_485_644_085_111) == "Olá 🎉".encode()
    assert BY_K.digest("Olá 🎉".encode()) == 1_739_712_846, (
        "or a sender's repeats are not known again"
    )


def test_one_body_never_looks_the_same_twice() -> None:
    bodies = BodyKeys(K)
    assert bodies.seal("evt_1", SECRET)[0] != bodies.seal("evt_1", SECRET)[0]
    assert bodies.digest(SECRET) == BodyKeys(K).digest(SECRET) != BodyKeys(L).digest(SECRET)
    assert crc(SECRET) == IN_THE_CLEAR.digest(SECRET) != bodies.digest(SECRET)
    assert bodies.current not in (CLEAR, BodyKeys(L).current)


@pytest.mark.parametrize(
    ("text", "why"),
    [("secret", "32 bytes in base64"), (K[:-5], "32 bytes"), (" ".join([K] * 17), "at most 16")],
)
def test_what_is_no_key_is_told(text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why) as failed:
        BodyKeys(text)
    assert text not in str(failed.value)


async def test_a_stolen_folder_shows_no_word_of_a_body(tmp_path: Path) -> None:
    async with opened(tmp_path, K) as store:
        made = await fill(store, 50)
        _, claim = await make_subscription(store, since=0)
        answer = Attempt(1, 1, START_MS, 5, "response", 422, f"what is {NAME}?")
        await record(store, claim, Progress(0, attempts=(answer,)))
        assert await bodies_of(store) == made
        assert shows(tmp_path, NAME.encode()) == [], "while it runs, its log with it"
        backup = tmp_path / "backup.db"
        assert await store.backup(backup) == [name_of(BY_K.current)]
    assert shows(tmp_path, NAME.encode()) == []
    assert shows(tmp_path, b"perdeu") == []


async def test_keys_come_change_and_go_on_a_full_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "LOOK_AT", 7)
    monkeypatch.setattr(resealing, "RESEAL_BYTES", 500)
    async with opened(tmp_path) as store:
        made = await fill(store, 60)
        _, claim = await make_subscription(store, since=0)
        answer = Attempt(1, 1, START_MS, 5, "response", 422, f"what is {NAME}?")
        await record(store, claim, Progress(0, attempts=(answer,)))
    assert FILE_NAME in shows(tmp_path, NAME.encode()), "the control: it is seen in the clear"

    async with opened(tmp_path, K) as store:
        assert await bodies_of(store) == made
    assert shows(tmp_path, NAME.encode()) == [], "and nothing is left in free pages"

    async with opened(tmp_path, f"{L} {K}") as store:
        assert await bodies_of(store) == made
    async with opened(tmp_path, L) as store:
        assert await bodies_of(store) == made, "the old key is not needed any more"

    async with opened(tmp_path, L, sealing=False) as store:
        assert await bodies_of(store) == made
    async with opened(tmp_path) as store:
        assert await bodies_of(store) == made, "no key is needed any more"


async def test_whatever_keeps_bodies_from_being_stored_anew_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await fill(store, 1)
    monkeypatch.delattr(resealing, "accumulate")
    with capture_logs() as logs:
        store = await open_sqlite(tmp_path, bodies=BY_K)
        await until(lambda: any(one["log_level"] == "error" for one in logs))
        await store.close()


@pytest.mark.parametrize("given", ["", L])
async def test_a_key_that_is_lost_or_wrong_is_told_and_changes_nothing(
    tmp_path: Path, given: str
) -> None:
    async with opened(tmp_path, K) as store:
        made = await fill(store, 3)
    before = (tmp_path / FILE_NAME).read_bytes()

    with pytest.raises(BodyKeyMissing, match=f"{BodyKeys(K).current:016x}") as failed:
        await open_sqlite(tmp_path, bodies=BodyKeys(given))

    assert ("given: -" in str(failed.value)) == (not given)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    async with opened(tmp_path, K) as store:
        assert await bodies_of(store) == made


async def test_what_is_sent_again_is_stored_once_whatever_it_was_sealed_with(
    tmp_path: Path,
) -> None:
    def again(body: bytes = SECRET) -> NewEvent:
        return new_event(body, sender_id="d-1")

    async with opened(tmp_path) as store:
        channel = await make_channel(store)
        first = await store.append(channel.number, again())
    for keys in (K, f"{L} {K}"):
        bodies = BodyKeys(keys)
        store = await open_sqlite(tmp_path, bodies=bodies)  # which may still be stored anew
        try:
            same = await store.append(channel.number, again())
            assert (same.id, same.duplicate) == (first.id, True)
        finally:
            await store.close()
    async with opened(tmp_path, f"{L} {K}") as store:
        same = await store.append(channel.number, again())
        other = await store.append(channel.number, again(b"another"))
        [event] = await store.fetch(channel.number, [other.sequence])
    assert (same.id, same.duplicate) == (first.id, True)
    assert not other.duplicate
    assert event.conflict


async def test_a_damaged_body_stays_damaged_when_keys_change(tmp_path: Path) -> None:
    async with opened(tmp_path, K) as store:
        await fill(store, 3)
    with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as database:
        database.execute("UPDATE events SET body = substr(body, 1, 20) WHERE position & 3 = 2")
    async with opened(tmp_path, f"{L} {K}") as store:
        [channel] = store.catalog.channels.values()
        events = await store.examine(channel.number, [1, 2, 3], lambda event: event)
    assert [event.damaged for event in events] == [False, True, False]


async def test_a_disk_that_is_full_keeps_its_room_for_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "RESEAL_AGAIN_S", 0.01)
    async with opened(tmp_path) as store:
        made = await fill(store, 3)
    store = await open_sqlite(tmp_path, bodies=BY_K)
    looks, look = list[bool](), store._reseal_some

    async def looked(after: int | None) -> int | None:
        looks.append(store.space.taking)
        return await look(after)

    monkeypatch.setattr(store, "_reseal_some", looked)
    try:
        store.space.change("the disk is full")
        await store.flush()
        store.space.change("")
        await until(lambda: under_one_key(tmp_path, BY_K))
        assert all(looks)
        assert await bodies_of(store) == made
    finally:
        await store.close()


async def sealed_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A store too large to be rebuilt by itself, whose free pages show what was deleted of it."""
    monkeypatch.setattr(rebuilding, "REBUILD_BYTES", 0)
    async with opened(folder) as store:
        await fill(store, 20, SECRET * 100)
        made = await fill(store, 20)
    with closing(apsw.Connection(str(folder / FILE_NAME))) as database:
        database.execute("DELETE FROM events WHERE size > 1000")
    with capture_logs() as logs:
        async with opened(folder, K) as store:
            assert await bodies_of(store) == made
    assert "relay-server store rebuild" in logs[-1]["event"]
    assert shows(folder, NAME.encode()) == [FILE_NAME], "the control"
    return made


async def test_a_large_store_is_rebuilt_when_asked_and_shows_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await sealed_later(tmp_path, monkeypatch)
    before, after = rebuild_store(SQLITE, tmp_path)
    assert after < before
    assert shows(tmp_path, NAME.encode()) == []
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    with capture_logs() as logs:
        async with opened(tmp_path, K) as store:
            assert await bodies_of(store) == made
            await fill(store, 1, b"goes on")
    assert not logs, "it is complained of no more"


async def test_what_ends_a_rebuilding_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await sealed_later(tmp_path, monkeypatch)
    async with opened(tmp_path, K):
        with pytest.raises(StoreLocked):
            rebuild_store(SQLITE, tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Reserve, "free", lambda _: 1)
        with pytest.raises(StoreFull):
            rebuild_store(SQLITE, tmp_path)
    with closing(apsw.Connection(str(tmp_path / FILE_NAME))) as reader:
        reader.execute("BEGIN; SELECT * FROM channels")
        with pytest.raises(StoreUnavailable, match="another program"):
            rebuild_store(SQLITE, tmp_path)
    with pytest.raises(InvalidValue, match="no store"):
        rebuild_store(SQLITE, tmp_path / "elsewhere")
    killed = beside(tmp_path / FILE_NAME, COPYING)
    killed.write_bytes(SECRET)
    async with opened(tmp_path, K) as store:
        assert await bodies_of(store) == made
    assert not killed.exists()


async def test_a_rebuilt_store_has_its_name_once_the_log_is_gone_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash could else leave the log of the one before beside it."""
    await sealed_later(tmp_path, monkeypatch)
    store, synced = tmp_path / FILE_NAME, list[tuple[Path, bool, bool]]()
    before = store.stat().st_ino

    def noted(file: Path) -> None:
        synced.append((file, store.stat().st_ino == before, beside(store, "-wal").exists()))
        sync(file)

    monkeypatch.setattr(rebuilding, "sync", noted)
    rebuild_store(SQLITE, tmp_path)
    assert synced[1:] == [(tmp_path, True, False), (tmp_path, False, False)]


async def test_nothing_is_stored_in_a_rebuilt_store_that_a_crash_may_take_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed_later(tmp_path, monkeypatch)
    store = tmp_path / FILE_NAME
    before = store.stat().st_ino

    def failing(file: Path) -> None:
        if store.stat().st_ino != before:
            raise OSError(errno.EIO, "input/output error")
        sync(file)

    monkeypatch.setattr(rebuilding, "sync", failing)
    monkeypatch.setattr(rebuilding, "REBUILD_BYTES", 1 << 30)
    with pytest.raises(StoreBroken, match="input/output error"):
        await open_sqlite(tmp_path, bodies=BY_K)


async def test_a_database_that_cannot_be_rebuilt_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebuilding takes its size again, which a full disk has not; the next start tries again."""

    def full(*_: object) -> None:
        raise InvalidValue("no space is left")

    async with opened(tmp_path) as store:
        made = await fill(store, 3)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(rebuilding, "back_up", full)
        async with opened(tmp_path, K) as store:
            assert await bodies_of(store) == made
    assert logs[-1]["reason"] == "no space is left"

    async with opened(tmp_path, K) as store:
        assert await bodies_of(store) == made
    with closing(Database(tmp_path / FILE_NAME, bodies=BY_K)) as database:
        assert not database.value("has_gone_body_keys")


async def test_a_backup_of_a_large_store_shows_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed_later(tmp_path, monkeypatch)
    backup = tmp_path / "backup.db"
    async with opened(tmp_path, K) as store:
        await store.backup(backup)
    with closing(Database(backup, immutable=True, bodies=BY_K)) as database:
        assert not database.value("has_gone_body_keys")
    assert NAME.encode() not in backup.read_bytes()


async def test_once_all_are_sealed_the_log_of_a_running_server_shows_no_word(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        await fill(store, 20)
    async with opened(tmp_path, K) as store:

        async def cut() -> bool:
            await store.flush()  # whatever is written next has the log cut
            return f"{FILE_NAME}-wal" not in shows(tmp_path, NAME.encode())

        await until_true(cut)


async def test_what_is_dropped_is_in_no_file(tmp_path: Path) -> None:
    """Nor what a target answered to it: neither in the log, nor where SQLite moved it."""
    store = await open_sqlite(tmp_path)
    try:
        await fill(store, 20)
        channel, other = store.catalog.channels["chatwoot"], await make_channel(store, "other")
        for number in range(300):
            event = new_event(SECRET * (1 + number % 80), sender_id=f"o-{number}")
            await store.append((channel, other)[number % 2].number, event)
        _, claim = await make_subscription(store, since=0)
        answer = Attempt(1, 1, START_MS, 5, "response", 422, f"what is {NAME}?")
        await record(store, claim, Progress(200, attempts=(answer,)))
        assert shows(tmp_path, NAME.encode()), "the control"
        for each in (channel, other):
            dropped = await store.drop_bodies(each.number, 2 * START_MS, 0, 500)
            assert dropped.looked_up_to is None

        async def gone() -> bool:
            await store.flush()  # whatever is written next has the log cut
            return not shows(tmp_path, NAME.encode())

        await until_true(gone)
    finally:
        await store.close()
    assert shows(tmp_path, NAME.encode()) == []
