"""Spans stand for the sequences that they hold, and for no others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from relay_server.spans import Span, above, below, gaps, joined

NUMBERS = st.integers(0, 12)
SPANS = st.lists(st.builds(lambda a, b: Span(min(a, b), max(a, b)), NUMBERS, NUMBERS))


def held(spans: Iterable[Span]) -> list[int]:
    """Each sequence, as often as it is held."""
    return [sequence for span in spans for sequence in range(span.first, span.last + 1)]


@given(SPANS)
def test_joined_ones_are_few_and_hold_the_same(spans: list[Span]) -> None:
    found = joined(spans)

    assert held(found) == sorted(set(held(spans)))
    assert all(later.first > one.last + 1 for one, later in itertools.pairwise(found))


@given(NUMBERS, NUMBERS, st.sets(NUMBERS))
def test_gaps_are_what_nobody_took(after: int, up_to: int, taken: set[int]) -> None:
    found = list(gaps(after, up_to, sorted(taken)))

    assert held(found) == [s for s in range(after + 1, up_to + 1) if s not in taken]
    assert joined(found) == found


@given(SPANS, NUMBERS)
def test_a_floor_parts_them(spans: list[Span], floor: int) -> None:
    whole = joined(spans)

    assert held(above(whole, floor)) == [s for s in held(whole) if s > floor]
    assert held(below(whole, floor)) == [s for s in held(whole) if s <= floor]
