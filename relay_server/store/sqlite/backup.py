"""A copy of the SQLite store as of one moment, while it is written to."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import apsw

from relay_protocol.errors import RelayError
from relay_server.errors import InvalidValue
from relay_server.files import sync
from relay_server.store.bodies import CLEAR, name_of
from relay_server.store.sqlite.database import READING, Database, translate
from relay_server.store.sqlite.sql import queries


def back_up(path: Path, file: Path) -> list[str]:
    """Copy the database as of one moment, while others write to it.

    Returns:
        Names of the keys that open its bodies.

    Raises:
        InvalidValue: The file exists, or cannot be written.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as exc:
        raise InvalidValue(f"{file} exists already; a backup overwrites nothing") from exc
    except OSError as exc:
        raise InvalidValue(f"{file} cannot be written: {exc.strerror}") from exc
    try:
        keys = _copy(path, file)
        sync(file)
        sync(file.parent)
    except RelayError:
        file.unlink(missing_ok=True)
        raise
    except (apsw.Error, OSError) as exc:
        file.unlink(missing_ok=True)
        raise _backup_failed(path, file, exc) from exc
    return list(map(name_of, keys))


def _copy(path: Path, file: Path) -> list[int]:
    database = Database(path)
    try:
        database.connection.execute("VACUUM INTO ?", (str(file),))
    finally:
        database.close()
    with closing(apsw.Connection(str(file))) as copy:  # which has no free pages that show bodies
        copy.execute(queries()["forget_gone_body_keys"])
        return [key for (key,) in copy.execute(queries()["body_keys"]) if key != CLEAR]


def _backup_failed(path: Path, file: Path, error: apsw.Error | OSError) -> RelayError:
    """Only what is read is the store's matter; the disk that is written to may be another."""
    if isinstance(error, apsw.Error) and _is_of_reading(error):
        return translate(error, str(path))
    return InvalidValue(f"{file} could not be written: {error}")


def _is_of_reading(error: apsw.Error) -> bool:
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return True
    return getattr(error, "extendedresult", 0) in READING
