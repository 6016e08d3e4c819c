"""Words of senders and clients on the terminal of who runs the server: none steers it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.text import ZERO_WIDTH_JOINER
from relay_server.cli.command import print_json
from tests.support.tries import tries
from tests.unit.server.results import (
    RESULTS,
    poisoned,
)

# What could steer a terminal, or show one thing for another.
HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\u202eevil\u2066d\r\ne\x9b31m\x00\u2028f\udfffg\tz"


TELL_NO_TEXT = ("status", "discarded", "stopped")


STEERING = [
    *("\x1b[2J", "\x1b]52;c;ZXZpbA==\x07", "\x1b]8;;https://evil.example\x1b\\x", "\x9b31m"),
    *("\u202e", "\u2066", "\r\n", "\x00", "\ud800", "\U000e0041", "漢", "a"),
    *("[link=http://evil.example]", "[/]", "\\[bold]"),
]
WORDS = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(STEERING), min_size=1, max_size=6).map("".join),
)


def printed(name: str, result: Any) -> str:
    render, _ = RESULTS[name]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), patch.dict("os.environ", {"COLUMNS": "80"}):
        render(result)
    return out.getvalue()


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c in ("\n", ZERO_WIDTH_JOINER) for c in text)


@pytest.mark.parametrize("name", RESULTS)
def test_nothing_that_is_shown_steers_the_terminal(name: str) -> None:
    _, result = RESULTS[name]
    before = copy.deepcopy(result)
    text = printed(name, poisoned(result, HOSTILE))
    assert is_harmless(text)
    assert "evil" in text or name in TELL_NO_TEXT, "it is shown, only harmless"
    assert result == before


@given(st.sampled_from(sorted(RESULTS)), WORDS)
@tries(200)
def test_no_result_steers_the_terminal(name: str, text: str) -> None:
    """Whatever is in any text of it."""
    shown = printed(name, poisoned(RESULTS[name][1], text))
    assert shown
    assert is_harmless(shown), repr(shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("João 👋", "João 👋"),
        ("a\x9b31mb", "\\u009b"),
        ("\u202eevil", "\\u202e"),
        ("\x7f", "\\u007f"),
    ],
)
def test_json_steers_no_terminal(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A person may look at it, too; whoever reads it gets the same."""
    print_json({"name": name})
    out = capsys.readouterr().out
    assert shown in out
    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == {"name": name}
