"""What a server tells others of itself and of its spool, and in which order spools are drained.

    replicas:  name | version | since | seen_at | spooled | stuck | spool_oldest_at

Each server writes its row every few seconds, and before each call that drains. While several have
something spooled, each brings only what came no later than the oldest that any of the others has,
and `ASIDE_MS` more. So the webhooks of a conversation that came to both during an outage are
stored in the order in which they came, to a quarter of a second and as far as their clocks agree.

Who was there before the outage gets `GATHER_S` to say what it has. Nobody waits for others that
bring nothing for `PATIENCE_S`, nor for any for longer than `LONGEST_S` without bringing anything
itself: then the others do not count until the spool is empty.
"""

from __future__ import annotations

import time
from importlib.metadata import version

from relay_server.store.postgres.database import Database
from relay_server.store.postgres.link import Link
from relay_server.store.postgres.spool import Spool

ASIDE_MS = 250  # so much later may go what another server's oldest is waited for
GATHER_S = 1.0  # for others to be heard, once the database is back
PATIENCE_S = 5.0  # for others to bring some of what is older
LONGEST_S = 60.0  # for them to bring all of it
ALIVE_S = 15.0  # for which a server is believed to be there
BELIEVED_S = 5.0  # for which others' oldest counts: more than `BEAT_S` of `neighbours`
VERSION = version("relay-tunnel")


def tell_of(database: Database, spool: Spool) -> bool:
    """Write that this server is there, and what it has spooled; False where it has no place."""
    place = database.value(
        "beat",
        version=VERSION,
        spooled=spool.waiting,
        stuck=spool.refused,
        oldest_at=spool.oldest_at(),
    )
    return place is not None


class Turns:
    """Whose turn it is to bring what is spooled, from an outage until the spool is empty."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._away_since = self._back_at = self._brought_at = self._moved_at = time.monotonic()
        self._others_at: int | None = None  # their oldest was received, as it was found last
        self._alone = self._told = False

    def back(self) -> None:
        """The database is back."""
        self._back_at = self._brought_at = self._moved_at = time.monotonic()

    def up_to(self, link: Link) -> int | None:
        """What was received until when may go now, in Unix milliseconds; None for all.

        Raises:
            StoreUnavailable: The database is away again.
        """
        now = time.monotonic()
        limit = None if self._alone else self._asked(Database(link), now)
        self._alone = self._alone or self._is_tired(now)
        return None if self._alone else limit

    def brought(self) -> None:
        """Some were stored."""
        self._brought_at = time.monotonic()

    def over(self, link: Link) -> None:
        """Nothing waits any more: others need not wait for it."""
        if self._told:
            tell_of(Database(link), self._spool)

    def _is_tired(self, now: float) -> bool:
        """Whether others were waited for long enough."""
        moved_at = max(self._brought_at, self._moved_at)
        return now > moved_at + PATIENCE_S or now > self._brought_at + LONGEST_S

    def _asked(self, database: Database, now: float) -> int | None:
        [(others, silent, oldest_at)] = database.all(
            "turn",
            away_s=now - self._away_since,
            back_s=now - self._back_at,
            believed_s=BELIEVED_S,
            alive_s=ALIVE_S,
        )
        if not others:
            return None
        if oldest_at != self._others_at:
            self._others_at, self._moved_at = oldest_at, now
        tell_of(database, self._spool)
        self._told = True
        if silent and now < self._back_at + GATHER_S:
            return 0
        return None if oldest_at is None else int(oldest_at) + ASIDE_MS
