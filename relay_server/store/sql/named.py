"""Queries by their names, written once for every dialect.

A query is written in a file of `queries/`, under `-- name:`, and takes values by name (`:channel`).
What the tables hold as a number is written there by its name, too: `@DEAD` for `MarkState.DEAD`.
These become literals when the files are read, because a partial index (`WHERE state = 4`) is taken
only where the number is seen. What dialects call by different names is written likewise, and each
backend says what it calls it:

    @EACH(:list)     the numbers of a JSON list, as rows `key` (their place in it) and `value`
    @WORDS(:list)    the same of texts
    @GREATEST, @LEAST   of several values, not of several rows
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from relay_server.store.bodies import UNKEPT
from relay_server.store.sql.positions import SEQUENCE_BITS
from relay_server.values import MAX_SEQUENCE, MarkState, ReplayState

NUMBERS: Mapping[str, str] = {
    **{state.name: str(int(state)) for state in (*MarkState, *ReplayState)},
    "BITS": str(SEQUENCE_BITS),
    "MASK": str(MAX_SEQUENCE),
    "UNKEPT": str(UNKEPT),
}


def read_queries(package: str, dialect: Mapping[str, str]) -> dict[str, str]:
    """Every query of the parts and of a backend's package, by name, in a dialect's words."""
    words = {**NUMBERS, **dialect}
    found = dict[str, str]()
    for text in (*scripts(__package__, "queries"), *scripts(package, "queries")):
        # What stands before the first is of the whole file.
        _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
        for name, query in zip(parts[::2], parts[1::2], strict=True):
            found[name] = re.sub(r"@([A-Z]+)", lambda word: words[word[1]], query).strip()
    return found


def scripts(package: str, folder: str) -> tuple[str, ...]:
    """The SQL files in a folder of a package, in order of their names."""
    place = files(package).joinpath(folder)
    found = sorted((f for f in place.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(script.read_text("utf-8") for script in found)
