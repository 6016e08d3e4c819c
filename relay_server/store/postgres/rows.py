"""Webhooks as rows: what `append_v2` takes of each, and what it answers of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from relay_protocol.values import RequestHead
from relay_server.store.bodies import CLEAR, LONG_BYTES, BodyKeys, crc
from relay_server.store.postgres.arrays import Array, bigints, bytea_rows, byteas, texts
from relay_server.store.postgres.link import Link
from relay_server.store.sql.jobs import Arrival
from relay_server.values import Channel

# As they are given to it, and as a spool keeps them.
COLUMNS = (
    *("channel", "window_ms", "max_bytes", "id", "received_at", "size", "key", "kind"),
    *("sender_id", "digest", "request", "body", "checksum", "sealed"),
)
PACKED: tuple[Callable[[Any], Array], ...] = (
    *(bigints, bigints, bigints, texts, bigints, bigints, texts, texts),
    *(texts, bytea_rows, byteas, byteas, bigints, bigints),
)
DIGEST = COLUMNS.index("digest")
NO_LIMIT = (1 << 62) - 1
APPEND = (
    "SELECT * FROM relay.append_v2(%s::boolean, %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[],"
    " %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[])"
)


class Row(NamedTuple):
    """A webhook as `append_v2` takes it, its body as it is stored."""

    channel: int
    window_ms: int
    max_bytes: int
    id: str
    received_at: int
    size: int
    key: str
    kind: str
    sender_id: str | None
    digest: bytes | None
    request: bytes
    body: bytes
    checksum: int
    sealed: int | None

    @property
    def weight(self) -> int:
        """Bytes that it takes."""
        return self.size + len(self.request)


class Answer(NamedTuple):
    """What became of one.

    Attributes:
        state: `s` stored, `d` a duplicate of `event`, or itself if it was stored before, `f` its
            channel is full, `g` its channel is gone.
        place: The position of what is stored.
        event: Its id.
        first: Id of the first event of the same webhook, where this is a repeat.
        differs: Another event has the same sender's id and another body.
    """

    state: str
    place: int
    event: str
    first: str | None
    differs: bool


def limit_of(channel: Channel) -> int:
    """What a channel's events may take, as a row says it; bytes."""
    limit = channel.config.max_bytes
    return NO_LIMIT if limit is None else limit


def row_of(arrival: Arrival, bodies: BodyKeys) -> Row:
    new = arrival.new
    stored, sealed = bodies.seal(new.id, new.body)
    return Row(
        arrival.channel,
        arrival.held.window_ms,
        limit_of(arrival.held.channel),
        new.id,
        new.received_at,
        len(new.body),
        new.key,
        new.kind,
        new.sender_id,
        None if new.sender_id is None else digest_of(new.request, bodies.long_digest(new.body)),
        arrival.request,
        stored,
        crc(arrival.request, crc(stored)),
        sealed,
    )


def sealed_anew(row: Row, bodies: BodyKeys) -> Row:
    """A webhook as it is stored now, that was sealed, or not, when it came.

    Raises:
        Damaged: No key that is given opens it.
    """
    if (row.sealed or CLEAR) == bodies.current:
        return row
    body = bodies.open(row.id, row.body, row.sealed)
    stored, sealed = bodies.seal(row.id, body)
    digest = None if row.digest is None else bodies.long_digest(body) + row.digest[LONG_BYTES:]
    checksum = crc(row.request, crc(stored))
    return row._replace(body=stored, sealed=sealed, digest=digest, checksum=checksum)


def append_rows(
    link: Link, rows: Sequence[Row], bodies: BodyKeys, *, again: bool = False, within_s: float
) -> list[Answer]:
    """Store webhooks, those of a channel one after the other.

    Args:
        link: Its thread's.
        rows: By channel, and in the order in which they came.
        bodies: Their bodies are stored as these say, and older ones may be otherwise.
        again: They may be stored already, by a call whose end nobody knows.
        within_s: For the call to be answered.

    Raises:
        LinkLost: They may be stored, or not.
        Unstorable: One of them never can be.
        StoreUnavailable, StoreBroken: None of them is stored.
    """
    columns: list[Any] = list(zip(*rows, strict=True))
    columns[DIGEST] = [_digests(row, bodies) for row in rows]
    packed = [pack(column) for pack, column in zip(PACKED, columns, strict=True)]
    found = link.called(APPEND, (again, *packed), within_s)
    return [Answer(*row) for row in found]


def digest_of(request: RequestHead, body: bytes) -> bytes:
    """Stands for a webhook: its body's long digest, and one of method and target."""
    line = f"{request.method} {request.request_target}".encode()
    return body + hashlib.sha256(line).digest()[:LONG_BYTES]


def _digests(row: Row, bodies: BodyKeys) -> list[bytes | None]:
    """All that a webhook may have been stored under, that of now first; as many for each."""
    if bodies.known == {CLEAR}:
        return [row.digest]
    if row.digest is None:
        return [None] * (len(bodies.known) + 1)
    body, line = bodies.open(row.id, row.body, row.sealed), row.digest[LONG_BYTES:]
    return [row.digest, *(digest + line for digest in bodies.long_digests(body))]
