"""The schema of a PostgreSQL store, while servers of two versions run on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing

import psycopg
import pytest

from relay_server.errors import StoreTooNew
from relay_server.store.postgres import database
from relay_server.store.postgres.database import migrations
from relay_server.store.postgres.finding import Place, read_place
from relay_server.store.postgres.link import Link, Locked
from relay_server.store.postgres.store import link_alone
from tests.support.postgres import need_postgres, shared_cluster

NEW = "ALTER TABLE channels ADD COLUMN colour text NOT NULL DEFAULT 'red'"
BREAKING = f"-- oldest: {len(migrations()) + 1}\n{NEW}"


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database of its own, that no server has seen."""
    need_postgres()
    cluster, name = shared_cluster(), "migrated"
    url = cluster.create(name)
    yield read_place(url)
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def prepared(place: Place, scripts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start on it with a version that knows some scripts."""
    monkeypatch.setattr(database, "migrations", lambda: tuple(scripts))
    with link_alone(place) as link:
        database.prepare(link)


def columns(place: Place) -> set[str]:
    with link_alone(place) as link:
        return {
            name
            for (name,) in link.rows(
                "SELECT column_name::text FROM information_schema.columns"
                " WHERE table_name = 'channels'"
            )
        }


def test_the_version_before_starts_on_what_the_next_one_made(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(place, migrations(), monkeypatch)
    prepared(place, [*migrations(), NEW], monkeypatch)
    prepared(place, migrations(), monkeypatch)
    assert "colour" in columns(place)


def test_a_version_that_cannot_live_with_it_does_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(place, [*migrations(), BREAKING], monkeypatch)
    with pytest.raises(StoreTooNew, match="this program knows up to"):
        prepared(place, migrations(), monkeypatch)
    prepared(place, [*migrations(), BREAKING], monkeypatch)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_lock_on_a_table_is_waited_for_without_holding_up_others(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, for_good: bool
) -> None:
    """Whoever waits for such a lock has all who come later wait behind it: so it gives up."""
    prepared(place, migrations(), monkeypatch)
    tries, [(host, port)] = list[str](), place.hosts
    script, first = Link.script, threading.Event()

    def noted(self: Link, text: str) -> None:
        try:
            script(self, text)
        except Locked:
            tries.append(text)
            first.set()
            raise

    monkeypatch.setattr(Link, "script", noted)
    monkeypatch.setattr(database, "TRIES", 2 if for_good else 60)
    with closing(psycopg.connect(host=host, port=port, **place.options)) as other:
        other.execute("LOCK TABLE relay.channels IN ACCESS SHARE MODE")
        if for_good:
            with pytest.raises(Locked):
                prepared(place, [*migrations(), NEW], monkeypatch)
            assert "colour" not in columns(place)
            return

        def let_go() -> None:
            first.wait()
            other.rollback()

        threading.Thread(target=let_go).start()
        prepared(place, [*migrations(), NEW], monkeypatch)
    assert NEW in tries
    assert "colour" in columns(place)
