"""Bring stored bodies under the key that new ones are stored under.

`body_keys` lists the fingerprints under which bodies may be stored, so that a key that is missing
is found at the start, without a look at any event. While others than the current one are listed,
events are gone through once, some of them in a transaction. A start begins anew: what is done
already is passed quickly.

SQLite overwrites what was in the clear where it stood, but may have moved it before. So a database
that is not large is rebuilt when it is opened or closed next; a larger one by backup and restore.
"""

from __future__ import annotations

from itertools import accumulate

import apsw
import structlog

from relay_server.errors import BodyKeyMissing, StoreBroken
from relay_server.store.bodies import CLEAR, UNKEPT, Damaged, crc, name_of
from relay_server.store.sql.database import Database as AnyDatabase
from relay_server.store.sql.database import Row
from relay_server.store.sql.rows import decode_request
from relay_server.store.sqlite.arrivals import digest_of
from relay_server.store.sqlite.database import Database

log = structlog.get_logger()

LOOK_AT = 500  # events that one transaction goes through at most
RESEAL_BYTES = 1_048_576  # of bodies that it stores anew, or one that is larger
REBUILD_BYTES = 67_108_864  # a larger database is not rebuilt: a start would take too long


def take_keys(database: Database) -> None:
    """See that every stored body can be opened, and note what new ones are stored under.

    Raises:
        BodyKeyMissing: A key was not given.
    """
    bodies = database.bodies
    listed = {fingerprint for (fingerprint,) in database.all("body_keys")}
    if missing := listed - bodies.known:
        given = [name_of(one) for one in sorted(bodies.known - {CLEAR})]
        raise BodyKeyMissing(", ".join(map(name_of, sorted(missing))), ", ".join(given) or "-")
    if bodies.current not in listed:
        with database.connection:
            database.run("list_body_key", fingerprint=bodies.current)


def others(database: AnyDatabase) -> list[int]:
    """Fingerprints under which bodies may be stored that are not the current one."""
    current = database.bodies.current
    return [fingerprint for (fingerprint,) in database.all("body_keys") if fingerprint != current]


def reseal(database: Database, after: int | None) -> int | None:
    """Store the next bodies under the current key.

    Args:
        database: The writer's, in a transaction.
        after: The position that the last look came to; None to begin.

    Returns:
        Where this one came to; None where no body is stored otherwise any more.
    """
    current = None if database.bodies.current == CLEAR else database.bodies.current
    start = database.value("before_all_events") if after is None else after
    rows = [] if start is None else database.all("next_bodies", after=start, limit=LOOK_AT)
    if not rows:
        if current is not None and database.all("empty_answers", limit=LOOK_AT):
            return start or 0
        database.run("drop_body_keys", current=database.bodies.current)
        return None
    otherwise = [row for row in rows if row[1] not in (current, UNKEPT)]
    sizes = accumulate((row[2] for row in otherwise), initial=0)
    some = [row for row, size in zip(otherwise, sizes, strict=False) if size < RESEAL_BYTES]
    for at, *_ in some:
        _store_anew(database, database.all("whole_body", position=at)[0])
    return int(rows[-1][0] if len(some) == len(otherwise) else some[-1][0])


def rebuild(database: Database) -> None:
    """Leave nothing of bodies that are stored under no key any more."""
    if not database.value("has_gone_body_keys"):
        return
    size = database.connection.pragma("page_count") * database.connection.pragma("page_size")
    if size > REBUILD_BYTES:
        log.warning(
            "bodies that were stored otherwise may show in free pages of the database:"
            " a backup that is restored has none",
            bytes=size,
        )
        return
    try:
        database.connection.execute("VACUUM")
        with database.connection:
            database.run("forget_gone_body_keys")
    except apsw.Error as exc:
        reason = database.explain(exc)
        if isinstance(reason, StoreBroken):
            raise
        # A disk that is full, say: the server goes on without, and the next start tries again.
        log.warning("the database could not be rebuilt: it may show bodies", reason=str(reason))
        return
    log.info("the database was rebuilt: it shows nothing of bodies that were stored otherwise")


def _store_anew(database: Database, row: Row) -> None:
    at, id_, stored, sealed, request, checksum, digest = row
    bodies = database.bodies
    try:
        body = bodies.open(id_, stored, sealed)
    except Damaged:
        body = None
    if body is None or checksum not in (None, crc(request, crc(stored))):
        # What the disk changed stays as it is, and is told as damaged; its key is not needed.
        database.run("mark_damaged", position=at, sealed=bodies.current or None)
        return
    stored, sealed = bodies.seal(id_, body)
    database.run(
        "store_body",
        position=at,
        body=stored,
        sealed=sealed,
        checksum=crc(request, crc(stored)),
        digest=None if digest is None else digest_of(decode_request(request), bodies.digest(body)),
    )
