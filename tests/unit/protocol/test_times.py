"""Times and spans as people write them."""

from __future__ import annotations

import pytest

from relay_protocol.times import parse_moment, parse_span

NOW_MS = 1_783_000_810_000  # 2026-07-02T14:00:10Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.01s", 0.01), ("30s", 30), ("2m", 120), ("1.5h", 5_400), ("7d", 604_800), ("0s", 0)],
)
def test_a_span(text: str, seconds: float) -> None:
    """In seconds."""
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5w", "1e3s", "٣s", "1234567s"])
def test_what_is_no_span(text: str) -> None:
    """Named in the message."""
    with pytest.raises(ValueError, match="no span such as"):
        parse_span(text)


def test_a_moment() -> None:
    """Now, the beginning, a span back and a time with its zone."""
    assert parse_moment("now", NOW_MS) is None
    assert parse_moment("beginning", NOW_MS) == 0
    assert parse_moment("1.5h", NOW_MS) == NOW_MS - 5_400_000
    assert parse_moment("2026-07-02T11:00:10-03:00", NOW_MS) == NOW_MS


def test_a_moment_before_1970_is_the_beginning() -> None:
    """The store knows no earlier one."""
    assert parse_moment("999999d", NOW_MS) == 0
    assert parse_moment("1969-12-31T23:59:59Z", NOW_MS) == 0
    assert parse_moment("0001-01-01T00:00:00+23:59", NOW_MS) == 0
    assert parse_moment("1970-01-01T00:00:00.001Z", NOW_MS) == 1


@pytest.mark.parametrize("text", ["", "yesterday", "2026-07-02T14:00:10", "9999-99-99T00:00:00Z"])
def test_what_is_no_moment(text: str) -> None:
    """A time without a zone could be any of two dozen."""
    with pytest.raises(ValueError, match="is not a time"):
        parse_moment(text, NOW_MS)
