"""Room for the store: measured, kept in reserve, given up when it is needed, and made again.

All of this happens in the writer's thread, between transactions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import structlog

from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.files import beside, size_of
from relay_server.store.sqlite.checkpointer import PAGE_SIZE
from relay_server.store.sqlite.database import BUSY_TIMEOUT_MS, Database
from relay_server.store.sqlite.pending import Fits
from relay_server.store.sqlite.reserve import Reserve
from relay_server.store.sqlite.space import (
    LOG_BYTES,
    MARGIN_BYTES,
    RESERVE_BYTES,
    Room,
    Step,
    can_fold,
    next_step,
)

log = structlog.get_logger()

LOOK_S = 1.0
ROW_BYTES = 8_192  # a row of progress with a long text takes a page, and some of another

LOG_BUSY_MS = 100  # a question that is being answered is soon done; a backup is not


class Capacity:
    """Knows whether webhooks are taken, and changes that.

    Args:
        path: The database.
        max_bytes: What it may grow to; 0 for no cap.
        tell: Called with the reason when webhooks are refused from now on, and with an empty one
            when they are taken again.

    Attributes:
        refusal: What webhooks are refused with, from any thread; None while they are taken.
    """

    def __init__(self, path: Path, max_bytes: int, tell: Callable[[str], None]) -> None:
        self.refusal: StoreUnavailable | None = None
        self._path = path
        self._max_bytes = max_bytes
        self._tell = tell
        self._reserve = Reserve(path.parent)
        self._needed = MARGIN_BYTES
        self._raised = False
        self._read_only = False
        self._next_look = 0.0

    @property
    def taking(self) -> bool:
        """Whether webhooks are taken."""
        return self.refusal is None

    @property
    def tight(self) -> bool:
        """Nothing is in reserve: the log must stay small, and somebody has to look for room."""
        return not (self.taking and self._reserve.held)

    def begin(self, database: Database) -> None:
        """Set the cap and make the reserve, if there is room for it."""
        self._set_cap(database, 0)
        self._step(database)

    def refuse(self, database: Database, weight: int) -> None:
        """Refuse webhooks, one of so many bytes among them, after a transaction did not fit."""
        self._needed = MARGIN_BYTES + 2 * weight
        self._refuse(StoreFull(self._why(self._measure(database))))

    def relieve(self, database: Database, *, first: bool) -> bool:
        """Give up what was kept, so that progress and clean-up can still be written.

        Args:
            database: The writer's.
            first: Webhooks were taken until now, so the log may hold much.

        Returns:
            Whether something was given up, so that what is small may fit now.

        Raises:
            StoreBroken: The disk or the database failed.
        """
        if self._measure(database).capped(self._needed) and not self._raised:
            self._set_cap(database, RESERVE_BYTES)
            self._raised = True
            return True
        given = self._reserve.release()
        shrunk = self._shrink_log(database)
        return given or (first and shrunk)

    def forbid(self, refusal: StoreUnavailable) -> None:
        """Refuse webhooks until the database can be written to again."""
        self._read_only = True
        self._refuse(refusal)

    def fits(self) -> Fits | None:
        """What progress there is room for, twice: in the log, and in the database afterwards.

        What the log has taken already must find its place there, too: otherwise the log stays, and
        nothing fits into it any more. Attempts leave room for the clean-up.
        """
        if self.taking:
            return None
        room = max(0, self._reserve.free() - size_of(beside(self._path, "-wal")))
        return Fits(room // (2 * ROW_BYTES), max(0, room - LOG_BYTES) // (2 * ROW_BYTES))

    def can_fold(self, database: Database, log_bytes: int, weights: Sequence[int]) -> bool:
        """Whether the log can be copied into the database also with these webhooks in it.

        Args:
            database: The writer's.
            log_bytes: What the log holds, at most.
            weights: Bytes of each webhook.
        """
        weight, reserved = sum(weights) + ROW_BYTES * len(weights), self._reserve.held
        if reserved and log_bytes + 2 * weight + MARGIN_BYTES // 2 <= RESERVE_BYTES:
            return True  # whatever is free, and without asking the system
        size = int(database.connection.pragma("page_count")) * PAGE_SIZE
        log_growth = log_bytes + weight - size_of(beside(self._path, "-wal"))
        return can_fold(
            self._measure(database),
            max(0, size - size_of(self._path)),
            max(0, log_growth),
            weight,
            reserved=reserved,
        )

    def wait_s(self) -> float | None:
        """Seconds until the next look at the room; None while there is no need for one."""
        return max(0.0, self._next_look - time.monotonic()) if self.tight else None

    def look(self, database: Database) -> None:
        """See whether there is room again, or none any more.

        Raises:
            StoreBroken: The disk or the database failed meanwhile.
        """
        if not self.taking:
            self._shrink_log(database)
        if self.wait_s() != 0.0:
            return
        self._next_look = time.monotonic() + LOOK_S
        if self._read_only and not self._writable(database):
            return
        self._read_only = False
        self._step(database)

    def _step(self, database: Database) -> None:
        room = self._measure(database)
        match next_step(room, MARGIN_BYTES // 2 if self.taking else self._needed):
            case Step.RESERVE:
                if self._reserve.make():
                    self._take(database)
            case Step.TAKE:
                self._take(database)
            case Step.WAIT:
                self._refuse(StoreFull(self._why(room)))

    def _take(self, database: Database) -> None:
        if self._raised:
            self._set_cap(database, 0)
            self._raised = False
        if not self.taking:
            log.warning("webhooks are taken again", path=str(self._path))
            self.refusal = None
            self._tell("")

    def _refuse(self, refusal: StoreUnavailable) -> None:
        if not self.taking:
            return
        self.refusal = refusal
        self._next_look = time.monotonic() + LOOK_S
        log.error("webhooks are refused; deliveries go on", reason=str(refusal))
        self._tell(str(refusal))

    def _why(self, room: Room) -> str:
        if room.capped(self._needed):
            return f"{self._path} is as large as RELAY_SERVER_MAX_STORE_BYTES allows"
        return f"the disk of {self._path.parent} is full"

    def _measure(self, database: Database) -> Room:
        page = int(database.connection.pragma("page_size"))
        spare = int(database.connection.pragma("freelist_count")) * page
        size = int(database.connection.pragma("page_count")) * page
        below_cap = self._max_bytes - size if self._max_bytes else None
        held = RESERVE_BYTES if self._reserve.held else 0  # it is room, too, where it is kept
        return Room(self._reserve.free() + held, spare, below_cap)

    def _set_cap(self, database: Database, more: int) -> None:
        """SQLite takes no cap below what there is."""
        if self._max_bytes:
            page = int(database.connection.pragma("page_size"))
            database.connection.pragma("max_page_count", (self._max_bytes + more) // page)

    def _shrink_log(self, database: Database) -> bool:
        """Copy the log into the database and give its space back; False when that cannot be."""
        database.connection.set_busy_timeout(LOG_BUSY_MS)
        try:
            database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as exc:
            _raise_if_broken(database, exc)
            return False
        else:
            return True
        finally:
            database.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def _writable(self, database: Database) -> bool:
        try:
            database.begin()
            version = database.connection.pragma("user_version")
            database.connection.pragma("user_version", version)
            database.commit()
        except apsw.Error as exc:
            _raise_if_broken(database, exc)
            database.rollback()
            return False
        return True


def _raise_if_broken(database: Database, error: apsw.Error) -> None:
    failure = database.explain(error)
    if isinstance(failure, StoreBroken):
        raise failure from error
