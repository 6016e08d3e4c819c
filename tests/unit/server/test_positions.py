"""Where a reader of the feed is, as text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_server.errors import InvalidValue
from relay_server.live.positions import around, format_positions, parse_positions
from relay_server.values import MAX_SEQUENCE

NAMES = st.text(min_size=1, max_size=63)
POSITIONS = st.dictionaries(NAMES, st.integers(0, MAX_SEQUENCE), min_size=1, max_size=8)


@given(POSITIONS)
def test_a_position_is_read_as_it_was_written(positions: dict[str, int]) -> None:
    text = format_positions(positions)

    assert parse_positions(text) == positions
    assert text.isascii()
    assert "\n" not in text


@given(POSITIONS, st.data())
def test_what_stands_around_one_channel(positions: dict[str, int], data: st.DataObject) -> None:
    """So that each event of a channel takes no more than its number."""
    name = data.draw(st.sampled_from(sorted(positions)))
    before, behind = around(positions, name)

    assert f"{before}{positions[name]}{behind}" == format_positions(positions)


def test_it_is_written_for_people() -> None:
    assert format_positions({"github": 77, "chatwoot": 8123}) == "chatwoot=8123;github=77"
    assert parse_positions("") == {}


@given(st.text(max_size=200))
def test_whatever_is_brought_back_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        parse_positions(text)


@pytest.mark.parametrize("text", ["a=1;" * 64, f"a={'1' * 9_000}", "a=1;;b=2", "=1", "a=-1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_positions(text)
