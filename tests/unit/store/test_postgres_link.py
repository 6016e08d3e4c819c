"""A link to PostgreSQL: what it says of a database that does not answer, and what it never does."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from relay_server.errors import InvalidValue, StoreFull, StoreReadOnly, StoreUnavailable
from relay_server.store.postgres.finding import LinkLost, Place, read_place
from relay_server.store.postgres.link import Link, Locked, Unstorable, Watch
from relay_server.store.postgres.primary import Primary
from tests.support.postgres import need_postgres, shared_cluster
from tests.support.processes import free_port
from tests.support.waiting import LONG_S, Stopwatch, until

SECRET = "hunter2"
CANCEL = (80_877_102).to_bytes(4, "big")  # in place of a version of the protocol
PLAIN = "postgresql://postgres@127.0.0.1:{}/postgres?sslmode=disable&gssencmode=disable"


@pytest.fixture
def place() -> Place:
    """A database."""
    need_postgres()
    return read_place(shared_cluster().url())


@pytest.fixture
def watch() -> Iterator[Watch]:
    """It ends calls that take too long."""
    watch = Watch()
    yield watch
    watch.close()


@pytest.fixture
def link(place: Place, watch: Watch) -> Iterator[Link]:
    """A link whose calls may take as long as a busy machine needs."""
    link = Link(place, "relay/test", LONG_S, watch)
    yield link
    link.close()


def test_nobody_there_is_said_with_the_place_and_no_secret(watch: Watch) -> None:
    url = f"postgresql://relay@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/relay"
    with pytest.raises(LinkLost, match="cannot be reached") as raised:
        Link(read_place(url, SECRET), "relay/test", 1.0, watch)
    assert raised.value.code == "store_unreachable"
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://relay:{SECRET}@db/relay",
        "postgresql:///relay",
        "postgresql://relay@db",
        f"postgresql://relay@db/relay?no_such={SECRET}",
        "host=a,b,c port=1,2 dbname=relay",
        "postgresql://relay@db:high/relay",
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        read_place(url)
    assert SECRET not in str(raised.value)


def test_hosts_have_ports_of_their_own_or_one() -> None:
    assert read_place("postgresql://relay@a:1,b:2/relay").hosts == [("a", 1), ("b", 2)]
    assert read_place("postgresql://relay@a,b/relay").hosts == [("a", 5432), ("b", 5432)]


def test_a_url_may_set_more_but_nothing_that_a_link_sets(place: Place, watch: Watch) -> None:
    """As providers give it: a time to connect, a name, an option of theirs."""
    options = quote("-c work_mem=8MB -c synchronous_commit=off")
    url = f"{place.name}?user=postgres&connect_timeout=9&application_name=a&options={options}"
    with closing(Link(read_place(url), "relay/test", LONG_S, watch)) as link:
        names = ("work_mem", "application_name", "synchronous_commit")
        assert [link.rows(f"SHOW {name}")[0][0] for name in names] == ["8MB", "relay/test", "on"]


def test_a_pooler_that_refuses_what_a_link_sets_is_called_one(watch: Watch) -> None:
    """As PgBouncer does in each of its modes."""
    said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"

    def refuse() -> None:
        client, _ = server.accept()
        with client:
            client.recv(4_096)
            client.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, daemon=True).start()
        place = read_place(PLAIN.format(server.getsockname()[1]))
        with pytest.raises(LinkLost, match=r"a pooler, so name the database's own host and port"):
            Link(place, "relay/test", LONG_S, watch)


@pytest.mark.parametrize(("given", "idle_s"), [("", 60), ("?user=postgres&keepalives_idle=7", 7)])
def test_an_idle_link_is_kept_alive(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch, given: str, idle_s: int
) -> None:
    """Else Swarm's network forgets it in silence, and the first webhook of the morning waits."""
    opened = list[psycopg.Connection]()
    connect = psycopg.connect

    def spied(**options: Any) -> psycopg.Connection:
        opened.append(connect(**options))
        return opened[-1]

    monkeypatch.setattr(psycopg, "connect", spied)
    place = read_place(f"{place.name}{given}") if given else place
    with (
        closing(Link(place, "relay/test", LONG_S, watch)),
        socket.socket(fileno=os.dup(opened[0].fileno())) as its_own,
    ):
        assert its_own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle_s
        assert its_own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_call_that_takes_too_long_is_ended_and_not_cancelled(
    place: Place, watch: Watch, link: Link
) -> None:
    """To cancel would let a commit be seen that no standby has: the server goes on with it."""
    late, stopwatch = Link(place, "relay/late", 0.5, watch), Stopwatch()
    with pytest.raises(LinkLost):
        late.rows("SELECT pg_sleep(20), 'still here'")
    assert stopwatch.elapsed_s < 1.5
    assert late.ended

    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%still here%' AND state = 'active'"
    )
    assert link.rows(f"{running} AND pid <> pg_backend_pid()") == [(1,)]


