"""What a server remembers of its store: another one is refused, and a start needs no database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import create_autospec

import psycopg
import pytest
from structlog.testing import capture_logs

from relay_server.configs import ChannelConfig
from relay_server.files import write_whole
from relay_server.store.postgres import known, primary
from relay_server.store.postgres.finding import LinkLost, read_place
from relay_server.store.postgres.known import FILE_NAME, Memory
from relay_server.store.postgres.link import Link, Watch
from relay_server.store.postgres.primary import Primary
from relay_server.store.postgres.store import PostgresStore, open_postgres
from relay_server.store.postgres.trust import Untrusted
from relay_server.values import Channel, Token
from tests.support.clock import START_MS
from tests.support.postgres import database_of, need_postgres, shared_cluster
from tests.support.processes import free_port
from tests.support.stores import make_channel

CHANNEL = Channel(7, "chatwoot", ChannelConfig(max_bytes=1_000_000), START_MS)
ANA = Token("ana", b"a" * 32, frozenset(), frozenset(("chatwoot",)), START_MS)


def test_it_is_there_again_at_the_next_start(tmp_path: Path) -> None:
    nobodys = Memory(tmp_path)
    nobodys.note([(CHANNEL, 3, 400)], [ANA])
    nobodys.keep()
    assert Memory(tmp_path).known is None, "whose they are was not known"
    memory = Memory(tmp_path)
    memory.recognize("this one", "postgresql://db/relay")
    memory.note([(CHANNEL, 3, 400)], [ANA])
    memory.keep()

    again = Memory(tmp_path)
    again.recognize("this one", "postgresql://db/relay")
    assert again.known == memory.known
    assert again.known is not None
    assert again.known.channels == [(CHANNEL, 3, 400)]
    assert again.known.tokens == [ANA]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_what_was_noted_last_is_kept_though_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a token that was revoked is good again at a start without the database."""
    memory = Memory(tmp_path)
    memory.recognize("this one", "postgresql://db/relay")
    slow, later = threading.Event(), threading.Event()

    def write_slowly(path: Path, content: bytes) -> None:
        if not slow.is_set():
            slow.set()
            later.wait(0.3)
        write_whole(path, content)

    monkeypatch.setattr(known, "write_whole", write_slowly)
    with ThreadPoolExecutor() as threads:
        memory.note([], [ANA])
        first = threads.submit(memory.keep)
        assert slow.wait(20)
        memory.note([], [])
        threads.submit(memory.keep).add_done_callback(lambda _: later.set())
    first.result()
    again = Memory(tmp_path).known
    assert again is not None
    assert again.tokens == []


def test_another_store_is_refused_with_what_to_set(tmp_path: Path) -> None:
    Memory(tmp_path).recognize("this one", "postgresql://db/relay")
    with pytest.raises(Untrusted, match=r"another store.*RELAY_SERVER_STORE_URL.*spool") as raised:
        Memory(tmp_path).recognize("another", "postgresql://db/relay")
    assert FILE_NAME in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_what_cannot_be_read_is_said_and_found_anew(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"garbled")
    with capture_logs() as said:
        memory = Memory(tmp_path)
    assert [one["log_level"] for one in said] == ["error"]
    memory.recognize("this one", "postgresql://db/relay")
    assert Memory(tmp_path).known == memory.known


async def opened(url: str, data_dir: Path) -> PostgresStore:
    """The store at a URL."""
    return await open_postgres(
        read_place(url), lambda _: None, data_dir, 1_000_000, trust=lambda _: None
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of an empty database."""
    need_postgres()
    return database_of(tmp_path)


async def test_a_store_opens_without_its_database_by_what_was_there(
    url: str, tmp_path: Path
) -> None:
    store = await opened(url, tmp_path)
    channel = await make_channel(store)
    await store.create_token(ANA)
    await store.close()
    away = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"

    store = await opened(away, tmp_path)
    assert store.catalog.channels == {"chatwoot": channel}
    assert store.catalog.tokens == {ANA.digest: ANA}
    assert store.space.away
    await store.close()
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(LinkLost):
        await opened(away, tmp_path)


async def test_another_store_behind_the_url_is_found_out(url: str, tmp_path: Path) -> None:
    await (await opened(url, tmp_path)).close()
    with psycopg.connect(shared_cluster().url(), autocommit=True) as connection:
        connection.execute("UPDATE relay.catalogue SET store = gen_random_uuid()::text")
    with pytest.raises(Untrusted):
        await opened(url, tmp_path)


def test_one_that_comes_back_as_another_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is complained of once, not with each look."""
    monkeypatch.setattr(primary, "SHORTEST_S", 0.0)
    monkeypatch.setattr(primary, "LONGEST_S", 0.0)
    link = object.__new__(Link)
    link.timeline, link.close = 1, lambda: None  # type: ignore[method-assign]
    refusals = [Untrusted("another store")] * 3

    def recognize(_: Link) -> None:
        if refusals:
            raise refusals.pop()

    looked = Primary(lambda _: link, create_autospec(Watch), recognize)
    with capture_logs() as said:
        for _ in range(3):
            with pytest.raises(LinkLost, match="another store"):
                looked.connect("append")
        assert looked.connect("append") is link
    assert [one["log_level"] for one in said] == ["error", "info"]
