"""Sessions of the dashboard."""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.store.feed import SessionEnded
from relay_server.store.rules import MAX_SESSIONS, SESSION_MS, UNUSED_SESSION_MS
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, asks, writes
from relay_server.values import Session


class SqlSessions(Part):
    """`Sessions`."""

    @writes
    def begin_session(self, database: Database, session: Session) -> None:
        database.run("end_late_sessions", **_young(session.used_at))
        database.run(
            "begin_session",
            digest=session.digest,
            token=session.token,
            made_at=session.made_at,
            used_at=session.used_at,
            address=session.address,
            agent=session.agent,
        )
        database.run("end_surplus_sessions", token=session.token, most=MAX_SESSIONS)

    @asks
    def session(self, database: Database, digest: bytes, now: int) -> Session | None:
        found = database.all("session", digest=digest, **_young(now))
        return Session(*found[0]) if found else None

    @writes
    def use_session(self, database: Database, digest: bytes, address: str, now: int) -> None:
        database.run("use_session", digest=digest, address=address, now=now)

    @writes
    def end_session(self, database: Database, digest: bytes) -> bool:
        database.changes.append(SessionEnded(digest))
        return bool(database.all("end_session", digest=digest))

    @asks
    def sessions(self, database: Database, now: int) -> Sequence[Session]:
        return [Session(*row) for row in database.all("sessions", **_young(now))]


def _young(now: int) -> dict[str, int]:
    """Since when a session must have been used, and made."""
    return {"unused": now - UNUSED_SESSION_MS, "old": now - SESSION_MS}
