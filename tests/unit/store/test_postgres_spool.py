"""The spool of a server whose database is away: a file, its bounds, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from unittest.mock import Mock

import apsw
import psycopg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay_server.configs import ChannelConfig
from relay_server.errors import ChannelFull, StoreBroken, StoreFull
from relay_server.store.bodies import IN_THE_CLEAR
from relay_server.store.feed import EventsStored
from relay_server.store.postgres import draining
from relay_server.store.postgres.draining import Draining
from relay_server.store.postgres.finding import LinkLost, Place, read_place
from relay_server.store.postgres.link import Link, Watch
from relay_server.store.postgres.rows import Answer, Row
from relay_server.store.postgres.spool import AT_ONCE, FILE_NAME, Spool
from relay_server.store.postgres.store import PostgresStore, open_postgres
from relay_server.values import Appended, Channel
from tests.support import badfs
from tests.support.badfs import bad_fs
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.postgres import database_of, need_postgres, patient
from tests.support.stores import make_channel
from tests.support.waiting import until

ROOM = 1 << 20


def row(number: int, body: bytes = b"{}") -> Row:
    """A webhook to be spooled."""
    size = len(body)
    return Row(1, 0, 1 << 60, f"evt_{number}", 0, size, "7", "k\0", None, None, b"r", body, 0, None)


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """Opens a spool, each in a folder of its own beside the others."""
    opened = list[Spool]()

    def opening(name: str, room: int = ROOM) -> Spool:
        opened.append(Spool(tmp_path / "spool" / name, room))
        return opened[-1]

    yield opening
    for spool in opened:
        die(spool)


def die(spool: Spool) -> None:
    """Let go of a spool as the end of its process does."""
    with suppress(apsw.ConnectionClosedError):
        spool.abandon()
        spool.close()


def test_it_gives_what_it_took_in_order_and_whole(opening: Callable[..., Spool]) -> None:
    rows = [row(number, b"\0\xff" * number) for number in range(100)]
    spool = opening("a")
    assert spool.put(rows) == 100

    first = spool.oldest()
    assert list(first.values()) == rows[:AT_ONCE]
    spool.settle(first, {})
    assert list(spool.oldest().values()) == rows[AT_ONCE:]
    assert spool.waiting == 100 - AT_ONCE
    spool.settle(spool.oldest(), {})
    assert (spool.waiting, spool.of_channel(1), spool.oldest()) == (0, 0, {})


def test_it_holds_no_more_bytes_than_it_may(opening: Callable[..., Spool]) -> None:
    spool = opening("a", 3 * row(1).weight)
    assert spool.put([row(number) for number in range(5)]) == 3
    assert spool.put([row(5)]) == 0
    spool.settle(spool.oldest(), {})
    assert spool.put([row(6)]) == 1
    spool.settle(spool.oldest(), {})


def test_what_is_refused_stays_and_holds_up_nothing(opening: Callable[..., Spool]) -> None:
    spool = opening("a")
    spool.put([row(1), row(2)])
    first, second = spool.oldest()
    spool.settle(spool.oldest(), {first: "no"})
    assert (spool.waiting, spool.refused) == (0, 1)
    assert spool.oldest() == {}
    again = spool.oldest(refused=True)
    assert list(again) == [first]
    assert second != first
    spool.settle(again, {}, again=True)
    assert spool.refused == 0


def test_what_a_dead_process_left_is_taken_over_and_what_lives_is_not(
    opening: Callable[..., Spool], tmp_path: Path
) -> None:
    dead, living = opening("dead"), opening("living")
    dead.put([row(1), row(2)])
    living.put([row(3)])
    die(dead)
    garbled = tmp_path / "spool" / "garbled"
    garbled.mkdir()
    (garbled / FILE_NAME).write_bytes(b"no database")

    with capture_logs() as said:
        spool = opening("next")
    assert [one.id for one in spool.oldest().values()] == ["evt_1", "evt_2"]
    assert not (tmp_path / "spool" / "dead").exists()
    assert (garbled / FILE_NAME).read_bytes() == b"no database"
    assert [one["log_level"] for one in said] == ["warning", "error"]


async def test_what_is_never_taken_holds_up_nothing_that_is_tried_again(
    opening: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted channel left more than go at once; one that was full has room again."""

    def answered(_link: Link, rows: Sequence[Row], *_: object, **__: object) -> list[Answer]:
        return [
            Answer("g", 0, "", None, False)
            if one.channel == 1
            else Answer("s", 9, one.id, None, False)
            for one in rows
        ]

    monkeypatch.setattr(draining, "append_rows", answered)
    monkeypatch.setattr(draining, "load", lambda _: ([], []))
    monkeypatch.setattr(draining, "REFUSED_AGAIN_S", 0.01)
    spool = opening("a")
    spool.put([row(number) for number in range(AT_ONCE)])
    spool.put([row(AT_ONCE)._replace(channel=2)])
    while waiting := spool.oldest():
        spool.settle(waiting, dict.fromkeys(waiting, "no"))

    drains = Draining(spool, IN_THE_CLEAR, Mock(), Mock(), Mock(), Mock())
    await until(lambda: spool.refused == AT_ONCE)
    drains.close()
    assert {one.channel for one in spool.oldest(refused=True).values()} == {1}


