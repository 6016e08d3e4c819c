"""What the store keeps, looks at and answers at once, as long as nobody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_server.errors import StoreFull
from relay_server.store.cache import (
    MAX_ALL_BYTES,
    MAX_ALL_EVENTS,
    MAX_BYTES,
    MAX_EVENTS,
    Recent,
    RecentOfAll,
)
from relay_server.store.sqlite import housekeeping, integrity, readers
from relay_server.store.sqlite import store as sqlite
from relay_server.store.sqlite.capacity import ROW_BYTES, Capacity
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.integrity import MAX_PROBLEMS
from relay_server.store.sqlite.opening import open_sqlite
from relay_server.store.sqlite.pending import Fits
from relay_server.store.sqlite.reserve import Reserve
from relay_server.store.sqlite.space import LOG_BYTES, MARGIN_BYTES
from relay_server.values import Event, Progress, ReplayState, Selection
from tests.support.clock import START_MS
from tests.support.events import event_head
from tests.support.stores import append_many, make_channel, make_subscription, open_test_store
from tests.support.waiting import until


@pytest.mark.parametrize(("weight", "fits"), [(1, MAX_EVENTS), (MAX_BYTES // 8, 8)])
def test_what_is_kept_in_memory_is_bounded(weight: int, fits: int) -> None:
    """Both in number and in bytes."""
    recent = Recent()
    for sequence in range(1, fits + 2):
        recent.add(Event(1, event_head(sequence), b""), weight)

    assert recent.outlines(0, 1) is None, "the first fell out"
    assert len(recent.outlines(1, fits) or ()) == fits


@pytest.mark.parametrize(
    ("weight", "each", "fits"), [(1, MAX_EVENTS, MAX_ALL_EVENTS), (MAX_BYTES, 1, MAX_ALL_BYTES)]
)
def test_what_is_kept_in_memory_of_all_channels_is_bounded(
    weight: int, each: int, fits: int
) -> None:
    recent = RecentOfAll()
    channels = fits // (each * weight)
    for channel in range(1, channels + 1):
        for sequence in range(1, each + 1):
            recent.add(Event(channel, event_head(sequence), b""), weight)
    assert 1 in recent

    recent.add(Event(channels + 1, event_head(1), b""), weight)

    assert [channel in recent for channel in (1, 2, channels + 1)] == [False, True, True]


@pytest.mark.parametrize(("text", "bound"), [(None, "LOOK_AT"), ("nowhere", "LOOK_AT_BODIES")])
async def test_one_look_of_a_replay_goes_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, bound: str
) -> None:
    """It finds nothing, and has come further all the same; the next look goes on."""
    monkeypatch.setattr(readers, bound, 3)
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        subscription, _ = await make_subscription(store)
        await append_many(store, channel, 10)
        selection = Selection(text=text) if text else Selection(kind="nothing")
        replay = await store.create_replay(subscription, selection, 20.0, START_MS)

        first = await store.select(channel.number, replay, 0, 256)
        second = await store.select(channel.number, replay, first.read_up_to, 256)

    assert (list(first.outlines), first.read_up_to, second.read_up_to) == ([], 3, 6)


async def test_the_newest_replays_are_listed_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LISTED_REPLAYS", 2)
    async with open_test_store("sqlite", tmp_path) as store:
        await make_channel(store)
        subscription, _ = await make_subscription(store)
        made = []
        for _ in range(3):
            replay = await store.create_replay(subscription, Selection(), 20.0, START_MS)
            await store.end_replay(replay.number, ReplayState.STOPPED, START_MS)
            made.append(replay.number)

        listed = [replay.number for replay in await store.replays()]

    assert listed == made[:0:-1]


def test_of_many_problems_a_few_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"problem {n}" for n in range(MAX_PROBLEMS + 1)]
    monkeypatch.setattr(integrity, "_inconsistencies", lambda _: iter(many))

    class Sound:
        """A database in which SQLite finds nothing."""

        connection = property(lambda self: self)

        def execute(self, _: str) -> Sound:
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [("ok",)]

    assert integrity.problems(Sound()) == many[:MAX_PROBLEMS]  # type: ignore[arg-type]


async def test_one_look_for_what_may_go_goes_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds nothing, since all is waited for; the next look goes on behind it."""
    monkeypatch.setattr(housekeeping, "LOOK_AT", 3)
    async with open_test_store("sqlite", tmp_path) as store:
        channel = await make_channel(store)
        await make_subscription(store, since=0)
        await append_many(store, channel, 10)

        first = await store.removable(channel.number, None, 0, 100)
        second = await store.removable(channel.number, None, first.looked_up_to or 0, 100)

    assert (list(first.sequences), first.looked_up_to, second.looked_up_to) == ([], 3, 6)


async def test_a_deleted_channel_goes_in_small_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that webhooks of others wait for little of it at once."""
    monkeypatch.setattr(sqlite, "SWEEP_ROWS", 3)
    async with open_test_store("sqlite", tmp_path) as store:
        await append_many(store, await make_channel(store), 10)
        swept, sweep = list[int](), housekeeping.sweep

        def counting(database: Database, limit: int) -> bool:
            before = events(database)
            more = sweep(database, limit)
            swept.append(before - events(database))
            return more

        monkeypatch.setattr(housekeeping, "sweep", counting)
        await store.delete_channel("chatwoot")

    assert (max(swept), sum(swept)) == (3, 10)


def events(database: Database) -> int:
    """How many there are, of all channels."""
    [(count,)] = database.connection.execute("SELECT count(*) FROM events").fetchall()
    assert isinstance(count, int)
    return count


def test_progress_gets_as_much_room_as_there_is_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the log, once for the database; attempts leave some for the clean-up."""
    monkeypatch.setattr(Reserve, "free", lambda _: LOG_BYTES + 20 * ROW_BYTES)
    room = Capacity(tmp_path / "relay.db", 0, lambda _: None)
    assert room.fits() is None, "while webhooks are taken there is plenty"

    room.forbid(StoreFull("full"))

    assert room.fits() == Fits(10 + LOG_BYTES // (2 * ROW_BYTES), 10)


async def test_progress_is_written_while_webhooks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than otherwise, and without being asked."""
    monkeypatch.setattr(sqlite, "FULL_RECORD_S", 0.1)
    store = await open_sqlite(tmp_path)
    try:
        await append_many(store, await make_channel(store), 1)
        _, claim = await make_subscription(store, since=0)
        store.space.change("the disk is full")

        store.record(claim, Progress(1))

        assert store._pending.waiting
        await until(lambda: not store._pending.waiting)
    finally:
        await store.close()


def test_some_room_is_left_beside_what_did_not_fit(tmp_path: Path) -> None:
    """The reserve alone would be given back with the next webhook."""
    file = tmp_path / "relay.db"
    database = Database(file)
    prepare(database)
    room = Capacity(file, 0, lambda _: None)
    before = room._needed
    try:
        room.refuse(database, 1_000)
    finally:
        database.close()

    assert (before, room._needed) == (MARGIN_BYTES, MARGIN_BYTES + 2_000)
