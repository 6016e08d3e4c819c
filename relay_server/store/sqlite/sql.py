"""The SQL of the SQLite store: its queries by name, its numbered migrations."""

from __future__ import annotations

from functools import cache

from relay_server.store.sql.named import read_queries, scripts

UNCOUNTED = 256  # events that a channel's row may not count yet, and those of a transaction
DIALECT = {
    "EACH": "json_each",
    "WORDS": "json_each",
    "GREATEST": "max",
    "LEAST": "min",
    "UNCOUNTED": str(UNCOUNTED),
}


@cache
def queries() -> dict[str, str]:
    """Every query, by name."""
    return read_queries(__package__, DIALECT)


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty database to this version's, in order."""
    return scripts(__package__, "migrations")
