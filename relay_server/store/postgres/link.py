"""A connection to PostgreSQL. Only this module and `finding` know which library speaks to it.

What a `Link` promises is what the store's promise rests on:

- **Nothing is ever cancelled.** A CancelRequest, or a session that ends while its commit waits for
  the standby, makes that commit visible though no standby has it. So no call is interrupted. One
  that takes too long ends by its socket: `Watch` shuts that down, the server does not learn of it
  before it writes, and what became of the call is unknown.
- **Unknown is not done.** A call that ends so raises `LinkLost`. Whoever made it asks again under
  the same ids, by another link.
- **A commit that an operator let go** comes back as a success with a warning (01000, "canceling
  wait for synchronous replication"). Here it raises `LinkLost`, too.
- **The primary, and no other.** `finding` says how it is told from one that is back.

A link belongs to one thread at a time; only `Watch` and `abandon` come from others.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import ClientCursor, errors, sql
from psycopg.pq import TransactionStatus

from relay_protocol.errors import RelayError
from relay_server.errors import (
    StoreBroken,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from relay_server.store.postgres.finding import LinkLost, Place, find_primary, in_one_line
from relay_server.store.sql.database import Row

LOOK_S = 0.05  # how often deadlines are looked at
LOCK_TIMEOUT_MS = 800  # for a row that another replica has: less than a webhook waits
IDLE_TIMEOUT_S = 10  # of a transaction whose replica froze: then the server undoes it
SCHEMA = "relay"
SETTINGS = {
    "search_path": SCHEMA,
    "synchronous_commit": "on",
    "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
    "jit": "off",
}


class Locked(StoreUnavailable):
    """Somebody else held a lock for longer than it was waited for."""


class Unstorable(StoreUnavailable):
    """The database never takes what it was given, whoever asks."""


class Watch:
    """Ends calls that take too long, of all links; a thread of its own."""

    def __init__(self) -> None:
        self._links: set[Link] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay-watch", daemon=True)
        self._thread.start()

    def add(self, link: Link) -> None:
        """Look at a link's deadlines, until it is closed."""
        self._links.add(link)

    def remove(self, link: Link) -> None:
        """Look at it no more."""
        self._links.discard(link)

    def abandon_before(self, timeline: int) -> None:
        """End what is asked of primaries before this one; from any thread."""
        for link in tuple(self._links):
            if link.timeline < timeline:
                link.abandon()

    def abandon_waiting(self, for_s: float) -> None:
        """End what was asked so long ago, and is not answered; from any thread."""
        before = time.monotonic() - for_s
        for link in tuple(self._links):
            if link.asked_at < before:
                link.abandon()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            now = time.monotonic()
            for link in tuple(self._links):
                if link.deadline <= now:
                    link.abandon()


