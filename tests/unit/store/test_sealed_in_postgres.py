"""Bodies sealed in a PostgreSQL: none of its servers stores what another one cannot open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from relay_server.errors import BodyKeyMissing, InvalidValue, StoreBroken
from relay_server.store.bodies import BodyKeys
from relay_server.store.postgres.finding import LinkLost, Place, read_place
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.store import PostgresStore, open_postgres
from relay_server.store.sql import resealing
from relay_server.values import Attempt, Progress
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.postgres import database_of, need_postgres, patient
from tests.support.stores import make_channel, make_subscription, record, shows
from tests.support.waiting import until
from tests.unit.store.test_sealed_bodies import NAME, K, L, bodies_of, fill


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty database, which is never away."""
    need_postgres()
    with patient():
        yield read_place(database_of(tmp_path))


def _fail(error: StoreBroken) -> None:
    raise error


@asynccontextmanager
async def opened(
    place: Place, folder: Path, keys: str = "", *, sealing: bool = True
) -> AsyncIterator[PostgresStore]:
    bodies = BodyKeys(keys, sealing=sealing)
    store = await open_postgres(place, _fail, folder, 1 << 20, lambda _: None, bodies)
    try:
        yield store
    finally:
        await store.close()


def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    """What the database itself says."""
    [(host, port)] = place.hosts
    with closing(
        psycopg.connect(host=host, port=port, **place.options, options="-c search_path=relay")
    ) as connection:
        return connection.execute(query.encode()).fetchall()


def under(place: Place, keys: str, *, sealing: bool = True) -> Callable[[], bool]:
    """Whether all bodies are stored as some keys say."""
    current = BodyKeys(keys, sealing=sealing).current
    return lambda: asked(place, "SELECT fingerprint FROM body_keys WHERE NOT gone") == [(current,)]


async def test_keys_come_change_and_go_and_repeats_are_known_throughout(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "LOOK_AT", 7)
    monkeypatch.setattr(resealing, "RESEAL_BYTES", 500)
    shown = f"SELECT position('{NAME}'::bytea IN body) > 0 FROM events ORDER BY position"
    async with opened(place, tmp_path) as store:
        made = await fill(store, 20)
        _, claim = await make_subscription(store, since=0)
        answer = Attempt(1, 1, START_MS, 5, "response", 422, f"what is {NAME}?")
        await record(store, claim, Progress(0, attempts=(answer,)))
    plain = asked(place, "SELECT digest FROM events ORDER BY position")
    assert asked(place, shown) == [(True,)] * 20, "the control: it is seen in the clear"

    for keys in (K, f"{L} {K}", L):
        async with opened(place, tmp_path, keys) as store:
            [channel] = store.catalog.channels.values()
            for number in (0, 19):  # while they are stored anew, and after that
                body = made[number]
                same = await store.append(channel.number, new_event(body, sender_id=f"d-{number}"))
                assert (same.sequence, same.duplicate) == (number + 1, True)
                await until(under(place, keys))
            made.append(f"another {keys}".encode())
            other = await store.append(channel.number, new_event(made[-1], sender_id="d-0"))
            [event] = await store.fetch(channel.number, [other.sequence])
            assert event.conflict
            assert await bodies_of(store) == made
        assert not any(one for (one,) in asked(place, shown))
        assert not set(plain) & set(asked(place, "SELECT digest FROM events"))
        assert asked(place, "SELECT text FROM attempts") == [("",)]

    async with opened(place, tmp_path, L, sealing=False) as store:
        await until(under(place, L, sealing=False))
    async with opened(place, tmp_path) as store:
        assert await bodies_of(store) == made, "no key is needed any more"


async def test_a_key_that_is_missing_is_told_and_one_that_others_lack(
    place: Place, tmp_path: Path
) -> None:
    async with opened(place, tmp_path) as store:
        await fill(store, 1)
        with pytest.raises(InvalidValue, match=r"has not the key .*: give it to all servers"):
            async with opened(place, tmp_path, K):
                pass
    async with opened(place, tmp_path, K) as store:
        await until(under(place, K))
        with pytest.raises(BodyKeyMissing, match="given: -"):
            async with opened(place, tmp_path):
                pass
        with pytest.raises(InvalidValue, match="has not the key"):
            async with opened(place, tmp_path, f"{L} {K}"):
                pass


async def test_a_new_key_goes_round_while_servers_run(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First behind the old one, then before it; what one seals, the other opens throughout."""
    monkeypatch.setattr(resealing, "RESEAL_AGAIN_S", 0.01)
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(opened(place, tmp_path, f"{K} {L}"))
        made = await fill(old, 2)
        async with opened(place, tmp_path, f"{L} {K}") as new:
            [channel] = new.catalog.channels.values()
            made.append(b"by the new one")
            await new.append(channel.number, new_event(made[-1]))
            await until(lambda: old.newest(channel.number) == 3)
            assert await bodies_of(old) == await bodies_of(new) == made
            assert not under(place, L)(), "the other one still seals by it"
            await stack.aclose()
            await until(under(place, L))
            assert await bodies_of(new) == made


async def test_it_begins_also_where_the_database_was_away_at_the_start(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(resealing, "RESEAL_AGAIN_S", 0.01)
    async with opened(place, tmp_path) as store:
        made = await fill(store, 1)
    async with AsyncExitStack() as stack:
        with monkeypatch.context() as patch:
            patch.setattr("relay_server.store.postgres.link.find_primary", _away)
            store = await stack.enter_async_context(opened(place, tmp_path, K))
        await until(under(place, K))
        assert await bodies_of(store) == made
    # The link that found it first, of those that only read, is not what the store is begun by.
    assert "read-only" not in capsys.readouterr().out


async def test_what_waits_in_a_spool_is_sealed_and_goes_on_under_the_next_key(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place, tmp_path, K) as store:
        [old] = await fill(store, 1)
        [channel] = store.catalog.channels.values()
    body = f"spooled for {NAME}".encode()
    with monkeypatch.context() as patch:
        patch.setattr("relay_server.store.postgres.draining.CLOSING_S", 0.0)
        async with opened(place, tmp_path, K) as store:
            patch.setattr(Link, "called", _away)
            await store.append(channel.number, new_event(body, sender_id="d-9"))
            await store.append(channel.number, new_event(old, sender_id="d-0"))
            assert shows(tmp_path, NAME.encode()) == []

    async with opened(place, tmp_path, f"{L} {K}") as store:
        await until(lambda: store.space.spooled == 0)
        assert await bodies_of(store) == [old, body]
        assert store.space.stuck == 0


async def test_what_no_key_opens_stays_in_the_spool(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place, tmp_path) as store:
        channel = await make_channel(store)
    with monkeypatch.context() as patch:
        patch.setattr("relay_server.store.postgres.draining.CLOSING_S", 0.0)
        async with opened(place, tmp_path, K) as store:
            await until(under(place, K))
            patch.setattr(Link, "called", _away)
            await store.append(channel.number, new_event(b"spooled"))
    async with opened(place, tmp_path / "elsewhere", K, sealing=False):
        await until(under(place, K, sealing=False))
    async with opened(place, tmp_path) as store:
        await until(lambda: store.space.stuck == 1)
    async with opened(place, tmp_path, K, sealing=False) as store:
        await until(lambda: not store.space.stuck)


def _away(*_: object) -> list[Any]:
    raise LinkLost("away")
