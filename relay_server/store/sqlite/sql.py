"""The SQL of the SQLite store: its named queries, its numbered migrations, an event's row number.

A query is written once in `queries/`, under `-- name:`, and takes values by name (`:channel`). What
the tables hold as a number is written there by its name, too: `@DEAD` for `MarkState.DEAD`. These
become literals when the files are read, because SQLite takes a partial index (`WHERE state = 4`)
only where it sees the number.

All channels' events are in one table. A row's number, its *position*, is channel and sequence in
one: a channel's events lie together, in order, without an index.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from relay_server.values import MAX_SEQUENCE, MarkState, ReplayState

SEQUENCE_BITS = MAX_SEQUENCE.bit_length()  # those that are left are for eight million channels
UNCOUNTED = 256  # events that a channel's row may not count yet, and those of a transaction
NUMBERS = {
    **{state.name: int(state) for state in (*MarkState, *ReplayState)},
    "BITS": SEQUENCE_BITS,
    "MASK": MAX_SEQUENCE,
    "UNCOUNTED": UNCOUNTED,
}


@cache
def queries() -> dict[str, str]:
    """Every query, by name."""
    found = dict[str, str]()
    for text in _read("queries"):
        # What stands before the first is of the whole file.
        _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
        found |= zip(parts[::2], map(_with_numbers, parts[1::2]), strict=True)
    return found


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty database to this version's, in order."""
    return _read("migrations")


def _read(name: str) -> tuple[str, ...]:
    folder = files(__package__).joinpath(name)
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(script.read_text("utf-8") for script in scripts)


def _with_numbers(query: str) -> str:
    return re.sub(r"@([A-Z]+)", lambda found: str(NUMBERS[found[1]]), query).strip()


def position(channel: int, sequence: int) -> int:
    """The row number of a channel's event; a sequence that none can have leads to no other's."""
    return channel << SEQUENCE_BITS | min(max(sequence, 0), MAX_SEQUENCE)


def sequence_of(at: int) -> int:
    """The sequence within its channel of the event in a row."""
    return at & MAX_SEQUENCE


def channel_of(at: int) -> int:
    """The channel of the event in a row."""
    return at >> SEQUENCE_BITS


def first(channel: int) -> int:
    """Before the row of a channel's first event: sequences begin at 1."""
    return position(channel, 0)


def last(channel: int) -> int:
    """The last row that a channel's events can have."""
    return position(channel, MAX_SEQUENCE)
