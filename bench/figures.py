"""Small sums over measured times."""

from collections.abc import Sequence
from typing import TypedDict


class Latency(TypedDict):
    """Milliseconds; all zero when nothing was measured."""

    p50: float
    p99: float
    max: float


def latency(samples_ns: Sequence[int]) -> Latency:
    """Percentiles (nearest rank) of nanoseconds, as milliseconds."""
    ordered = sorted(samples_ns) or [0]
    return Latency(p50=_rank(ordered, 0.50), p99=_rank(ordered, 0.99), max=_rank(ordered, 1.0))


def _rank(ordered: Sequence[int], share: float) -> float:
    index = min(len(ordered) - 1, int(share * len(ordered)))
    return round(ordered[index] / 1e6, 3)
