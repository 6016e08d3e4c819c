"""Where chance comes from: one seed for a run, said at its start and end, to run it again.

`make test` makes a short pick with a seed that stays the same. `make faults` sets RELAY_FAULTS=deep
and takes another one each time. RELAY_FAULT_SEED names one to run again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

SHORT_SEED = 20_261_124
COLUMNS = (
    "times", "accepted", "taken", "dead", "lost", "ghost", "mutated", "out_of_order",
    "stored_twice", "duplicates",
)  # fmt: skip


def is_deep() -> bool:
    """Whether the long version was asked for."""
    return os.environ.get("RELAY_FAULTS") == "deep"


def choose_seed() -> int:
    """The seed of this run; processes that it starts have the same."""
    if "RELAY_FAULT_SEED" not in os.environ:
        seed = random.SystemRandom().randrange(1 << 31) if is_deep() else SHORT_SEED
        os.environ["RELAY_FAULT_SEED"] = str(seed)
    return int(os.environ["RELAY_FAULT_SEED"])


def chance(name: str) -> random.Random:
    """What happens at random in a part of the run: the same for the same seed and name."""
    return random.Random(f"{choose_seed()} {name}")


def short_or_deep(short: int, deep: int) -> int:
    """How often something is done."""
    return deep if is_deep() else short


def header() -> str:
    """The line that says how to run it again."""
    how = "RELAY_FAULTS=deep " if is_deep() else ""
    return f"faults: seed {choose_seed()} (again: {how}RELAY_FAULT_SEED={choose_seed()})"


def table(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """What the faults of a run came to: a line for each kind, with the sums of its verdicts."""
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
