"""Finished deliveries that outlive the client: in memory, and in a file behind it."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from relay_client.journal_file import (
    Entry,
    JournalFile,
    Subscription,
    Unusable,
    make_file,
    set_aside,
)
from relay_protocol.finished import REMEMBERED_RESULTS, FinishedInMemory
from relay_protocol.messages import Granted
from relay_protocol.values import Delivery, Response

MAX_BATCH = 1_024  # additions in one transaction
MAX_WAITING = 4_096  # additions that wait to be written
PAUSE_S = 0.05  # between transactions: under load they are few and large
WRITE_BUSY_S = 5.0  # how long the thread waits for another client's transaction
READ_BUSY_S = 0.2  # the event loop waits for it; readers of a WAL hardly ever have to
CLOSE_S = 5.0
UNUSED_DAYS = 90  # far more than any retry waits

_ON_MEMORY = "what was delivered is remembered in memory alone, as long as this client runs"

Warn = Callable[[str], None]


class Journal:
    """A `Finished` that a client started later, or beside this one, knows again.

    Opening and closing it block for some disk accesses; no failure of the file stops the client.

    Args:
        folder: Where the file is kept.
        relay: Its URL: deliveries of others have nothing to do with this one's.
        warn: Told once when the file cannot be used; must take calls from any thread.
        wall: The wall clock, in Unix seconds.
    """

    def __init__(
        self, folder: Path, relay: str, warn: Warn, *, wall: Callable[[], float] = time.time
    ) -> None:
        self._relay = relay
        self._warn = _Once(warn)
        self._wall = wall
        self._memory = FinishedInMemory()
        self._subscriptions: list[Subscription] = []
        self._names: dict[str, str] = {}  # of subscriptions, by channel
        self._file: JournalFile | None = None
        self._writer: _Writer | None = None
        try:
            path = self._prepare(folder, warn)
            self._file = JournalFile(path, WRITE_BUSY_S)
            self._file.hurry(READ_BUSY_S)
            self._writer = _Writer(JournalFile(path, WRITE_BUSY_S), relay, self._warn, wall)
        except (Unusable, OSError, apsw.Error) as exc:
            self._warn(f"the journal in {folder} cannot be used ({_said(exc)}): {_ON_MEMORY}")

    def open(self, granted: Sequence[Granted]) -> None:
        """Load what was added to these subscriptions, by whatever client."""
        self._names = {one.channel: one.name for one in granted}
        subscriptions = sorted(self._names.items())
        if subscriptions == self._subscriptions:
            return
        self._subscriptions = subscriptions
        if self._file is not None:
            try:
                self._memory.load(self._file.newest(self._relay, subscriptions, REMEMBERED_RESULTS))
            except apsw.Error as exc:
                self._warn(_unreadable(exc))

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        known = self._memory.find(delivery_id, event_id, attempt)
        if known is not None or attempt == 1 or self._file is None:
            return known
        try:
            return self._file.find(self._relay, self._subscriptions, delivery_id, event_id)
        except apsw.Error as exc:
            self._warn(_unreadable(exc))
            return None

    def add(self, delivery: Delivery, response: Response) -> None:
        self._memory.add(delivery, response)
        if self._writer is None:
            return
        entry = Entry(
            delivery.channel,
            self._names[delivery.channel],
            delivery.id,
            delivery.event.id,
            response.status,
            response.elapsed_ms,
            round(self._wall() * 1000),
        )
        self._writer.add(entry)

    def close(self) -> None:
        """Write what waits to be written."""
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.close()

    def _prepare(self, folder: Path, warn: Warn) -> Path:
        path = make_file(folder)
        identity = path.stat().st_ino
        try:
            _check(path)
        except (apsw.CorruptError, apsw.NotADBError) as exc:
            if path.stat().st_ino != identity:
                return path  # another client was quicker: this one is new
            aside = set_aside(path)
            warn(f"the journal was damaged ({exc}) and begins anew; the old one is {aside}")
            _check(make_file(folder))
        return path


class _Writer:
    """Adds to the file in a thread of its own; all that waits goes into one transaction."""

    def __init__(
        self, file: JournalFile, relay: str, warn: Warn, wall: Callable[[], float]
    ) -> None:
        self._file = file
        self._relay = relay
        self._warn = warn
        self._unused_before = round((wall() - UNUSED_DAYS * 86_400) * 1000)
        self._waiting: deque[Entry] = deque()  # one end is the event loop's, the other the thread's
        self._wake = threading.Event()
        self._told = False  # to wake; it costs less to look here than to tell it again
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay-journal", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Have an entry written; one that finds too many before it is not."""
        if len(self._waiting) >= MAX_WAITING:
            self._warn(f"the journal's disk is too slow: {_ON_MEMORY}")
            return
        self._waiting.append(entry)
        if not self._told:
            self._told = True
            self._wake.set()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._warn(f"the journal could not be written within {CLOSE_S:.0f} s of the stop")

    def _run(self) -> None:
        self._attempt(self._delete_unused)
        while batch := self._next_batch():
            self._attempt(functools.partial(self._file.add, self._relay, batch))
            self._closing.wait(PAUSE_S)
        self._file.close()

    def _next_batch(self) -> list[Entry]:
        """What waits, as soon as something does; nothing at the end."""
        while not (self._waiting or self._closing.is_set()):
            self._wake.wait()
            self._wake.clear()
            self._told = False  # what is added from here on wakes it again, or is seen above
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]

    def _delete_unused(self) -> None:
        while not self._closing.is_set() and self._file.delete_unused(self._unused_before):
            pass

    def _attempt(self, work: Callable[[], object]) -> None:
        """A full disk may have room again for the next batch."""
        try:
            work()
        except apsw.Error as exc:
            self._warn(f"the journal cannot be written ({exc}): {_ON_MEMORY}")


class _Once:
    """Tells the first of many troubles."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._told = False

    def __call__(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._warn(text)


def _check(path: Path) -> None:
    file = JournalFile(path, WRITE_BUSY_S)
    try:
        file.prepare()
    finally:
        file.close()


def _unreadable(exc: apsw.Error) -> str:
    return f"the journal cannot be read ({exc}): {_ON_MEMORY}"


def _said(exc: Exception) -> str:
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
