"""A whole store brought into another database, with every number, sequence and epoch.

No server may run on either side. Tables go in pages, each in the order of its key, so a copy into
PostgreSQL that was interrupted goes on where it was: behind the last row of each table that is
there. Meanwhile a table `copying` says of which state of the source it is; no server opens a store
that has one, and a source that has gone on since is refused. At the end both sides are counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from relay_protocol.values import RequestHead
from relay_server.errors import InvalidValue
from relay_server.store.bodies import IN_THE_CLEAR, UNKEPT, BodyKeys, Damaged, crc
from relay_server.store.sql.database import Row
from relay_server.store.sql.rows import decode_request
from relay_server.values import MAX_SEQUENCE

PAGE_ROWS = 500  # in one transaction
REACHED = "events"  # the table by which it is told how far a copy is


class Table(NamedTuple):
    """A table: its columns, of which the first ones are its key."""

    name: str
    key: int
    columns: tuple[str, ...]


# In this order: none refers to a row of a later one.
TABLES = (
    Table(
        "channels",
        1,
        (
            *("number", "name", "config", "created_at"),
            *("last_sequence", "events", "bytes", "dropped"),
        ),
    ),
    Table("purges", 1, ("channel",)),
    Table("tokens", 1, ("name", "digest", "scopes", "channels", "created_at")),
    Table(
        "events",
        1,
        (
            *("position", "id", "received_at", "size", "conflict", "key", "kind"),
            *("sender_id", "digest", "request", "body", "checksum", "repeat_of", "sealed"),
        ),
    ),
    Table("aliases", 1, ("id", "event")),
    Table(
        "subscriptions",
        1,
        (
            *("number", "channel", "name", "created_at", "start", "floor", "epoch"),
            *("config", "left_at"),
        ),
    ),
    Table(
        "deliveries",
        2,
        (
            *("subscription", "sequence", "state", "attempt", "failures", "due_at"),
            *("failing_since", "reason", "changed_at"),
        ),
    ),
    Table(
        "attempts",
        3,
        (
            *("subscription", "sequence", "attempt", "started_at", "elapsed_ms"),
            *("outcome", "status", "text", "size", "headers"),
        ),
    ),
    Table(
        "replays",
        1,
        (
            *("number", "subscription", "channel", "selection", "rate_per_s", "start", "until"),
            *("floor", "epoch", "state", "created_at", "ended_at", "made_by"),
        ),
    ),
    Table("forgotten", 1, ("reader",)),
    Table(
        "edited",
        1,
        (
            *("position", "subscription", "replay", "edited_from", "made_by"),
            *("idempotency_key", "asked"),
        ),
    ),
    Table("pins", 1, ("position", "channel", "name", "made_by", "made_at")),
    Table("audit", 1, ("number", "at", "made_by", "address", "action", "what", "asked")),
    Table("skips", 2, ("subscription", "last", "first")),
    Table(
        "invitations",
        1,
        ("digest", "name", "channels", "made_by", "created_at", "expires_at", "used_at"),
    ),
    Table("sessions", 1, ("digest", "token", "made_at", "used_at", "address", "agent")),
    Table("token_uses", 1, ("token", "used_at")),
    Table("secret_uses", 2, ("channel", "secret", "used_at")),
)
_LIST_KEY = (
    "INSERT INTO body_keys (fingerprint, gone) VALUES (?, FALSE)"
    " ON CONFLICT (fingerprint) DO UPDATE SET gone = FALSE"
)
_EVENTS = next(table for table in TABLES if table.name == "events")
# The tables that number their rows, and the highest number that was ever given, as far as anything
# is left of it: what is being swept must not be taken for another's.
_GIVEN = {
    "channels": "SELECT max(n) FROM (SELECT max(number) AS n FROM channels"
    " UNION ALL SELECT max(channel) FROM purges) AS given",
    "subscriptions": "SELECT max(n) FROM (SELECT max(number) AS n FROM subscriptions"
    " UNION ALL SELECT max(reader) FROM forgotten) AS given",
    "replays": "SELECT max(n) FROM (SELECT max(number) AS n FROM replays"
    " UNION ALL SELECT -min(reader) FROM forgotten) AS given",
    "audit": "SELECT max(number) FROM audit",
}
# What must be the same on both sides. Whole positions would be too much for SQLite's numbers.
_SUMS = {
    "events": f"count(*), sum(position & {MAX_SEQUENCE}), sum(size), count(sealed)",
    "subscriptions": "count(*), sum(floor), sum(epoch)",
    "deliveries": "count(*), sum(sequence), sum(state)",
    "replays": "count(*), sum(floor), sum(epoch)",
    "audit": "count(*), max(number), max(at)",
}


class Side(Protocol):
    """One of the two databases, for this process alone.

    Attributes:
        name: For people.
    """

    name: str

    def rows(self, query: str, *values: Any) -> list[Row]:
        """The rows of a query, in which each `?` is a value."""

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows to a table, and have them survive a crash."""

    def digest(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> Any:
        """By what a webhook is found again here."""

    def counted(self, table: str) -> str:
        """What to read in place of a table, so that its numbers are up to date."""

    def begin(self, state: str) -> None:
        """Be a copy that is not whole yet of a source in a state.

        Raises:
            InvalidValue: It is one of another state, or no copy and not empty.
        """

    def end(self, given: Mapping[str, int]) -> None:
        """Be whole, and give no number that was given before, by table."""


def copy_store(
    source: Side,
    target: Side,
    reach: Callable[[int], None],
    bodies: BodyKeys = IN_THE_CLEAR,
) -> dict[str, int]:
    """Copy all there is, to an empty store or a copy of the same state; `reach` is told how far.

    Returns:
        How many rows of each table there are.

    Raises:
        BodyKeyMissing: Not every stored body can be opened.
        InvalidValue: The target is no such thing, or what is there in the end is not the same.
    """
    sealed = source.rows("SELECT fingerprint FROM body_keys WHERE NOT gone")
    bodies.need(fingerprint for (fingerprint,) in sealed)
    target.begin(_state(source))
    for (fingerprint,) in sealed:
        target.rows(_LIST_KEY, fingerprint)
    counts = dict[str, int]()
    for table in TABLES:
        counts[table.name] = done = target.rows(f"SELECT count(*) FROM {table.name}")[0][0]  # noqa: S608
        for page in _pages(source, target, table, bodies):
            target.add(table, page)
            counts[table.name] = done = done + len(page)
            if table.name == REACHED:
                reach(done)
    _compare(source, target)
    given = {table: source.rows(query)[0][0] for table, query in _GIVEN.items()}
    target.end({table: number for table, number in given.items() if number is not None})
    return counts


def _pages(source: Side, target: Side, table: Table, bodies: BodyKeys) -> Iterator[list[Row]]:
    """The rows that are missing, some at a time, as the target has them."""
    columns, key = ", ".join(table.columns), ", ".join(table.columns[: table.key])
    order = ", ".join(f"{column} DESC" for column in table.columns[: table.key])
    sql = f"SELECT {key} FROM {table.name} ORDER BY {order} LIMIT 1"  # noqa: S608
    newest = target.rows(sql)
    after = newest[0] if newest else ()
    place = source.counted(table.name)
    while True:
        marks = ", ".join("?" * len(after))
        behind = f"WHERE ({key}) > ({marks})" if after else ""
        sql = f"SELECT {columns} FROM {place} {behind} ORDER BY {key} LIMIT ?"  # noqa: S608
        page = source.rows(sql, *after, PAGE_ROWS)
        if not page:
            return
        after = page[-1][: table.key]
        yield [_event(row, target, bodies) for row in page] if table is _EVENTS else page


def _event(row: Row, target: Side, bodies: BodyKeys) -> Row:
    """An event as the target keeps it: each finds webhooks again in a way of its own."""
    its = dict(zip(_EVENTS.columns, row, strict=True))
    request, body = its["request"], its["body"]
    if its["sender_id"] is not None:
        clear = _opened(bodies, its["id"], body, its["sealed"])
        its["digest"] = target.digest(bodies, decode_request(request), clear)
    if its["checksum"] is None:  # an older version stored it
        its["checksum"] = crc(request, crc(body))
    its["conflict"] = bool(its["conflict"])
    return tuple(its.values())


def _opened(bodies: BodyKeys, event: str, stored: bytes, sealed: int | None) -> bytes:
    """A body; what is stored of it where it was dropped, or the disk has changed it."""
    if sealed == UNKEPT:
        return stored
    try:
        return bodies.open(event, stored, sealed)
    except Damaged:
        return stored


def _state(source: Side) -> str:
    return json.dumps({table: _sums(source, table) for table in _SUMS})


def _sums(side: Side, table: str) -> list[int]:
    [row] = side.rows(f"SELECT {_SUMS[table]} FROM {table}")  # noqa: S608
    return [int(value or 0) for value in row]


def _compare(source: Side, target: Side) -> None:
    for table in TABLES:
        if table.name in _SUMS:
            here, there = _sums(source, table.name), _sums(target, table.name)
        else:
            count = f"SELECT count(*) FROM {table.name}"  # noqa: S608
            here, there = list(source.rows(count)[0]), list(target.rows(count)[0])
        if here != there:
            raise InvalidValue(
                f"the copy is not the same: {table.name} has {there} in {target.name}, and {here}"
                f" in {source.name}. Drop the copy and begin anew"
            )
