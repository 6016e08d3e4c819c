"""The audit log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_server.store.rules import AUDIT_MS, MAX_AUDITED
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, reports, writes
from relay_server.store.sql.rows import decode_noted
from relay_server.values import MAX_SEQUENCE, Noted


class SqlAudit(Part):
    """`AuditLog`."""

    @writes
    def note(self, database: Database, noted: Noted) -> None:
        its = msgspec.structs.asdict(noted) | {"asked": msgspec.json.encode(noted.asked).decode()}
        del its["number"]
        number = database.value("note", **its)
        database.run("forget_noted", up_to=number - MAX_AUDITED, before=noted.at - AUDIT_MS)

    @reports
    def noted(
        self, database: Database, before: int | None, limit: int, now: int
    ) -> Sequence[Noted]:
        end = MAX_SEQUENCE if before is None else before
        rows = database.all("noted", before=end, since=now - AUDIT_MS, limit=limit)
        return list(map(decode_noted, rows))
