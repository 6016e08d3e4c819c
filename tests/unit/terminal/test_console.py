"""A command's streams: what their encoding lacks, and how wide they are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay_terminal.console import Console
from relay_terminal.layout import Colour

ROOT = Path(__file__).parents[3]
PROGRAM = """
from relay_terminal.streams import standard_streams
from relay_terminal.console import Console
with standard_streams():
    Console.of_process().line("chatwoot → João… 👋 漢 ×2")
"""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "chatwoot → João… 👋 漢 ×2"),
        ("latin-1", "chatwoot -> João... ? ? ×2"),
        ("cp1252", "chatwoot -> João… ? ? ×2"),
        ("ascii", "chatwoot -> Joao... ? ? x2"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_what_it_has(encoding: str, shown: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
    )
    assert done.stdout.decode(encoding).rstrip() == shown


def test_prose_is_broken_and_what_programs_read_is_not() -> None:
    console = Console(io.StringIO(), io.StringIO(), cells=10)
    console.say("one two three")
    console.line('{"a": "one two three"}')

    assert isinstance(console.out, io.StringIO)
    assert console.out.getvalue() == 'one two\nthree\n{"a": "one two three"}\n'


def test_a_table_has_a_bold_heading_and_is_nothing_without_rows() -> None:
    console = Console(io.StringIO(), io.StringIO(), colour=True)

    assert console.table([("A", "B"), ("1", "2")]) == ["\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m", "1  2"]
    assert console.table([("A", "B")]) == []


@pytest.mark.parametrize(
    ("environment", "painted"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], painted: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert ("\x1b" in Console.of_process().paint("x", Colour.BAD)) is painted
