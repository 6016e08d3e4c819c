"""The sheet of keys: it says each that does something, and no other."""

from __future__ import annotations

import re

from relay_server.dashboard.assets import FOLDER as SCRIPTS
from relay_server.dashboard.rendering import FOLDER

TEMPLATES = FOLDER / "templates"
ACTS = re.compile(r"^const ACTS = {\n(.*?)^};", re.MULTILINE | re.DOTALL)
# Those that templates put together: parts of a body, pages of the rail, and who gets a replay.
MADE = {"1", "2", "3", "g s", "g d", "g r", "g u", "r", "R"}


def test_the_sheet_says_each_key_that_does_something_and_no_other() -> None:
    said = re.findall(r'key\("([^"]+)"', (TEMPLATES / "keys.html").read_text("utf-8"))
    found = ACTS.search((SCRIPTS / "keys.js").read_text("utf-8"))
    assert found is not None
    acts = re.findall(r'^  "?([^\s":]+)"?: ', found[1], re.MULTILINE)
    pages = "".join(file.read_text("utf-8") for file in TEMPLATES.iterdir())
    marked = re.findall(r'data-key="([^"{]+)"', pages)
    assert len(said) == len(set(said))
    assert {*said} == {*acts, *marked, *MADE, "Esc"}
