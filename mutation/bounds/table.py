"""The table of bounds: how each is taken away, and which tests must notice."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from mutation.bounds.removal import Bound, Edit, edited, removed

TABLE = Path(__file__).parent / "bounds.toml"
NEVER_S = "1e7"  # seconds: nothing here waits for 115 days
NONE_LARGER = "2**62"
NONE_SMALLER = "-(10**9)"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bound of docs/reference/limits.md.

    Attributes:
        tests: Each must fail when the bound is taken away; paths from the root of the tree on.
        value: What stands in place of the constant then; by its name's kind if it is not said.
        edits: What is written otherwise instead, where no constant is enough.
        reason: Why there is nothing to notice; then there are no tests.
        open: What test is still to be written; then there are none, either.
    """

    tests: tuple[str, ...] = ()
    value: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    reason: str = ""
    open: str = ""


def read(path: Path = TABLE) -> dict[str, Entry]:
    """Every entry by its bound: "FILE NAME", or what the operator sets.

    Raises:
        msgspec.ValidationError: An entry is not of this shape.
    """
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, Entry])


def without(root: Path, bound: str, entry: Entry) -> dict[Path, str]:
    """The files of a tree, as they are without a bound.

    Raises:
        LookupError: The bound, or what is to be edited, is not there.
    """
    if entry.edits:
        return edited(root, [Edit(*edit) for edit in entry.edits])
    file, _, name = bound.partition(" ")
    return removed(root, Bound(file, name), entry.value or usual(name))


def usual(name: str) -> str:
    """What takes away a bound of such a name."""
    if "MIN_" in name:
        return NONE_SMALLER
    return NEVER_S if name.endswith("_S") else NONE_LARGER
