"""Text that does no harm and keeps its columns."""

from __future__ import annotations

import pytest

from relay_client.console import counted, duration, padded, table, width
from relay_protocol.text import harmless


@pytest.mark.parametrize("char", list("\x00\x07\x1b\x7f\x85\x9b\n\r\t\u2028\u202e\u200b\ufeff"))
def test_what_steers_a_terminal_is_replaced(char: str) -> None:
    """Escapes, new lines, direction overrides and what cannot be seen."""
    assert harmless(f"a{char}b") == "a\ufffdb"


def test_ordinary_text_stays() -> None:
    """Accents, other scripts and emoji families."""
    text = "João 会話 👨\u200d👩\u200d👧 ação"

    assert harmless(text) == text
    assert harmless("x" * 200) == "x" * 200
    assert harmless("x" * 201) == "x" * 199 + "…"
    assert [harmless(text, limit=3) for text in ("abc", "abcd")] == ["abc", "ab…"]


def test_width_counts_cells() -> None:
    """Wide characters take two, combining ones none."""
    assert [width(text) for text in ("abc", "ção", "会話", "🎉", "e\u0301")] == [3, 3, 4, 2, 1]
    assert padded("会", 4) == "会  "


def test_a_table_is_aligned() -> None:
    """Each column as wide as its widest cell."""
    assert table([("A", "B"), ("会話", "x")]) == ["A     B", "会話  x"]


def test_spans_and_numbers_are_short() -> None:
    """As people say them."""
    spans = [duration(s) for s in (2, 59.4, 300, 7200, 200_000)]

    assert spans == ["2 s", "59 s", "5 min", "2 h", "2 d"]
    assert [counted(n, "webhook") for n in (1, 1200)] == ["1 webhook", "1,200 webhooks"]
