"""Sequences are given in the order of commits, without gaps: who reads behind one skips nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from relay_server.configs import ChannelConfig
from relay_server.store.bodies import IN_THE_CLEAR
from relay_server.store.postgres.finding import Place, read_place
from relay_server.store.postgres.link import Link, Locked
from relay_server.store.postgres.rows import Row, append_rows
from relay_server.store.postgres.store import link_alone
from relay_server.store.sql.positions import sequence_of
from tests.support.clock import START_MS
from tests.support.postgres import database_of, need_postgres
from tests.support.stores import open_test_store

REST = (b"r", b"{}", 0, None)  # of a row


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A database with one channel, that no server has open."""
    need_postgres()
    url = database_of(tmp_path)
    async with open_test_store("postgres", tmp_path) as store:
        await store.create_channel("chatwoot", ChannelConfig(), START_MS)
    return read_place(url)


@pytest.fixture
def links(place: Place) -> Iterator[tuple[Link, Link, Link]]:
    """Of two servers that write, and of one that reads."""
    with ExitStack() as stack:
        first, second, reading = (stack.enter_context(link_alone(place)) for _ in range(3))
        yield first, second, reading


def append(link: Link, *names: str) -> list[int]:
    """Store webhooks: their sequences."""
    rows = [
        Row(1, 0, 1 << 60, name, START_MS, 2, "7", "k", f"s_{name}", name.encode(), *REST)
        for name in names
    ]
    answers = append_rows(link, rows, IN_THE_CLEAR, within_s=5.0)
    return [sequence_of(answer.place) for answer in answers]


def read(link: Link) -> list[int]:
    """All that a reader sees."""
    rows = link.rows("SELECT position FROM events ORDER BY position")
    return [sequence_of(position) for (position,) in rows]


def test_whoever_is_second_waits_for_the_first(links: tuple[Link, Link, Link]) -> None:
    first, second, reading = links
    first.begin()
    assert append(first, "evt_1") == [1]
    with pytest.raises(Locked):
        append(second, "evt_2")
    assert read(reading) == []
    first.commit()
    assert append(second, "evt_2") == [2]
    assert read(reading) == [1, 2]


def test_what_was_undone_leaves_no_gap(links: tuple[Link, Link, Link]) -> None:
    first, second, reading = links
    first.begin()
    append(first, "evt_1")
    first.rollback()
    assert append(second, "evt_2") == [1]
    assert read(reading) == [1]


def test_the_control_a_sequence_of_the_database_has_a_reader_skip(
    links: tuple[Link, Link, Link],
) -> None:
    first, second, reading = links
    second.script("CREATE TABLE naive (number bigserial PRIMARY KEY)")
    try:
        first.begin()
        first.script("INSERT INTO naive DEFAULT VALUES")
        second.script("INSERT INTO naive DEFAULT VALUES")
        [(cursor,)] = reading.rows("SELECT max(number) FROM naive")
        first.commit()
        assert reading.rows("SELECT number FROM naive WHERE number > %s", (cursor,)) == []
        assert reading.rows("SELECT number FROM naive ORDER BY 1") == [(1,), (2,)]
    finally:
        second.script("DROP TABLE naive")


def test_nobody_is_told_inside_a_transaction_that_writes(links: tuple[Link, Link, Link]) -> None:
    """That would take a lock of the whole cluster until the standby has answered."""
    writing, *_ = links
    writing.begin()
    with pytest.raises(AssertionError):
        writing.notify("relay", "told")
    writing.rollback()
    writing.notify("relay", "told")


def test_what_nobody_sent_before_is_looked_up_once(links: tuple[Link, Link, Link]) -> None:
    """While its channel is locked: other servers wait for as long."""
    link = links[0]
    link.script("SET enable_seqscan = off")  # which a table of a few rows would be read by
    link.begin()
    looked = "SELECT pg_stat_get_xact_numscans('relay.events_by_sender_id'::regclass)"
    [(before,)] = link.rows(looked)
    assert append(link, *(f"evt_{n}" for n in range(10))) == list(range(1, 11))
    assert link.rows(looked) == [(before + 10,)]
    link.rollback()
