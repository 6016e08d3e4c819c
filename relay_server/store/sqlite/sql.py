"""The SQL of the SQLite store: its named queries and its numbered migrations."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def queries() -> dict[str, str]:
    """Every query of `queries.sql` and `checks.sql`, by name."""
    folder = files(__package__)
    text = "".join(folder.joinpath(f"{n}.sql").read_text("utf-8") for n in ("queries", "checks"))
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty database to this version's, in order."""
    folder = files(__package__).joinpath("migrations")
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(script.read_text("utf-8") for script in scripts)
