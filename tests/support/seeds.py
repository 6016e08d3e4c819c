"""Where chance comes from: one seed for a run, said at its start, from which it can be run again.

`make test` makes a short pick with a seed that stays the same. `make faults` sets RELAY_FAULTS=deep
and takes another one each time. RELAY_FAULT_SEED names one to run again.
"""

from __future__ import annotations

import os
import random

SHORT_SEED = 20_261_124


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
