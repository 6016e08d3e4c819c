"""Runs of sequence numbers, for what is too much to be named one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Sequences from the first to the last, both among them."""

    first: int
    last: int


def gaps(after: int, up_to: int, taken: Iterable[int]) -> Iterator[Span]:
    """What is left between two sequences, of which the second belongs to it.

    Args:
        after: Before the first.
        up_to: The last.
        taken: What is not left, in order; others may be among it.
    """
    for sequence in taken:
        if sequence > up_to:
            break
        if sequence > after + 1:
            yield Span(after + 1, sequence - 1)
        after = max(after, sequence)
    if after < up_to:
        yield Span(after + 1, up_to)


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same sequences as few spans, in order."""
    found = list[Span]()
    for span in sorted(spans):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def above(spans: Iterable[Span], floor: int) -> list[Span]:
    """What of them lies above a floor."""
    return [Span(max(s.first, floor + 1), s.last) for s in spans if s.last > floor]


def below(spans: Iterable[Span], end: int) -> list[Span]:
    """What of them lies up to an end."""
    return [Span(s.first, min(s.last, end)) for s in spans if s.first <= end]
