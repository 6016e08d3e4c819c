"""The SQL of the PostgreSQL store: its queries by name, its numbered migrations."""

from __future__ import annotations

import re
from functools import cache

from relay_server.store.sql.named import read_queries, scripts

DIALECT = {"EACH": "numbers", "WORDS": "words", "GREATEST": "greatest", "LEAST": "least"}


@cache
def queries() -> dict[str, str]:
    """Every query, by name, with its values as psycopg takes them: `%(name)s`."""
    found = read_queries(__package__, DIALECT)
    return {name: _with_values(query) for name, query in found.items()}


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty schema to this version's, in order."""
    return scripts(__package__, "migrations")


def _with_values(query: str) -> str:
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", query.replace("%", "%%"))
