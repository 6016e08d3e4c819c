"""Room on the disk: whether webhooks are taken, and what is kept for all that is not a webhook.

How it works. SQLite needs room for whatever it writes, also for deleting: first in its write-ahead
log (WAL), then, when a checkpoint folds the log into the database, in there. The database's file
never shrinks; what is deleted leaves pages inside, which are used again. A log that finds no room
in the database stays, and once it cannot grow either, nothing can be written that would make room.
So webhooks never get at the last of it:

    ├ database ┼ log ┼──────── free ────────┼── low water, 8 MiB ──┼─ reserve, 16 MiB ─┤   the disk
                                                          └ last 2 ┘
- **Taken.** The log's copy and webhooks, twice, are let into what is free above the low-water mark.
  Below it the database does not grow any more: webhooks find their place in pages inside it, and
  the log has what is above the last 2 MiB. It is measured again when as much was written as was
  found, and each `BATCH_BYTES` at least.
- **Refused.** Where that is too little, and after a transaction that found no room all the same
  (others fill the disk, a quota), webhooks are refused before they are queued. Progress, clean-up
  and commands have the room that they left; progress takes little (`pending` says how). The writer
  folds the log after each transaction. What finds no room even so gets the reserve's.
- **Again.** Each second a look: is there room for a whole batch, is the reserve there or can be
  made (or has the database as much room inside), and can a transaction be written that changes
  nothing? Then webhooks are taken again, by themselves.

The cap, RELAY_SERVER_MAX_STORE_BYTES, is SQLite's `max_page_count`, and counts as a disk of that
size; while webhooks are refused it is higher by the reserve's.

All of this happens in the writer's thread, between transactions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import structlog

from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.files import beside, size_of
from relay_server.store.sqlite.checkpointer import PAGE_SIZE, Checkpointer
from relay_server.store.sqlite.database import Database

log = structlog.get_logger()

RESERVE_NAME = "reserve"
RESERVE_BYTES = 16_777_216  # as much as the log grows to between two checkpoints
LOOK_S = 1.0  # between two looks for room, while webhooks are refused or the reserve is missing
LOW_WATER_BYTES = 8_388_608  # free on the disk: below it webhooks do not make the database grow
LAST_BYTES = 2_097_152  # of that, which their log leaves free, too: for progress and clean-up
BATCH_BYTES = 4_194_304  # of webhooks, each with `ROW_BYTES`: as many go into one transaction
ROW_BYTES = 8_192  # that a row takes beside its text: a page for it, and some of another
PLENTY_BYTES = 134_217_728  # free on the disk: the log's file may grow ahead of the log
_PIECE = 65_536  # bytes


class Room:
    """Knows whether webhooks are taken, and changes that.

    Args:
        path: The database.
        max_bytes: What it may grow to; 0 for no cap.
        tell: Called with the reason when webhooks are refused from now on, and with an empty one
            when they are taken again.

    Attributes:
        refusal: What webhooks are refused with, from any thread; None while they are taken.
        tight: Nothing is in reserve: the log must stay small, and somebody has to look for room.
    """

    def __init__(self, path: Path, max_bytes: int, tell: Callable[[str], None]) -> None:
        self.refusal: StoreUnavailable | None = None
        self._path = path
        self._max_bytes = max_bytes
        self._tell = tell
        self._reserve = Reserve(path.parent)
        self.tight = not self._reserve.held
        self._allowed = 0  # bytes of webhooks until it is measured again
        self._next_look = 0.0

    @property
    def taking(self) -> bool:
        """Whether webhooks are taken."""
        return self.refusal is None

    @property
    def plenty(self) -> bool:
        """Whether what is free need not be kept for what must be written; asks the disk."""
        return not self.tight and self._reserve.free() >= PLENTY_BYTES

    def begin(self, database: Database) -> None:
        """Set the cap, make the reserve, and refuse webhooks if there is no room."""
        self._set_cap(database, self._max_bytes)
        self._make_reserve()
        # Less than what it takes to begin again: a restart alone is not to refuse anything.
        if self._measure(database, self._log_file_bytes()) < BATCH_BYTES // 2:
            self.refuse(database)
        self.tight = self._is_tight()

    def refusal_for(
        self, database: Database, weight: int, log: Checkpointer
    ) -> StoreUnavailable | None:
        """What webhooks are refused with; None where they fit, and then they count as written.

        Args:
            database: The writer's.
            weight: Their bytes, with `ROW_BYTES` for each.
            log: Folded if that is what they need: nobody is to wait for that in vain.
        """
        if weight <= self._allowed:  # as nearly always; nothing is while webhooks are refused
            self._allowed -= weight
            return None
        if self.refusal is not None:
            return self.refusal
        fitting = self._measure(database, log.log_bytes)
        if fitting < weight <= self._measure_folded(database):
            log.fold(database)
            fitting = self._measure(database, log.log_bytes)
        if weight <= fitting:
            # However much there is now, others may fill the disk: look again soon.
            self._allowed = min(fitting, BATCH_BYTES) - weight
            return None
        if fitting < BATCH_BYTES:
            return self.refuse(database)
        return StoreFull("the disk has no room for a webhook of this size")

    def refuse(
        self, database: Database, refusal: StoreUnavailable | None = None
    ) -> StoreUnavailable:
        """Refuse webhooks from now on: the disk is full, or what else `refusal` says.

        Returns:
            What they are refused with, maybe since earlier.
        """
        if self.refusal is not None:
            return self.refusal
        self.refusal = refusal or StoreFull(self._why(database))
        self.tight = True
        self._allowed = 0
        self._next_look = time.monotonic() + LOOK_S
        self._set_cap(database, self._max_bytes + RESERVE_BYTES)
        log.error("webhooks are refused; deliveries go on", reason=str(self.refusal))
        self._tell(str(self.refusal))
        return self.refusal

    def give_up_reserve(self) -> bool:
        """Leave its place to progress and clean-up; False when it was given up already."""
        self.tight = True
        return self._reserve.release()

    def lean_rows(self) -> int | None:
        """Rows of progress that there is room for now; None while there is plenty.

        Each needs its place twice, and so does what the log holds already: a log that progress
        filled to the last byte could not be folded.
        """
        if self.refusal is None:
            return None
        return (self._reserve.free() - self._log_file_bytes()) // (2 * ROW_BYTES)

    def wait_s(self) -> float | None:
        """Seconds until the next look at the room; None while there is no need for one."""
        return max(0.0, self._next_look - time.monotonic()) if self.tight else None

    def look(self, database: Database) -> None:
        """See whether there is room again; the log should have been folded.

        Raises:
            StoreBroken: The disk or the database failed meanwhile.
        """
        if self.wait_s() != 0.0:
            return
        self._next_look = time.monotonic() + LOOK_S
        self._make_reserve()
        if not self.taking and self._is_enough(database) and self._can_write(database):
            self._take(database)
        self.tight = self._is_tight()

    def _is_tight(self) -> bool:
        return self.refusal is not None or not self._reserve.held

    def _take(self, database: Database) -> None:
        self._set_cap(database, self._max_bytes)
        log.warning("webhooks are taken again", path=str(self._path))
        self.refusal = None
        self._tell("")

    def _make_reserve(self) -> None:
        enough = RESERVE_BYTES + LOW_WATER_BYTES + BATCH_BYTES
        if not self._reserve.held and self._reserve.free() >= enough:
            self._reserve.make()

    def _is_enough(self, database: Database) -> bool:
        """A system may say that much is free, and give none: then there is no reserve either."""
        if not self._reserve.held and self._spare(database) < RESERVE_BYTES:
            return False
        return self._measure(database, self._log_file_bytes()) >= BATCH_BYTES

    def _measure(self, database: Database, log_bytes: int) -> int:
        """Bytes of webhooks that fit, in the log and then in the database."""
        spare, free = self._spare(database), self._reserve.free() - log_bytes
        low = LOW_WATER_BYTES if self._reserve.held else LOW_WATER_BYTES + RESERVE_BYTES
        grown = (
            free - low + spare
        ) // 2  # it takes them from the disk twice, but for what is spare
        fits = min(free - LAST_BYTES, max(spare, grown))
        return min(fits, self._below_cap(database) + spare) if self._max_bytes else fits

    def _measure_folded(self, database: Database) -> int:
        """The same, once the log is in the database and its file cut, at best."""
        return self._measure(database, -self._log_file_bytes())

    def _spare(self, database: Database) -> int:
        """Bytes inside the database that are free: deleted events leave them."""
        return int(database.connection.pragma("freelist_count")) * PAGE_SIZE

    def _below_cap(self, database: Database) -> int:
        """Negative while progress has grown the database beyond it."""
        return self._max_bytes - int(database.connection.pragma("page_count")) * PAGE_SIZE

    def _log_file_bytes(self) -> int:
        return size_of(beside(self._path, "-wal"))

    def _why(self, database: Database) -> str:
        capped = self._max_bytes and self._below_cap(database) + self._spare(database) < BATCH_BYTES
        if capped:
            return f"{self._path} is as large as RELAY_SERVER_MAX_STORE_BYTES allows"
        return f"the disk of {self._path.parent} is full"

    def _set_cap(self, database: Database, max_bytes: int) -> None:
        """SQLite takes no cap below what there is."""
        if self._max_bytes:
            database.connection.pragma("max_page_count", max_bytes // PAGE_SIZE)

    def _can_write(self, database: Database) -> bool:
        try:
            database.begin()
            version = database.connection.pragma("user_version")
            database.connection.pragma("user_version", version)
            database.commit()
        except apsw.Error as exc:
            failure = database.explain(exc)
            database.rollback()
            if isinstance(failure, StoreBroken):
                raise failure from exc
            return False
        return True


class Reserve:
    """A file in the data dir that holds nothing but its place.

    Attributes:
        held: The place is kept.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / RESERVE_NAME
        self.held = self._is_whole()

    def make(self) -> bool:
        """Take the place; False when the disk has none, or cannot be written to."""
        try:
            self._allocate()
        except OSError:
            self.release()
            return False
        self.held = True
        return True

    def release(self) -> bool:
        """Give the place back; False when there was none."""
        self.held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def free(self) -> int:
        """Bytes that this user may still write to the disk, as far as the disk says."""
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize

    def _is_whole(self) -> bool:
        """True if it is left from before; a copied data dir may hold one of holes."""
        try:
            return self._path.stat().st_blocks * 512 >= RESERVE_BYTES
        except OSError:
            return False

    def _allocate(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
                return
            for start in range(0, RESERVE_BYTES, _PIECE):
                os.pwrite(fd, bytes(_PIECE), start)
        finally:
            os.close(fd)
