"""Bring stored bodies under the key that new ones are stored under.

`body_keys` lists the fingerprints under which bodies may be stored, so that a key that is missing
is found at the start, without a look at any event. While others than the current one are listed,
events are gone through once, some of them in a transaction. A start begins anew: what is done
already is passed quickly.
"""

from __future__ import annotations

import asyncio
import json
from itertools import accumulate
from typing import Any

import structlog

from relay_protocol.values import RequestHead
from relay_server.errors import StoreFull, StoreReadOnly, StoreUnavailable
from relay_server.store.bodies import CLEAR, UNKEPT, BodyKeys, Damaged, crc, name_of
from relay_server.store.sql.database import Database, Row
from relay_server.store.sql.part import Part, asks, writes
from relay_server.store.sql.rows import decode_request

log = structlog.get_logger()

LOOK_AT = 500  # events that one transaction goes through at most
RESEAL_BYTES = 262_144  # of bodies that it stores anew, or one that is larger
RESEAL_REST = 4  # times what some bodies took to be stored anew, before the next ones
RESEAL_AGAIN_S = 30.0  # until it is tried again where the store could not be written


def take_keys(database: Database) -> None:
    """See that every stored body can be opened, and note what new ones are stored under.

    Raises:
        BodyKeyMissing: A key was not given.
    """
    bodies, listed = database.bodies, _listed(database)
    bodies.need(listed)
    if bodies.current not in listed:
        database.run("list_body_key", fingerprint=bodies.current)


class SqlResealing(Part):
    """Stores all bodies under the current key, while the store is open."""

    _resealed = False
    _resealing: asyncio.Task[None] | None = None

    def _stamp(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> Any:
        """By what a webhook that is stored now is found again: the column `digest`."""
        raise NotImplementedError

    def _waits_to_reseal(self, database: Database) -> bool:
        """Whether another server still stores bodies otherwise."""
        return False

    def _begin_resealing(self) -> None:
        """Have it done if there is something to do, once the store says so."""
        self._resealing = asyncio.get_running_loop().create_task(self._reseal())

    def _end_resealing(self) -> None:
        if self._resealing is not None:
            self._resealing.cancel()

    @asks
    def _key_to_reseal_by(self, database: Database) -> str:
        """The current key's name; empty where no body is stored otherwise."""
        current = database.bodies.current
        return name_of(current) if _listed(database) - {current} else ""

    @writes
    def _reseal_some(self, database: Database, after: int | None) -> int | None:
        """Store the next bodies under the current key, behind a position; None to begin.

        Returns:
            Where this one came to; None where no body is stored otherwise any more.
        """
        if self._waits_to_reseal(database):
            raise StoreUnavailable("another server still stores bodies otherwise")
        current = None if database.bodies.current == CLEAR else database.bodies.current
        start = database.value("before_all_events") if after is None else after
        rows = [] if start is None else database.all("next_bodies", after=start, limit=LOOK_AT)
        if not rows:
            if current is not None and database.all("empty_answers", limit=LOOK_AT):
                return start or 0
            database.run("drop_body_keys", current=database.bodies.current)
            database.wipe()
            return None
        otherwise = [row for row in rows if row[1] not in (current, UNKEPT)]
        sizes = accumulate((row[2] for row in otherwise), initial=0)
        some = [row[0] for row, size in zip(otherwise, sizes, strict=False) if size < RESEAL_BYTES]
        for row in database.all("stored_bodies", positions=json.dumps(some)) if some else ():
            self._store_anew(database, row)
        return int(rows[-1][0] if len(some) == len(otherwise) else some[-1])

    async def _reseal(self) -> None:
        """Store all bodies under the current key, giving way to webhooks."""
        loop, after, key = asyncio.get_running_loop(), None, ""
        while True:
            began = loop.time()
            try:
                if not key:
                    if not (key := await self._key_to_reseal_by()):
                        return
                    log.info("stored bodies are stored anew", key=key)
                if not self.space.taking:  # what room is left is for progress
                    raise StoreFull(self.space.reason)
                after = await self._reseal_some(after)
            except (StoreFull, StoreReadOnly, StoreUnavailable) as exc:
                log.debug("stored bodies are not stored anew now", reason=str(exc))
                await asyncio.sleep(RESEAL_AGAIN_S)
                continue
            except Exception as exc:  # the next start goes on
                log.error("bodies are not stored anew any more", key=key, exc_info=exc)
                return
            if after is None:
                break
            await asyncio.sleep(RESEAL_REST * (loop.time() - began))
        self._resealed = True
        log.info("all bodies are stored anew", key=key)

    def _store_anew(self, database: Database, row: Row) -> None:
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
        stamp = None if digest is None else self._stamp(bodies, decode_request(request), body)
        database.run(
            "store_body",
            position=at,
            body=stored,
            sealed=sealed,
            checksum=crc(request, crc(stored)),
            digest=stamp,
        )


def _listed(database: Database) -> set[int]:
    return {fingerprint for (fingerprint,) in database.all("body_keys")}