def test_a_failed_fsync_is_the_end_of_it(tmp_path: Path) -> None:
    with bad_fs() as fs:
        spool = Spool(tmp_path / "spool" / "a", ROOM)
        fs.fail(badfs.SYNC_FAILED, "-wal")
        with pytest.raises(StoreBroken):
            spool.put([row(1)])
        spool.abandon()
        spool.close()


class Outage:
    """A database that is there, or is not; and the store that uses it.

    Attributes:
        is_away: No link can be made, and the one there is for webhooks is lost.
    """

    def __init__(self, store: PostgresStore) -> None:
        self.store, self.is_away = store, False

    async def sent(self, channel: Channel, *ids: str) -> list[Appended | BaseException]:
        """What senders are answered."""
        events = [new_event(id=f"evt_{one}", sender_id=one.rstrip("'")) for one in ids]
        appended = [self.store.append(channel.number, event) for event in events]
        return await asyncio.gather(*appended, return_exceptions=True)

    async def end(self) -> None:
        """Have it come back, and take all that waits."""
        await until(lambda: self.store.space.away)
        self.is_away = False
        await until(lambda: not self.store.space.away)


@pytest.fixture
async def outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outage]:
    """A store whose database may be away."""
    need_postgres()
    monkeypatch.setattr(draining, "AGAIN_S", 0.01)
    broken = list[StoreBroken]()
    place = read_place(database_of(tmp_path))
    made, called = Link.__init__, Link.called

    def make(self: Link, place: Place, name: str, limit_s: float, watch: Watch, **how: str) -> None:
        if outages and outages[0].is_away and name.endswith("append"):
            raise LinkLost("away")
        made(self, place, name, limit_s, watch, **how)  # type: ignore[arg-type]

    def call(self: Link, query: str, values: list[object], within_s: float) -> list[object]:
        found = called(self, query, values, within_s)
        if outages and outages[0].is_away:  # its answer is lost
            self.close()
            raise LinkLost("away")
        return found  # type: ignore[return-value]

    outages = list[Outage]()
    monkeypatch.setattr(Link, "__init__", make)
    monkeypatch.setattr(Link, "called", call)
    async with AsyncExitStack() as stack:
        stack.enter_context(patient())
        store = await open_postgres(place, broken.append, tmp_path, 1_000, lambda _: None)
        stack.push_async_callback(store.close)
        outages.append(Outage(store))
        yield outages[0]
        outages[0].is_away = False
    assert not broken


