"""Text in columns: it fits a screen, breaks between words alone, and is read at a glance."""

from __future__ import annotations

import pytest

from relay_terminal.layout import (
    behind,
    duration,
    padded,
    pairs,
    size,
    table,
    when,
    width,
    wrapped,
)

ROWS = [
    ("CHANNEL", "SUBSCRIPTION", "STATE", "WAITING"),
    ("chatwoot", "developer", "connected, target down, paused: it answered 410", "10,001"),
    ("x", "ana", "away", "3"),
]


def test_width_counts_cells() -> None:
    """Wide characters take two, combining ones and colours none."""
    texts = ("abc", "ção", "会話", "🎉", "e\u0301", "\x1b[1;31mabc\x1b[0m")
    assert [width(text) for text in texts] == [3, 3, 4, 2, 1, 3]
    assert padded("会", 4) == "会  "


def test_a_table_is_aligned() -> None:
    """Each column as wide as its widest cell, numbers to the right."""
    assert table([("A", "B"), ("会話", "x")]) == ["A     B", "会話  x"]
    assert table([("N", "B"), ("10,001", "x"), ("3", "y")])[1:] == ["10,001  x", "     3  y"]


@pytest.mark.parametrize("cells", [120, 80, 60, 40, 20])
def test_a_table_fits_its_screen(cells: int) -> None:
    """No line is longer, and every word is whole."""
    lines = table(ROWS, cells)

    assert max(map(width, lines)) <= cells
    words = " ".join(lines).replace(":", "").split()
    for row in ROWS[1:]:
        assert set(" ".join(row).replace(":", "").split()) <= set(words)


def test_the_widest_column_is_broken_between_words() -> None:
    assert table(ROWS, 60)[1:3] == [
        "chatwoot  developer     connected, target down,       10,001",
        "                        paused: it answered 410",
    ]


def test_rows_become_lines_where_columns_have_no_room() -> None:
    assert table(ROWS, 40)[:4] == [
        "chatwoot",
        "  subscription: developer",
        "  state: connected, target down, paused:",
        "    it answered 410",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("  one two three", ["  one", "  two", "  three"]),
        ("averylongword x", ["averylongword", "x"]),
        ("at 2026-11-29 12:04:09 -03:00 on", ["at", "2026-11-29 12:04:09 -03:00", "on"]),
        ("one two  three", ["one two", "three"]),
        ("so: relay-server x", ["so:", "relay-server", "x"]),
        # To be copied: a line break would be copied, too.
        ("  relay-client replay evt_1", ["  relay-client replay evt_1"]),
        ("relay-client send makes, once", ["relay-client", "send", "makes,", "once"]),
        ("\x1b[31mone two three\x1b[0m", ["\x1b[31mone two\x1b[0m", "\x1b[31mthree\x1b[0m"]),
    ],
)
def test_text_is_broken_between_words(text: str, lines: list[str]) -> None:
    assert wrapped(text, 8) == lines
    assert wrapped(text, 0) == [text]


def test_a_command_at_the_end_of_a_sentence_stays_whole_where_it_can() -> None:
    text = "  It is dead, or nearly: relay-client replay --dead"
    assert wrapped(text, 30) == ["  It is dead, or nearly:", "  relay-client replay --dead"]
    assert wrapped(text, 26)[1:] == ["  relay-client replay", "  --dead"]


def test_names_and_what_they_stand_for() -> None:
    named = [("name", "ana"), ("gets", "kind:message_created from:customer")]
    assert pairs(named) == ["name  ana", "gets  kind:message_created from:customer"]
    assert pairs(named, 26)[1:] == ["gets  kind:message_created", "      from:customer"]


def test_a_command_that_is_wider_than_its_column_stays_whole_on_a_line_of_its_own() -> None:
    hint = "-> Say it once: relay-server init --public-url URL"

    assert behind("ok  ", hint, 36) == [
        "ok  -> Say it once:",
        "  relay-server init --public-url URL",
    ]
    assert behind("ok  ", hint, 0) == ["ok  " + hint]
    assert all(width(line) <= 24 for line in behind("ok  ", hint, 24)), "it is wider than a screen"


def test_spans_sizes_and_times_are_short() -> None:
    spans = [duration(seconds) for seconds in (2, 59.4, 300, 7_200, 200_000)]
    assert spans == ["2 s", "59 s", "5 min", "2 h", "2 d"]
    assert [size(n) for n in (1, 20, 1_536, 2**30)] == ["1 byte", "20 bytes", "1.5 KiB", "1 GiB"]
    assert when(None) == when(-1) == when(10**15) == "-"
    assert when(1_783_000_810_000, zoned=True).startswith("2026-07-0")


def test_free_text_is_cut_and_empty_columns_are_left_out() -> None:
    rows = [("ID", "FROM", "SAYS"), ("b546aa13", "", "Olá 👋 tudo bem, preciso de ajuda")]
    assert table(rows, 30, cut=True)[1] == "b546aa13  Olá 👋 tudo bem, pr…"
    assert table(rows, 80, cut=True)[1].endswith("ajuda")
