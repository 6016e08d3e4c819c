"""Leave nothing of bodies that are stored under no key any more.

SQLite overwrites what was in the clear where it stood, but free pages may hold what was deleted
before, and others a little of what it moved. So a database that is not large is rebuilt when it is
opened or closed next; a larger one by backup and restore.
"""

from __future__ import annotations

import apsw
import structlog

from relay_server.errors import StoreBroken
from relay_server.store.sqlite.database import Database

log = structlog.get_logger()

REBUILD_BYTES = 67_108_864  # a larger database is not rebuilt: a start would take too long


def rebuild(database: Database) -> None:
    """Leave nothing of bodies that are stored under no key any more."""
    if not database.value("has_gone_body_keys"):
        return
    size = database.connection.pragma("page_count") * database.connection.pragma("page_size")
    if size > REBUILD_BYTES:
        log.warning(
            "bodies that were stored otherwise may show in free pages of the database:"
            " a backup that is restored has none",
            bytes=size,
        )
        return
    try:
        database.connection.execute("VACUUM")
        with database.connection:
            database.run("forget_gone_body_keys")
    except apsw.Error as exc:
        reason = database.explain(exc)
        if isinstance(reason, StoreBroken):
            raise
        # A disk that is full, say: the server goes on without, and the next start tries again.
        log.warning("the database could not be rebuilt: it may show bodies", reason=str(reason))
        return
    log.info("the database was rebuilt: it shows nothing of bodies that were stored otherwise")
