"""Arrays as they are packed for PostgreSQL: it reads what went in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_server.store.postgres.arrays import Array, bigints, bytea_rows, byteas, texts
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.link import Link, Watch
from tests.support.postgres import need_postgres, shared_cluster
from tests.support.waiting import LONG_S

pytestmark = pytest.mark.postgres

NUMBERS = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]) | st.just("\U0010ffff"))
BYTES = st.none() | st.binary()
QUERY = (
    "SELECT * FROM ROWS FROM (unnest(%s::bigint[]), unnest(%s::text[]), unnest(%s::bytea[]),"
    " unnest(%s::bytea[]))"
)


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    need_postgres()
    watch = Watch()
    link = Link(read_place(shared_cluster().url()), "relay/arrays", LONG_S, watch)
    yield link
    link.close()
    watch.close()


def rows(link: Link, *arrays: Array) -> list[tuple[Any, ...]]:
    return link.called(QUERY, arrays, LONG_S)


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, TEXTS, BYTES, BYTES), min_size=1, max_size=20))
def test_the_database_reads_what_was_packed(link: Link, given: list[tuple[Any, ...]]) -> None:
    numbers, words, some, others = zip(*given, strict=True)
    in_rows = bytea_rows([[one] for one in others])
    assert rows(link, bigints(numbers), texts(words), byteas(some), in_rows) == given


def test_rows_stay_apart(link: Link) -> None:
    packed = bytea_rows([[b"a", None], [b"", b"\\d"], [b"\0", b"f"]])
    found = link.called("SELECT (%s::bytea[][])[2:3][2:2]", (packed,), LONG_S)
    assert found == [([[b"\\d"], [b"f"]],)]
