"""What is missing or damaged is named, and never begun anew, served short or taken for sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay_server.errors import StoreBroken
from relay_server.store.bodies import IN_THE_CLEAR
from relay_server.store.sql.positions import position
from relay_server.store.sql.rows import decode_event
from relay_server.store.sqlite import integrity
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.integrity import MAX_PROBLEMS
from relay_server.store.sqlite.store import FILE_NAME, open_sqlite
from tests.support.events import new_event
from tests.support.stores import append_many, make_channel, make_subscription, open_test_store


async def make_store(data_dir: Path, count: int = 3) -> Path:
    """A store with events and a subscription, closed; returns its file."""
    store = await open_sqlite(data_dir)
    await make_subscription(store, (await make_channel(store)).name)
    await append_many(store, store.catalog.channels["chatwoot"], count)
    await store.close()
    return data_dir / FILE_NAME


async def refused(data_dir: Path) -> StoreBroken:
    """What a start says."""
    with pytest.raises(StoreBroken) as refused:
        await open_sqlite(data_dir)
    return refused.value


async def test_a_store_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    file = await make_store(tmp_path)
    file.unlink()

    error = await refused(tmp_path)

    assert f"{file} is gone" in str(error)
    assert "restore" in error.hint
    assert not file.exists()


async def test_a_store_that_is_empty_is_not_begun_anew(tmp_path: Path) -> None:
    file = await make_store(tmp_path)
    file.write_bytes(b"")

    assert "is empty" in str(await refused(tmp_path))
    assert file.read_bytes() == b""


@pytest.mark.parametrize("there", [True, False])
async def test_a_log_alone_is_no_store(tmp_path: Path, there: bool) -> None:
    log = tmp_path / f"{FILE_NAME}-wal"
    log.write_bytes(b"what was not in the database yet")
    if there:
        (tmp_path / FILE_NAME).touch()

    assert log.name in str(await refused(tmp_path))
    assert log.exists()


async def test_a_start_that_was_killed_early_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()

    await (await open_sqlite(tmp_path)).close()


async def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    file = await make_store(tmp_path, 500)
    raw = bytearray(file.read_bytes())
    middle = len(raw) // 2 // 4_096 * 4_096
    raw[middle : middle + 4_096] = b"\xff" * 4_096
    file.write_bytes(raw)

    error = await refused(tmp_path)

    assert f"{file} is damaged" in str(error) or str(file) in str(error)
    assert "backup" in error.hint


async def test_a_store_that_was_cut_is_named(tmp_path: Path) -> None:
    file = await make_store(tmp_path, 500)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)

    assert str(file) in str(await refused(tmp_path))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE channels SET last_sequence = -254", "chatwoot has event 3, but counts up to -254"),
        ("UPDATE subscriptions SET floor = 9", "ana of chatwoot is at 9 of 3 events"),
        ("UPDATE subscriptions SET start = 9", "ana of chatwoot is at 9 of 3 events"),
        ("UPDATE subscriptions SET channel = 9", "row 1 of subscriptions belongs to nothing"),
        (
            "UPDATE events SET position = 5 << 40 WHERE position = 1 << 40 | 1",
            "channel number 5, which does not exist",
        ),
    ],
)
async def test_tables_that_do_not_fit_are_named(tmp_path: Path, damage: str, says: str) -> None:
    file = await make_store(tmp_path)
    with closing(apsw.Connection(str(file))) as connection:
        connection.execute(damage)

    assert says in str(await refused(tmp_path))


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_any_channel_that_does_not_fit_is_named(tmp_path: Path, number: int) -> None:
    """Whatever lies before it and behind it."""
    store = await open_sqlite(tmp_path)
    for name in ("a", "b", "c", "d"):
        await append_many(store, await make_channel(store, name), 3)
    await store.close()
    file = tmp_path / FILE_NAME

    with closing(apsw.Connection(str(file))) as connection:
        connection.execute("UPDATE channels SET last_sequence = -254 WHERE number = ?", (number,))
    assert f"channel {'abcd'[number - 1]} has event 3" in str(await refused(tmp_path))

    with closing(apsw.Connection(str(file))) as connection:
        connection.execute("DELETE FROM channels WHERE number = ?", (number,))
    assert f"events of channel number {number}, which" in str(await refused(tmp_path))


async def test_a_deleted_channel_s_last_events_are_no_damage(tmp_path: Path) -> None:
    """A crash in the middle of deleting them leaves some."""
    file = await make_store(tmp_path)
    with closing(apsw.Connection(str(file))) as connection:
        connection.execute("DELETE FROM subscriptions")
        connection.execute("INSERT INTO purges SELECT number FROM channels")
        connection.execute("DELETE FROM channels")

    await (await open_sqlite(tmp_path)).close()


async def test_any_bit_that_the_disk_flips_in_an_event_is_noticed(tmp_path: Path) -> None:
    """In its body and in its request, also where no request is left to be read."""
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        await store.append(channel.number, new_event(b'{"a": "b"}'))
    with closing(Database(tmp_path / FILE_NAME)) as database:
        [row] = database.all("fetch", positions=json.dumps([position(1, 1)]))
    *head, request, body, sealed = row

    def damaged(request: bytes, body: bytes) -> bool:
        return decode_event((*head, request, body, sealed), IN_THE_CLEAR).damaged

    assert not damaged(request, body)
    assert all(damaged(request, flipped) for flipped in with_flips(body))
    assert all(damaged(flipped, body) for flipped in with_flips(request))
    assert damaged(request, body + b" ")
    assert damaged(request + body[:1], body[1:])


def with_flips(raw: bytes) -> Iterator[bytes]:
    """These bytes again and again, each time with another bit that is not what it was."""
    for bit in range(8 * len(raw)):
        yield (int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))


async def test_an_event_that_is_damaged_is_found_and_its_neighbours_are_sound(
    tmp_path: Path,
) -> None:
    """What lists it goes on, and what was stored without a checksum cannot be checked."""
    file = await make_store(tmp_path, 4)
    with closing(apsw.Connection(str(file))) as connection:
        for number, change in enumerate(("body = x'31'", "request = x'c1'", "checksum = NULL"), 1):
            connection.execute(f"UPDATE events SET {change} WHERE position = {position(1, number)}")

    async with open_test_store("sqlite", tmp_path) as store:
        events = await store.fetch(1, [1, 2, 3, 4])
        found = await store.find_event(events[0].head.id)
        listed = await store.list_events(1, None, 4)

    assert [event.damaged for event in events] == [True, True, False, False]
    assert found == events[0]
    assert [(e.sequence, e.method) for e in listed] == [
        (4, "POST"),
        (3, "POST"),
        (2, ""),
        (1, "POST"),
    ]


async def test_of_many_problems_a_few_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"problem {n}" for n in range(MAX_PROBLEMS + 1)]

    with closing(Database(await make_store(tmp_path))) as database:
        monkeypatch.setattr(integrity, "_inconsistencies", lambda _: iter(many))
        assert integrity.problems(database) == many[:MAX_PROBLEMS]
