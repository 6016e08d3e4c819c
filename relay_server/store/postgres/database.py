"""A `Database` of the parts on a link: named queries, transactions, migrations."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from relay_server.errors import InvalidValue, StoreTooNew
from relay_server.metrics import COMMIT_BUCKETS, Times
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.feed import Change
from relay_server.store.postgres.link import SCHEMA, Link, Locked
from relay_server.store.sql.database import Row
from relay_server.store.sql.named import read_queries, scripts

ROWS_AT_ONCE = 500  # of VALUES in one statement
TRIES = 30  # to bring the schema to this version's shape, each for as long as locks are waited for
LOCKED_AGAIN_S = 0.5  # between two of them
# Of advisory locks, which the whole cluster shares: ours in this database.
WRITING, MIGRATING = 0x52454C59_00000001, 0x52454C59_00000002
DIALECT = {"EACH": "numbers", "WORDS": "words", "GREATEST": "greatest", "LEAST": "least"}
T = TypeVar("T")


class Database:
    """One connection; it belongs to one thread at a time.

    Attributes:
        changes: What the transaction changes, to be told once it is committed.
        commits: How long commits took.
    """

    def __init__(self, link: Link, bodies: BodyKeys = IN_THE_CLEAR) -> None:
        self.link = link
        self.bodies = bodies
        self.changes: list[Change] = []
        self.commits = Times(COMMIT_BUCKETS)
        self._queries = queries()

    def wipe(self) -> None:
        """Its own VACUUM gives the place to others."""

    def run(self, query: str, /, **values: Any) -> None:
        """Execute a named query for its effect."""
        self.link.rows(self._queries[query], values)

    def run_rows(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a named INSERT for many rows by few statements."""
        head, one, tail = re.split(r"VALUES (\([?, ]+\))", self._queries[query])
        one = one.replace("?", "%s")
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            values = tuple(chain.from_iterable(some))
            self.link.rows(f"{head}VALUES {', '.join([one] * len(some))}{tail}", values)

    def all(self, query: str, /, **values: Any) -> list[Row]:
        """All rows of a named query."""
        return self.link.rows(self._queries[query], values)

    def each(self, query: str, /, **values: Any) -> Iterator[Row]:
        """The rows of a named query."""
        return iter(self.all(query, **values))

    def one(self, query: str, /, **values: Any) -> Row | None:
        """The first row of a named query, if there is one."""
        rows = self.all(query, **values)
        return rows[0] if rows else None

    def value(self, query: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = self.all(query, **values)
        return rows[0][0] if rows else None

    def begin(self) -> None:
        """Start a transaction that writes, after those of other replicas.

        They follow one another, as if there were one writer: parts look first, and then write. What
        many do at once, to append webhooks, does not wait for it.
        """
        self.changes = []
        self.link.begin()
        self.link.rows("SELECT pg_advisory_xact_lock(%s)", (WRITING,))

    def commit(self) -> None:
        """End it; once this returns, it survives a crash."""
        began = time.perf_counter()
        self.link.commit()
        self.commits.add(time.perf_counter() - began)


def prepare(link: Link, *, copying: bool = False) -> None:
    """Bring the schema to this version's shape; one replica does, the others wait.

    Raises:
        StoreTooNew: A later version has been here, with which this one cannot live.
        InvalidValue: It holds a copy that is not whole.
        Locked: Somebody holds a lock on one of its tables, or on all that is to be changed.
    """
    for left in reversed(range(TRIES)):
        try:
            _prepare(link, copying=copying)
            return
        except Locked:
            if not left:
                raise
            time.sleep(LOCKED_AGAIN_S)


def _prepare(link: Link, *, copying: bool) -> None:
    scripts = migrations()
    link.rows("SELECT pg_advisory_lock(%s)", (MIGRATING,))
    try:
        link.script(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        link.script("CREATE TABLE IF NOT EXISTS migrated (version integer PRIMARY KEY)")
        link.script("ALTER TABLE migrated ADD COLUMN IF NOT EXISTS oldest integer DEFAULT 1")
        if link.rows("SELECT 1 WHERE to_regclass('copying') IS NOT NULL") and not copying:
            raise InvalidValue(
                f"{link.place.name} holds a copy that is not whole: let relay-server store copy end"
            )
        query = "SELECT coalesce(max(version), 0), coalesce(max(oldest), 1) FROM migrated"
        [(version, oldest)] = link.rows(query)
        if oldest > len(scripts):
            raise StoreTooNew(
                f"{link.place.name} has version {version}, this program knows up to {len(scripts)}"
            )
        for number, script in enumerate(scripts[version:], version + 1):
            _migrate(link, number, script)
    finally:
        link.rows("SELECT pg_advisory_unlock(%s)", (MIGRATING,))


def _migrate(link: Link, number: int, script: str) -> None:
    """Run a script, which says `-- oldest: N` where versions before N cannot live with it."""
    oldest = re.search(r"^-- oldest: (\d+)$", script, re.MULTILINE)
    link.begin()
    try:
        link.script(script)
        values = number, int(oldest[1]) if oldest else 1
        link.rows("INSERT INTO migrated (version, oldest) VALUES (%s, %s)", values)
        link.commit()
    except BaseException:
        link.rollback()
        raise


@cache
def queries() -> dict[str, str]:
    """Every query, by name, with its values as psycopg takes them: `%(name)s`."""
    found = read_queries(__package__, DIALECT)
    return {name: _with_values(query) for name, query in found.items()}


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty schema to this version's, in order."""
    return scripts(__package__, "migrations")


def _with_values(query: str) -> str:
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", query.replace("%", "%%"))
