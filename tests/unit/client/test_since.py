"""Reading where a new subscription starts."""

from __future__ import annotations

import pytest

from relay_client.errors import UsageError
from relay_client.since import parse_since

NOW_MS = 1_783_000_810_000  # 2026-07-02T14:00:10Z


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("now", None),
        ("beginning", 0),
        ("90s", NOW_MS - 90_000),
        ("5m", NOW_MS - 300_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("999999d", 0),
        ("2026-07-02T14:00:10Z", NOW_MS),
        ("2026-07-02T11:00:10.5-03:00", NOW_MS + 500),
    ],
)
def test_a_time_is_read(text: str, unix_ms: int | None) -> None:
    """Into Unix milliseconds."""
    assert parse_since(text, NOW_MS) == unix_ms


@pytest.mark.parametrize("text", ["", "2 h", "-2h", "2w", "yesterday", "2026-07-02T14:00:10"])
def test_what_is_no_time_is_named(text: str) -> None:
    """A time without a zone could be any of two dozen."""
    with pytest.raises(UsageError, match="--since"):
        parse_since(text, NOW_MS)