class Link:
    """One connection to a primary.

    Args:
        place: The database.
        name: What `pg_stat_activity` shows of it.
        limit_s: For a call to be answered.
        watch: Looks at that.
        replica: Whose claims are made by it.
        address: Where other servers reach that one.
        reading: Nothing is to be written.

    Attributes:
        limit_s: As given; for the calls that follow it may be another.
        asked_at: When the call that is under way was made; monotonic seconds.
        deadline: When it is to have been answered.
        timeline: Of its primary: each that is promoted has a higher one than whom it follows.

    Raises:
        StoreUnavailable: No primary can be reached.
        StoreBroken: What answers is not to be trusted with webhooks.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        limit_s: float,
        watch: Watch,
        *,
        replica: str = "",
        address: str = "",
        reading: bool = False,
    ) -> None:
        self.place = place
        self.asked_at = self.deadline = math.inf
        self.limit_s = limit_s
        self._watch = watch
        self._let_go = False  # somebody ended the wait for the standby
        settings = {
            **SETTINGS,
            "relay.replica": replica,
            "relay.address": address,
            "default_transaction_read_only": "on" if reading else "off",
        }
        self.timeline, self._connection = find_primary(place, name, settings)
        self._connection.add_notice_handler(self._notice)
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))
        watch.add(self)

    @property
    def host(self) -> str:
        """Where its primary is."""
        return f"{self._connection.info.host}:{self._connection.info.port}"

    @property
    def ended(self) -> bool:
        return self._connection.closed

    def rows(self, query: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Row]:
        """The rows of a query whose values are written into it here."""
        with self._call(), ClientCursor(self._connection) as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def called(self, query: str, values: Sequence[Any], within_s: float) -> list[Row]:
        """The rows of a query whose values, of known types, are sent beside it.

        It is to be answered within a time of its own.
        """
        with self._call(within_s):
            cursor = self._connection.execute(query, values, prepare=True)
            return cursor.fetchall()

    def script(self, text: str) -> None:
        """Execute statements that bring no rows."""
        with self._call():
            self._connection.execute(text)

    def notify(self, channel: str, payload: str) -> None:
        """Tell who listens; in a statement of its own, never in a transaction that writes.

        In one it would take a lock of the whole cluster until the standby has answered.
        """
        assert self._connection.info.transaction_status == TransactionStatus.IDLE
        self.rows("SELECT pg_notify(%s, %s)", (channel, payload))

    def listen(self, channel: str) -> None:
        """Hear what is told on a channel."""
        name = sql.Identifier(channel).as_string(self._connection)
        self.script(f"LISTEN {name}")

    def heard(self, within_s: float) -> Iterator[str]:
        """What was told, and what is told within a time."""
        with self._translated():
            for told in self._connection.notifies(timeout=within_s, stop_after=1):
                yield told.payload

    def begin(self) -> None:
        self.script("BEGIN")

    def commit(self) -> None:
        """End it: once this returns, its standby has it, where there is one."""
        self.script("COMMIT")

    def rollback(self) -> None:
        """Undo it; a link that is lost has undone it."""
        with suppress(LinkLost):
            self.script("ROLLBACK")

    def abandon(self) -> None:
        """Have the call that is under way end at once, from any thread; the server is not told."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._watch.remove(self)
        with suppress(psycopg.Error):
            self._connection.close()
        self._socket.close()

    @contextmanager
    def _call(self, within_s: float | None = None) -> Iterator[None]:
        self.asked_at = time.monotonic()
        self.deadline = self.asked_at + (self.limit_s if within_s is None else within_s)
        try:
            with self._translated():
                yield
        finally:
            self.asked_at = self.deadline = math.inf
        if self._let_go:
            self.close()
            raise LinkLost("the database gave up to wait for its standby")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            failure = translate(exc, self.place.name)
            if isinstance(failure, LinkLost):
                self.close()
            raise failure from exc

    def _notice(self, notice: errors.Diagnostic) -> None:
        self._let_go = self._let_go or notice.sqlstate == "01000"


def translate(error: psycopg.Error, place: str) -> RelayError:
    """Say in our words what an error means for whoever asked."""
    state, why = error.sqlstate or "", in_one_line(error)
    if isinstance(error, psycopg.OperationalError) and state in ("", "57P01", "57P02", "57P03"):
        return LinkLost(f"{place} does not answer: {why}")
    match state[:2], state:
        case ("08", _):
            return LinkLost(f"{place} does not answer: {why}")
        case (_, "53100"):
            return StoreFull(f"the disk of {place} is full")
        case (_, "55P03"):
            return Locked(f"{place} cannot do this now: {why}")
        case (_, "25006"):
            return StoreReadOnly(f"{place} is read-only: {why}")
        case ("22" | "23", _):
            return Unstorable(f"{place} does not take this: {why}")
        case ("XX" | "58", _):
            return StoreBroken(f"the database {place} failed: {why}")
        case _:
            return StoreUnavailable(f"{place} cannot do this now: {why}")
