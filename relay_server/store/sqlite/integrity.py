"""Is the store ours alone, all there, and sound? Asked before anything is served."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import structlog

from relay_server.errors import StoreBroken, StoreLocked
from relay_server.files import beside, size_of, sync
from relay_server.store.sqlite.database import Database

log = structlog.get_logger()

MARKER = "relay.made"
PATIENCE_S = 1.0  # for another process to let go of the data dir: a command may hold it
INLINE_CHECK_BYTES = 67_108_864  # a larger database is checked after the start, in the background
MAX_PROBLEMS = 5  # of a damaged store that are named
_STEPS = 10_000  # of SQLite's, some milliseconds
_QUIET = 10  # how much a check gives way to others (`nice`)


class DirLock:
    """An advisory lock on a data dir; the kernel drops it however the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "relay.lock"
        self._fd = -1

    def acquire(self, patience_s: float = PATIENCE_S) -> None:
        """Take the lock.

        Raises:
            StoreLocked: Another process holds it, and did for so long.
        """
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() >= deadline:
                owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._fd)
                raise StoreLocked(f"{self._path.parent} is in use by process {owner}")
            time.sleep(0.05)
        with suppress(OSError):  # who holds it is nice to know; on a full disk nobody does
            os.ftruncate(self._fd, os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0))

    def release(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def no_server(data_dir: Path) -> Iterator[None]:
    """Have none run on a data dir meanwhile.

    Raises:
        StoreLocked: One runs.
    """
    lock = DirLock(data_dir)
    try:
        lock.acquire()
    except StoreLocked as exc:
        exc.hint = "Stop the server that runs on it; start it again afterwards."
        raise
    try:
        yield
    finally:
        lock.release()


def refuse_loss(path: Path) -> None:
    """Never begin anew where a store was before.

    Raises:
        StoreBroken: The database is gone, or empty.
    """
    if size_of(path):
        return
    what = "is empty" if path.exists() else "is gone"
    if size_of(beside(path, "-wal")):
        raise _lost(path, f"{path} {what}, but its log {path.name}-wal is there")
    if path.with_name(MARKER).exists():
        raise _lost(path, f"{path} {what}, but there was a store in this folder before")


def mark_made(path: Path) -> None:
    """Note that there is a store now."""
    marker = path.with_name(MARKER)
    if not marker.exists():
        marker.touch(mode=0o600)
        sync(path.parent)


def was_made(data_dir: Path) -> bool:
    """True if there was ever a store in a folder."""
    return (data_dir / MARKER).exists()


def problems(database: Database, *, whole: bool = False) -> list[str]:
    """List what is wrong with a database, the first few of it.

    Args:
        database: To be looked at.
        whole: Compare indexes with tables, too, which takes longer.
    """
    check = "integrity_check" if whole else "quick_check"
    rows = database.connection.execute(f"PRAGMA {check}({MAX_PROBLEMS})").fetchall()
    said = [str(text) for (text,) in rows if text != "ok"]
    return said or list(_inconsistencies(database))[:MAX_PROBLEMS]


def check(database: Database, path: Path) -> None:
    """Look at a database.

    Raises:
        StoreBroken: Something is wrong with it; the message names the first few problems.
        StoreUnavailable: It could not be looked at.
    """
    if found := database.ask(problems):
        raise StoreBroken(f"the database {path} is damaged: {'; '.join(found)}")


def check_quietly(database: Database, ended: Callable[[], bool]) -> None:
    """The same of a large database, in a thread of its own while the server works already.

    Args:
        database: To be looked at.
        ended: Asked again and again; once it is true, nobody waits for the end of this.

    Raises:
        StoreBroken: As of `check`.
    """
    database.connection.set_progress_handler(ended, _STEPS)
    with suppress(OSError, AttributeError):  # Linux alone has it for a thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _QUIET)
    path = Path(database.connection.filename)
    try:
        check(database, path)
    except StoreBroken:
        raise
    except Exception as exc:
        if not isinstance(exc.__cause__, apsw.InterruptError):  # which is the end of the server
            log.error("the database could not be checked", exc_info=exc)
    else:
        log.info("the database was checked", path=str(path))


class Identity:
    """The files that are written to: what goes into one that is gone, is gone with it."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._opened = [(str(path), _inode(str(path))) for path in paths]

    def check(self) -> None:
        """Look whether they are still there.

        Raises:
            StoreBroken: One was removed or replaced; the message names it.
        """
        for path, opened in self._opened:
            if _inode(path) != opened:
                raise StoreBroken(f"{path} was removed or replaced while it was in use")


def _inconsistencies(database: Database) -> Iterator[str]:
    for table, row, parent, _ in database.connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} belongs to nothing in {parent}"
    for channel, known, newest in database.all("events_beyond"):
        yield f"channel {channel} has event {newest}, but counts up to {known}"
    for channel, name, floor, known in database.all("floors_beyond"):
        yield f"subscription {name} of {channel} is at {floor} of {known} events"
    for (number,) in database.all("events_of_nobody"):
        yield f"there are events of channel number {number}, which does not exist"


def _inode(path: str) -> tuple[int, ...] | None:
    """A file's number, and its device's."""
    try:
        return os.stat(path)[1:3]  # noqa: PTH116  (after each commit: a Path costs more than the call)
    except OSError:
        return None


def _lost(path: Path, what: str) -> StoreBroken:
    error = StoreBroken(what)
    error.hint = (
        f"Put {path.name} back, or restore the last backup with relay-server restore."
        f" Remove {MARKER} and {path.name}-wal only to begin anew, without what was stored."
    )
    return error
