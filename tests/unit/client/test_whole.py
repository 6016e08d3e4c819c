"""An event whole: whatever its sender wrote, it is shown."""

from __future__ import annotations

import io

import pytest

from relay_client.answers import EventWhole
from relay_client.commands.whole import whole_lines
from relay_terminal.console import Console


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"a":1}', '  "a": 1'),
        ("no JSON", "no JSON"),
        ("[" * 50_000, "[" * 50_000),
    ],
)
def test_a_body_is_shown_indented_or_as_it_is(body: str, shown: str) -> None:
    console = Console(io.StringIO(), io.StringIO(), cells=80)
    assert shown in list(whole_lines(EventWhole(id="evt_1", body=body), console))
