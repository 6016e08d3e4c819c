"""The one door to a store: only here is it known which backends there are.

A backend is a folder beside this module. What it takes to add one is a case in each function below;
nobody else imports it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from relay_server.errors import InvalidValue, StoreBroken
from relay_server.files import beside
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.copying import Side
from relay_server.store.interface import Store
from relay_server.store.rules import POSTGRES, SQLITE
from relay_server.store.sqlite import integrity
from relay_server.store.sqlite.rebuilding import rebuild
from relay_server.store.sqlite.restore import COPYING, KEPT, Restored, restore
from relay_server.store.sqlite.side import SqliteSide
from relay_server.store.sqlite.store import FILE_NAME, open_sqlite


async def open_store(
    url: str,
    data_dir: Path,
    on_broken: Callable[[StoreBroken], None] = lambda _: None,
    max_bytes: int = 0,
    bodies: BodyKeys = IN_THE_CLEAR,
    password: str | None = None,
    allow_async: bool = False,
    spool_bytes: int = 0,
    address: str = "",
) -> Store:
    """Open the store that a URL names, made if need be, and bring it to this version's shape.

    Args:
        url: `sqlite` is a file in the data dir, `postgresql://user@host/database` what it says.
        data_dir: The server's folder, which is there.
        on_broken: Called once, when the disk or the database failed: nothing more can be promised.
        max_bytes: What the store may grow to; 0 for no cap.
        bodies: Seals what is stored of them, and opens it.
        password: The database's, where it asks for one.
        allow_async: Its standby need not have what is answered 2xx.
        spool_bytes: What webhooks may take on this machine while the database is away.
        address: Where other servers of a database reach this one.

    Raises:
        BodyKeyMissing: Not every stored body can be opened.
        InvalidValue: No store has such a URL, or its library is not installed.
        StoreLocked: Another process has it open.
        StoreTooNew: A later version wrote it.
        StoreBroken: It is damaged, or gone, or no store of ours.
        StoreUnavailable: It cannot be written to, or reached.
    """
    if _is_sqlite(url):
        return await open_sqlite(data_dir, on_broken, max_bytes, bodies)
    _need_library()
    from relay_server.store.postgres.finding import read_place
    from relay_server.store.postgres.store import open_postgres
    from relay_server.store.postgres.trust import check

    trust, place = functools.partial(check, allow_async=allow_async), read_place(url, password)
    its_own = spool_bytes, trust, bodies, max_bytes, address
    return await open_postgres(place, on_broken, data_dir, *its_own)


def store_exists(url: str, data_dir: Path, password: str | None = None) -> bool:
    """True where a store is, or once was: then none is to be begun anew."""
    if _is_sqlite(url):
        return (data_dir / FILE_NAME).exists() or integrity.was_made(data_dir)
    _need_library()
    from relay_server.store.postgres.finding import read_place
    from relay_server.store.postgres.known import FILE_NAME as REMEMBERED
    from relay_server.store.postgres.store import is_made

    return (data_dir / REMEMBERED).exists() or is_made(read_place(url, password))


def restore_store(url: str, data_dir: Path, backup: Path, now_ms: int) -> Restored:
    """Put a backup in the place of the store, which is kept beside it.

    Raises:
        StoreLocked: A server runs on it.
        BackupUnusable: The file is no sound store.
        StoreTooNew: A later version wrote it.
        StoreFull: There is no room for a copy.
        InvalidValue: A file cannot be read or written, or the store is in no file.
    """
    if not _is_sqlite(url):
        raise InvalidValue("the store is in PostgreSQL, which restores it by itself: pg_restore")
    return restore(data_dir / FILE_NAME, backup, now_ms)


def rebuild_store(url: str, data_dir: Path) -> tuple[int, int]:
    """Write the store's file anew, so that it shows nothing of what is not stored in it any more.

    Returns:
        Its bytes before and after.

    Raises:
        StoreLocked: A server runs on it.
        StoreFull: There is no room for a second one.
        StoreBroken: It failed.
        StoreUnavailable: It cannot be done now; the store is as it was.
        InvalidValue: It is not there, or in no file.
    """
    if not _is_sqlite(url):
        raise InvalidValue("the store is in PostgreSQL, which does so by VACUUM FULL relay.events")
    if not (path := data_dir / FILE_NAME).exists():
        raise InvalidValue(f"there is no store in {data_dir}")
    return rebuild(path)


def kept_stores(data_dir: Path) -> list[Path]:
    """Former stores that restores left there."""
    return sorted(data_dir.glob(f"{FILE_NAME}{KEPT}*"))


def store_files(data_dir: Path) -> tuple[Path, Path]:
    """The store's file, and the one that takes its place once a restore or rebuild has made it."""
    path = data_dir / FILE_NAME
    return path, beside(path, COPYING)


@contextmanager
def open_side(url: str, data_dir: Path, password: str | None, *, target: bool) -> Iterator[Side]:
    """One side of a copy, while no server has it open.

    Raises:
        RelayError: It is in use, is not there, or is there and should not be.
    """
    if _is_sqlite(url):
        with closing(SqliteSide(data_dir, target=target)) as file:
            yield file
        return
    _need_library()
    from relay_server.store.postgres.finding import read_place
    from relay_server.store.postgres.side import PostgresSide
    from relay_server.store.postgres.store import link_alone

    with (
        link_alone(read_place(url, password)) as link,
        closing(PostgresSide(link, data_dir, target=target)) as database,
    ):
        yield database


def _is_sqlite(url: str) -> bool:
    scheme = url.partition(":")[0]
    if scheme not in (SQLITE, POSTGRES) or (scheme == SQLITE) != (url == SQLITE):
        raise InvalidValue(f"no store has the URL {scheme!r}; there are {SQLITE} and {POSTGRES}")
    return url == SQLITE


def _need_library() -> None:
    if find_spec("psycopg") is None:
        raise InvalidValue(
            "a store in PostgreSQL takes a library that is not installed:"
            " pip install 'relay-tunnel[postgres]'"
        )
