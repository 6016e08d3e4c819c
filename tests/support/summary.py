"""What the faults of a run came to: a table at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from tests.support.seeds import choose_seed, is_deep

COLUMNS = (
    "times", "accepted", "taken", "dead", "lost", "ghost", "mutated", "out_of_order",
    "stored_twice", "duplicates",
)  # fmt: skip


def header() -> str:
    """The line that says how to run it again."""
    how = "RELAY_FAULTS=deep " if is_deep() else ""
    return f"faults: seed {choose_seed()} (again: {how}RELAY_FAULT_SEED={choose_seed()})"


def table(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """A line for each kind of fault, with the sums of what the ledgers of the run said."""
    sums: dict[str, Counter[str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == "verdict" and isinstance(value, dict):
                sums.setdefault(str(value["fault"]), Counter()).update(
                    {column: int(value[column]) for column in COLUMNS}
                )
    if not sums:
        return
    width = max(map(len, sums))
    yield " ".join(["fault".ljust(width), *COLUMNS])
    for fault, counts in sorted(sums.items()):
        yield " ".join([fault.ljust(width), *(str(counts[one]).rjust(len(one)) for one in COLUMNS)])
