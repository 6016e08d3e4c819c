"""Words of a hostile relay on the terminal: whatever they are, each is a part of one line."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_text import check_read, check_shown

_pieces = st.sampled_from(
    [
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x1bP1$r\x1b\\",
        "\x9b31m",
        "\x9d0;x\x9c",
        "\r",
        "\n",
        "\x00",
        "\x08" * 9,
        "\x7f",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\U000e0041",
        "e" + "\u0301" * 50,
        "漢" * 30,
        "👨‍👩‍👧",
        "[red]",
        "'; rm -rf ~ #",
        "x" * 300,
    ]
)


@given(st.one_of(st.text(), st.lists(_pieces, min_size=1, max_size=5).map("".join)))
@example("\x1b")
@settings(max_examples=300, deadline=None)
def test_nothing_that_a_relay_says_steers_the_terminal(text: str) -> None:
    """Names, kinds, keys, errors, versions and reasons, in every form of output."""
    check_shown(text)


@given(st.one_of(st.text(), st.lists(_pieces, max_size=3).map("".join)))
@settings(max_examples=200, deadline=None)
def test_what_is_no_value_is_said_to_be_none(text: str) -> None:
    """URLs, targets, spans and moments."""
    check_read(text)
