"""When webhooks are taken: decided on what is free, which is asked for seldom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from relay_server.errors import StoreFull
from relay_server.store.interface import Space
from relay_server.store.sqlite.checkpointer import Checkpointer
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.room import (
    BATCH_BYTES,
    LAST_BYTES,
    LOW_WATER_BYTES,
    RESERVE_BYTES,
    RESERVE_NAME,
    ROW_BYTES,
    Reserve,
    Room,
)

MUCH = 1 << 40
LOW, LAST = LOW_WATER_BYTES, LAST_BYTES
ENOUGH = RESERVE_BYTES + LOW + 2 * BATCH_BYTES  # for the reserve, and webhooks beside it


@dataclass
class Disk:
    """What the room sees.

    Attributes:
        free: On the disk.
        spare: Inside the database.
        asked: How often it was asked what is free.
    """

    free: int = MUCH
    spare: int = 0
    asked: int = 0

    def look(self) -> int:
        self.asked += 1
        return self.free


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Much is free on it, until a test says otherwise."""
    disk = Disk()
    monkeypatch.setattr(Reserve, "free", lambda _: disk.look())
    monkeypatch.setattr(Room, "_spare", lambda *_: disk.spare)
    monkeypatch.setattr("relay_server.store.sqlite.room.LOOK_S", 0.0)
    return disk


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A small one, whose log is folded."""
    with closing(Database(tmp_path / "relay.db")) as database:
        prepare(database)
        database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        yield database


class Log(Checkpointer):
    """One of some bytes, all of which can be folded."""

    log_bytes = 0
    folded = 0

    def __init__(self, log_bytes: int = 0) -> None:
        self.log_bytes = log_bytes

    def fold(self, database: Database) -> None:
        self.log_bytes = 0
        self.folded += 1


def opened(database: Database, max_bytes: int = 0) -> Room:
    """The room of a database."""
    room = Room(Path(database.connection.filename), max_bytes, lambda _: None)
    room.begin(database)
    return room


def refusing(database: Database, max_bytes: int = 0, *, reserved: bool = True) -> Room:
    """Room that webhooks found too small, and others, too, unless it is reserved still."""
    room = opened(database, max_bytes)
    room.refuse(database)
    if not reserved:
        room.give_up_reserve()
    return room


@pytest.mark.parametrize(
    ("free", "spare", "reserved", "fits"),
    [
        (LOW + 10, 0, True, 5),  # in the log, and in the database
        (LOW + 10, 4, True, 7),  # four of them find their place inside
        (LOW - 1, 4, True, 4),  # and not one more
        (LAST + 10, MUCH, True, 10),  # but the log has to be on the disk
        (LOW + RESERVE_BYTES + 10, 0, False, 5),  # the reserve's place stays free
    ],
)
def test_webhooks_leave_the_low_water_mark(
    database: Database, disk: Disk, free: int, spare: int, reserved: bool, fits: int
) -> None:
    for weight, admitted in ((fits, True), (fits + 1, False)):
        disk.free, disk.spare = MUCH, 0
        room = opened(database)
        if not reserved:
            room.give_up_reserve()
        disk.free, disk.spare = free, spare

        assert (room.refusal_for(database, weight, Log()) is None) is admitted
        assert room.taking is admitted


def test_a_log_is_folded_where_that_makes_room_and_not_in_vain(
    database: Database, disk: Disk
) -> None:
    """What is in it needs its place in the database, too."""
    room, log = opened(database), Log(BATCH_BYTES)
    disk.free = LOW + 10

    assert room.refusal_for(database, 5, log) is None
    assert (log.folded, log.log_bytes) == (1, 0)
    assert room.refusal_for(database, 6, log) is not None
    assert log.folded == 1


def test_a_disk_is_seldom_asked_and_soon_all_the_same(database: Database, disk: Disk) -> None:
    """Once for so many bytes: others may fill it."""
    room = opened(database)
    before, weight = disk.asked, 1_000 + ROW_BYTES

    for _ in range(5 * BATCH_BYTES // weight):
        assert room.refusal_for(database, weight, Log()) is None

    assert disk.asked - before == 5 + 1


def test_one_webhook_that_is_too_large_says_nothing_of_the_disk(
    database: Database, disk: Disk
) -> None:
    room = opened(database)

    for free, taking in ((LOW + 3 * BATCH_BYTES, True), (LOW + 2 * BATCH_BYTES - 2, False)):
        disk.free = free
        assert isinstance(room.refusal_for(database, 2 * BATCH_BYTES, Log()), StoreFull)
        assert room.taking is taking


@pytest.mark.parametrize(
    ("reserved", "free", "spare", "taken"),  # what is free is what is left beside the reserve
    [
        (True, LOW + 2 * BATCH_BYTES, 0, True),
        (True, LOW + 2 * BATCH_BYTES - 1, 0, False),
        (False, ENOUGH - BATCH_BYTES - 1, 0, False),
        (False, ENOUGH, 0, True),  # the reserve is made again
        (True, LAST + BATCH_BYTES, BATCH_BYTES, True),  # the database need not grow
        (True, LAST + BATCH_BYTES, BATCH_BYTES - 1, False),
        (True, LAST + BATCH_BYTES - 1, MUCH, False),
        (False, LAST + BATCH_BYTES, RESERVE_BYTES, True),  # nor is there need for a reserve
        (False, LAST + BATCH_BYTES, RESERVE_BYTES - 1, False),
    ],
)
def test_webhooks_are_taken_again_where_there_is_room(
    database: Database, disk: Disk, reserved: bool, free: int, spare: int, taken: bool
) -> None:
    room = refusing(database, reserved=reserved)
    disk.free, disk.spare = free, spare

    room.look(database)

    assert room.taking is taken
    assert Path(database.connection.filename).with_name(RESERVE_NAME).exists() is (
        reserved or free >= ENOUGH - BATCH_BYTES
    )


@pytest.mark.parametrize(("spare", "taken"), [(BATCH_BYTES, True), (BATCH_BYTES - 1, False)])
def test_a_cap_is_a_disk_of_that_size(
    database: Database, disk: Disk, spare: int, taken: bool
) -> None:
    """The database has reached it; progress grew it no further."""
    size = int(database.connection.pragma("page_count")) * 4_096
    room = refusing(database, max_bytes=size)
    assert "RELAY_SERVER_MAX_STORE_BYTES" in str(room.refusal)
    disk.spare = spare

    room.look(database)

    assert room.taking is taken


def test_webhooks_are_not_taken_again_before_a_transaction_can_be_written(
    database: Database, disk: Disk
) -> None:
    """Whatever the system says is free: there may be a quota, or nothing can be written at all."""
    room = refusing(database)
    database.connection.pragma("query_only", True)
    room.look(database)
    assert not room.taking

    database.connection.pragma("query_only", False)
    room.look(database)
    assert room.taking


def test_progress_gets_as_much_room_as_there_is_twice(database: Database, disk: Disk) -> None:
    """Once for the log, once for the database; while webhooks are taken there is plenty."""
    room = opened(database)
    assert room.lean_rows() is None
    room.refuse(database)
    disk.free = 20 * ROW_BYTES

    assert room.lean_rows() == 10


def test_whoever_makes_room_hears_of_each_change() -> None:
    space, heard = Space(), list[tuple[bool, str]]()
    space.listen(lambda s: heard.append((s.taking, s.reason)))

    space.change("the disk is full")
    space.change("")

    assert heard == [(False, "the disk is full"), (True, "")]