async def test_what_the_database_had_already_is_stored_once(outage: Outage) -> None:
    """The first was stored, and its answer was lost; it goes by way of the spool, too."""
    channel, told = await make_channel(outage.store), list[int]()
    outage.store.feed.listen(EventsStored, lambda change: told.append(change.up_to))
    outage.is_away = True
    assert await outage.sent(channel, "a", "b") == [Appended("evt_a", 0), Appended("evt_b", 0)]
    assert await outage.sent(channel, "c") == [Appended("evt_c", 0)]
    await until(lambda: outage.store.space.spooled == 3)

    await outage.end()
    assert await outage.sent(channel, "d") == [Appended("evt_d", 4)]
    listed = await outage.store.list_events(channel.number, None, 9)
    assert [one.id for one in reversed(listed)] == ["evt_a", "evt_b", "evt_c", "evt_d"]
    assert told[-1] == 4
    assert outage.store.space.spooled == 0


async def test_a_duplicate_in_the_spool_is_found_by_the_id_it_was_answered(outage: Outage) -> None:
    channel = await make_channel(outage.store)
    await outage.sent(channel, "a")
    outage.is_away = True
    assert await outage.sent(channel, "a'", "b") == [Appended("evt_a'", 0), Appended("evt_b", 0)]

    await outage.end()
    found = await outage.store.find_event("evt_a'")
    assert found is not None
    assert found.head.id == "evt_a"
    assert [o.sequence for o in await outage.store.outlines(channel.number, 0, 9)] == [1, 2]


async def test_what_finds_no_room_is_refused_and_said(outage: Outage) -> None:
    channel = await make_channel(outage.store)
    outage.is_away = True
    await outage.sent(channel, "_")
    answers = await outage.sent(channel, *"abcdefgh")
    assert isinstance(answers[0], Appended)
    assert isinstance(answers[-1], StoreFull)
    await until(lambda: not outage.store.space.taking)
    assert "spool" in outage.store.space.reason

    await outage.end()
    assert outage.store.space.taking
    stored = ["evt__", *(answer.id for answer in answers if isinstance(answer, Appended))]
    listed = await outage.store.list_events(channel.number, None, 9)
    assert [one.id for one in reversed(listed)] == stored


async def test_a_channel_that_is_full_takes_no_more_into_the_spool(outage: Outage) -> None:
    config = ChannelConfig(max_bytes=500)
    channel = await outage.store.create_channel("small", config, START_MS)
    outage.is_away = True
    answers = [(await outage.sent(channel, one))[0] for one in "abc"]
    assert isinstance(answers[0], Appended)
    assert isinstance(answers[-1], ChannelFull)
    await outage.end()


async def test_what_belongs_to_a_channel_that_is_gone_stays_and_is_counted(outage: Outage) -> None:
    channel, other = await make_channel(outage.store, "gone"), await make_channel(outage.store)
    outage.is_away = True
    await outage.sent(channel, "a")
    await outage.sent(other, "b")
    await outage.store.delete_channel("gone")
    with capture_logs() as said:
        await outage.end()
    assert outage.store.space.stuck == 1
    assert [one["log_level"] for one in said if "cannot be stored" in one["event"]] == ["error"]
    assert await outage.store.find_event("evt_b") is not None


async def test_what_a_full_channel_did_not_take_it_takes_once_it_may_be_larger(
    outage: Outage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its operator makes it, because of what is stuck; another server had filled it."""
    monkeypatch.setattr(draining, "REFUSED_AGAIN_S", 0.01)
    channel = await outage.store.create_channel("small", ChannelConfig(max_bytes=900), START_MS)
    outage.is_away = True
    await outage.sent(channel, "_")
    await outage.sent(channel, "a")
    with psycopg.connect(database_of(tmp_path), autocommit=True) as connection:
        connection.execute("UPDATE relay.channels SET bytes = 900")
    await outage.end()
    assert outage.store.space.stuck == 1

    await outage.store.change_channel("small", lambda config: replace(config, max_bytes=9_000))
    await until(lambda: outage.store.space.stuck == 0)
    assert await outage.store.find_event("evt_a") is not None
