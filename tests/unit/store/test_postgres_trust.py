"""What a database must be to be trusted: each refusal names what to set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from relay_server.store.postgres.finding import Place, read_place
from relay_server.store.postgres.link import SETTINGS, Link, Watch
from relay_server.store.postgres.trust import Untrusted, check
from tests.support.postgres import need_postgres, shared_cluster
from tests.support.waiting import LONG_S

GOOD = {
    "server_version_num": "150018",
    "server_encoding": "UTF8",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_standby_names": "",
}


class FakeLink:
    """Answers as a database that is set so does."""

    def __init__(self, hosts: int = 1, sessions: Sequence[int] = (7, 7), **shown: str) -> None:
        self.place = Place([(f"db{n}", 5432) for n in range(hosts)], {"dbname": "relay"})
        self._sessions = list(sessions)
        self._shown = SETTINGS | GOOD | shown
        self._listens = list[str]()

    def listen(self, topic: str) -> None:
        self._listens.append(topic)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if query.startswith("SHOW "):
            return [(self._shown[query.removeprefix("SHOW ")],)]
        return [(self._sessions.pop(0), self._listens)]


@pytest.mark.parametrize(
    ("link", "says"),
    [
        (FakeLink(server_version_num="130014"), "older than PostgreSQL 14"),
        (FakeLink(server_encoding="SQL_ASCII"), "ENCODING 'UTF8'"),
        (FakeLink(fsync="off"), "set fsync = on"),
        (FakeLink(full_page_writes="off"), "set full_page_writes = on"),
        (FakeLink(hosts=2), "synchronous_standby_names"),
        (FakeLink(sessions=(7, 8)), "shares sessions .* own host and port"),
        (FakeLink(lock_timeout="0"), "keeps back .* own host and port"),
    ],
)
def test_what_would_lose_webhooks_is_refused(link: FakeLink, says: str) -> None:
    with pytest.raises(Untrusted, match=says) as raised:
        check(cast(Link, link), allow_async=False)
    assert raised.value.code == "store_untrusted"


@pytest.mark.parametrize(
    ("link", "allow_async"),
    [
        (FakeLink(), False),
        (FakeLink(hosts=2, synchronous_standby_names="ANY 1 (*)"), False),
        (FakeLink(hosts=2), True),
    ],
)
def test_what_keeps_them_is_taken(link: FakeLink, allow_async: bool) -> None:
    check(cast(Link, link), allow_async=allow_async)


def test_a_real_one_is_asked_what_it_knows() -> None:
    """The tests' own, which keeps nothing."""
    need_postgres()
    watch = Watch()
    link = Link(read_place(shared_cluster().url()), "relay/test", LONG_S, watch)
    with pytest.raises(Untrusted, match="fsync"):
        check(link, allow_async=False)
    link.close()
    watch.close()
