"""Putting a backup in the place of the store, so that a crash leaves either the one or the other.

The copy is made and checked beside the store. Renaming it to its last name but one is the decision:
from then on `finish` carries it out, here or at the next start, as often as it takes.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import (
    BackupUnusable,
    InvalidValue,
    StoreFull,
    StoreTooNew,
)
from relay_server.files import beside, size_of, sync
from relay_server.store.sqlite import integrity
from relay_server.store.sqlite.database import APPLICATION_ID, Database
from relay_server.store.sqlite.sql import migrations

COPYING = ".restoring"
DECIDED = ".restore-"
KEPT = ".before-restore-"
_PIECE = 1_048_576  # bytes
_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Restored:
    """The store's contents after a restore.

    Attributes:
        kept: Where the store is that was there before, if there was one.
        newest_at: When its last event was received; Unix milliseconds.
    """

    kept: Path | None
    channels: int
    events: int
    newest_at: int | None


def restore(path: Path, file: Path, now_ms: int) -> Restored:
    """Replace a store by a backup, as `opening.restore_store` says.

    Args:
        path: The database; its folder is there.
        file: The backup.
        now_ms: Names what is kept.
    """
    with integrity.no_server(path.parent):
        try:
            finish(path)
            _look_at_head(path, file)
            counts = _bring(path, file)
            _fold_log(path)
            decided = beside(path, DECIDED + _stamp(now_ms))
            integrity.mark_made(path)
            _rename(beside(path, COPYING), decided)
            return Restored(finish(path), *counts)
        except OSError as exc:
            raise InvalidValue(f"{exc.filename or path.parent}: {exc.strerror}") from exc


def finish(path: Path) -> Path | None:
    """Carry out what was decided and not finished; whoever calls this holds the lock.

    Returns:
        Where the former store is kept, if there was one.
    """
    beside(path, COPYING).unlink(missing_ok=True)
    kept = None
    for decided in sorted(path.parent.glob(f"{path.name}{DECIDED}*")):
        stamp = decided.name.removeprefix(path.name + DECIDED)
        kept = beside(path, KEPT + stamp)
        # Its log goes with it: beside another database it would be taken for that one's.
        for suffix in ("", "-wal"):
            if beside(path, suffix).exists():
                _rename(beside(path, suffix), beside(kept, suffix))
        beside(path, "-shm").unlink(missing_ok=True)
        _rename(decided, path)
    return kept if kept is not None and kept.exists() else None


def _look_at_head(path: Path, file: Path) -> None:
    """Refuse what is none of ours before it is copied."""
    if not file.is_file():
        raise BackupUnusable(f"{file} is not a file")
    if path.exists() and file.samefile(path):
        raise BackupUnusable(f"{file} is the store itself")
    if size_of(beside(file, "-wal")):
        raise BackupUnusable(f"{file} is not whole: {file.name}-wal beside it is part of it")
    with file.open("rb") as opened:
        head = opened.read(100)
    version, application = (int.from_bytes(head[at : at + 4], "big") for at in (60, 68))
    if not head.startswith(_MAGIC) or application != APPLICATION_ID:
        raise BackupUnusable(f"{file} is no store of Relay's")
    if version > (known := len(migrations())):
        raise StoreTooNew(f"{file} has version {version}, this program knows up to {known}")


def _bring(path: Path, file: Path) -> tuple[int, int, int | None]:
    """Copy the file beside the store, and check the copy: that is what will be used."""
    copy = beside(path, COPYING)
    try:
        _copy(file, copy)
        return _check(copy, file)
    except BaseException as exc:
        copy.unlink(missing_ok=True)
        if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"{path.parent} has no room for a copy of {file}") from exc
        raise


def _copy(file: Path, copy: Path) -> None:
    fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as target, file.open("rb") as source:
        shutil.copyfileobj(source, target, _PIECE)
    sync(copy)


def _check(copy: Path, file: Path) -> tuple[int, int, int | None]:
    database = Database(copy, immutable=True)
    try:
        found = database.ask(lambda db: integrity.problems(db, whole=True))
        counts = database.ask(lambda db: db.one("count_all"))
    except RelayError as exc:
        raise BackupUnusable(f"{file} is damaged: {exc}") from exc
    finally:
        database.close()
    if found:
        raise BackupUnusable(f"{file} is damaged: {'; '.join(found)}")
    channels, events, newest_at = counts or (0, 0, None)
    return channels, events, newest_at


def _fold_log(path: Path) -> None:
    """Make the store one file. One that is damaged is kept as it is, with its log."""
    if not size_of(path):
        return
    with suppress(apsw.Error, RelayError), closing(Database(path)) as database:
        database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    sync(target.parent)


def _stamp(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