def test_what_waits_since_before_others_had_an_answer_is_ended(
    place: Place, watch: Watch, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that was silent may never bring its answer, and its limit may be far."""

    def make(name: str) -> Link:
        if name == "away":
            raise LinkLost("silent")
        return Link(place, name, LONG_S, watch)

    primary = Primary(make, watch)
    monkeypatch.setattr("relay_server.store.postgres.primary.STALE_S", 0.0)
    monkeypatch.setattr("relay_server.store.postgres.primary.SHORTEST_S", 0.0)
    monkeypatch.setattr("relay_server.store.postgres.primary.LONGEST_S", 0.0)
    with closing(primary.connect("late")) as late, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(late.rows, "SELECT pg_sleep(60)")
        while late.asked_at == math.inf:
            time.sleep(0.001)  # a thread of another has no event
        primary.connect("young").close()
        assert not answer.done(), "the database was there all the time"
        with pytest.raises(LinkLost):
            primary.connect("away")
        primary.connect("other").close()
        with pytest.raises(LinkLost):
            answer.result(LONG_S)
    assert link.rows("SELECT 1") == [(1,)], "nobody waited for it"


def test_a_commit_that_somebody_let_go_is_none(link: Link) -> None:
    """As an operator does who cancels what waits for its standby: told as done, with a warning."""
    with pytest.raises(LinkLost, match="standby"):
        link.script(
            "DO $$ BEGIN RAISE WARNING USING ERRCODE = '01000', MESSAGE ="
            " 'canceling wait for synchronous replication due to user request'; END $$"
        )
    assert link.ended


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreFull),
        ("25006", StoreReadOnly),
        ("57P01", LinkLost),
        ("22P05", Unstorable),
        ("55P03", Locked),
        ("42P01", StoreUnavailable),
    ],
)
def test_errors_are_told_apart(link: Link, state: str, kind: type[Exception]) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        link.script(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
    assert type(raised.value) is kind


def test_a_call_is_prepared_once_and_nothing_else_is(link: Link) -> None:
    """The database parses and plans it no more, which is half of what a call of one costs it."""
    prepared = "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements"
    for _ in range(7):
        link.called("SELECT %s::bigint", [1], LONG_S)
        link.rows("SELECT %s", [1])
        link.script("SELECT 1")
    assert link.rows(prepared) == [("SELECT $1::bigint", 7)]


def test_what_is_told_is_heard_by_who_listens(place: Place, watch: Watch, link: Link) -> None:
    listening = Link(place, "relay/listen", LONG_S, watch)
    listening.listen("relay_test")
    threading.Timer(0.05, link.notify, ("relay_test", "olá 🎉")).start()

    assert list(listening.heard(LONG_S)) == ["olá 🎉"]
    assert list(listening.heard(0.01)) == []
    listening.close()


def test_text_keeps_what_postgres_has_no_place_for(link: Link) -> None:
    text = "a\0b\U0010ffffc\U0010ffff0"
    assert link.rows("SELECT %(text)s::text", {"text": text}) == [(text,)]
    assert link.rows("SELECT sum(n) FROM generate_series(1, 3) AS s (n)") == [(6,)]


class Counting:
    """A way to the database that counts who asks it to cancel something."""

    def __init__(self, port: int) -> None:
        self.cancels = 0
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        head = client.recv(8, socket.MSG_WAITALL)
        self.cancels += head[4:] == CANCEL
        server = socket.create_connection(("127.0.0.1", self._port))
        server.sendall(head)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def counting() -> Iterator[Counting]:
    """A way to the shared database."""
    need_postgres()
    counting = Counting(shared_cluster().port)
    yield counting
    counting.close()


async def test_no_cancel_request_is_ever_sent(watch: Watch, counting: Counting) -> None:
    """Neither where a call takes too long, nor where a link is closed under one."""
    place = read_place(PLAIN.format(counting.port))
    late, closed = (Link(place, "relay/test", 0.2, watch) for _ in range(2))
    with pytest.raises(LinkLost):
        late.rows("SELECT pg_sleep(1)")
    threading.Timer(0.05, closed.abandon).start()
    with pytest.raises(LinkLost):
        closed.rows("SELECT pg_sleep(1)")
    closed.close()
    assert counting.cancels == 0

    # It would be seen.
    with psycopg.connect(PLAIN.format(counting.port)) as connection:
        connection.cancel_safe()
    await until(lambda: counting.cancels == 1)
