"""Two servers drain their spools: what came first is stored first, whichever has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay_server.store.postgres import turns
from relay_server.store.postgres.database import Database, prepare
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.link import Link, Watch
from relay_server.store.postgres.neighbours import take_place
from relay_server.store.postgres.rows import Row
from relay_server.store.postgres.spool import Spool
from relay_server.store.postgres.turns import ASIDE_MS, Turns, tell_of
from tests.support.clock import START_MS
from tests.support.postgres import database_of, need_postgres

TIMES = {
    "a": [0, 300, 310, 900, 2_000, 2_010, 5_000],
    "b": [100, 320, 800, 901, 1_900, 4_000, 4_990, 9_000],
}


class Server:
    """One that drains, a webhook at a time.

    Attributes:
        brought: When each was received that it brought.
    """

    def __init__(self, link: Link, spool: Spool) -> None:
        self.link, self.spool, self.turns = link, spool, Turns(spool)

    def beat(self) -> None:
        tell_of(Database(self.link), self.spool)

    def step(self) -> list[int]:
        """Bring one, if it is its turn; when that was received."""
        limit, waiting = self.turns.up_to(self.link), self.spool.oldest()
        number = next(iter(waiting), None)
        if number is None or (limit is not None and waiting[number].received_at > limit):
            return []
        self.spool.settle({number: waiting[number]}, {})
        self.turns.brought()
        if not self.spool.waiting:
            self.turns.over(self.link)
        return [waiting[number].received_at - START_MS]


def row(at: int) -> Row:
    """A webhook that was received then."""
    request, body = b"", b"{}"
    head = START_MS + at, len(body), "7", "", None, None
    return Row(1, 0, 1 << 60, f"evt_{at}", *head, request, body, 0, None)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Two, which have been there before their database went away."""
    need_postgres()
    place, watch = read_place(database_of(tmp_path)), Watch()
    with ExitStack() as stack:
        stack.callback(watch.close)
        found = []
        for name, times in TIMES.items():
            link = stack.enter_context(
                closing(Link(place, "relay/append", 60.0, watch, replica=name))
            )
            prepare(link)
            take_place(Database(link), name)
            spool = Spool(tmp_path / "spool" / name, 1 << 20)
            stack.callback(spool.close)
            found.append(Server(link, spool))
            found[-1].beat()
            spool.put([row(at) for at in times])
        yield found[0], found[1]


def test_what_several_have_is_stored_in_the_order_in_which_it_came(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 60.0)
    monkeypatch.setattr(turns, "GATHER_S", 60.0)
    first, second = servers
    first.turns.back()
    assert first.step() == [], "the other has not said yet what it has"
    second.turns.back()
    stored = list[int]()
    while first.spool.waiting or second.spool.waiting:
        stored += [*first.step(), *second.step()]

    assert sorted(stored) == sorted([*TIMES["a"], *TIMES["b"]])
    aside = [early for n, early in enumerate(stored) if max(stored[: n + 1]) - early > ASIDE_MS]
    assert aside == []


@pytest.mark.parametrize("limit", ["PATIENCE_S", "GATHER_S"])
def test_nobody_waits_for_long_for_one_that_brings_nothing(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """It has died, or says what it has and cannot bring it."""
    monkeypatch.setattr(turns, limit, -1.0)
    first, second = servers
    if limit == "PATIENCE_S":
        second.beat()
    first.turns.back()
    stored = [at for _ in TIMES["a"] for at in first.step()]
    assert stored == TIMES["a"]


@pytest.mark.parametrize("then", ["nothing", "slowly"])
def test_who_brings_what_is_older_is_waited_for(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """As long as it does bring it: a spool may be large. But not for ever."""
    now = [100.0]
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first, second = servers
    for server, times in ((first, range(100)), (second, (9_000,))):
        server.spool.settle(server.spool.oldest(), {})
        server.spool.put([row(10_000 + at) for at in times])
        server.turns = Turns(server.spool)
        server.turns.back()

    def waits() -> bool:
        number, one = next(iter(first.spool.oldest().items()))
        first.spool.settle({number: one}, {})
        first.beat()
        now[0] += turns.PATIENCE_S - 1.0
        return not second.step()

    assert all(waits() for _ in range(4))
    if then == "slowly":
        assert not all(waits() for _ in range(20))
    else:
        now[0] += turns.PATIENCE_S + 1.0
        assert second.step() == [19_000]


def test_one_alone_asks_nobody(servers: tuple[Server, Server]) -> None:
    first, second = servers
    Database(second.link).run("forget_replica", replica="b", spooled=False, alive_s=1.0)
    first.turns.back()
    assert first.turns.up_to(first.link) is None


def test_who_dies_with_something_in_its_spool_is_remembered(
    servers: tuple[Server, Server],
) -> None:
    """The others go with time, and it, too, once somebody has its spool."""
    first, second = servers
    first.beat()
    database = Database(first.link)

    def listed() -> list[str]:
        return [name for name, *_ in database.all("replicas", alive_s=60.0)]

    second.beat()
    database.run("forget_dead", empty_s=-1.0, spooled_s=60.0)
    assert listed() == ["a", "b"]
    second.spool.settle(second.spool.oldest(), {})
    second.beat()
    database.run("forget_dead", empty_s=-1.0, spooled_s=60.0)
    assert listed() == ["a"]
    database.run("forget_adopted", folder="a")
    assert listed() == []
