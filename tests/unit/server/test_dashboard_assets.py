"""What the pages' style sheet and script weigh, and that what is left out of them is no code."""

from __future__ import annotations

import re

import pytest

from relay_server.dashboard.assets import FOLDER, FOR_READERS, MODULES, SPACED, assets

MODULE = """\
/** What it does. @param {string} text */
const one = (text) => {
  // Why it does so.
  const path = `//${text}`; // goes
  const other = `a // ${text} stays`; // `stays`

  return path + "/* stays */"; };
"""


@pytest.mark.parametrize(("name", "most"), [("app.css", 10_240), ("app.js", 15_360)])
def test_what_a_browser_loads_for_all_pages_is_small(name: str, most: int) -> None:
    assert len(assets().by_path[assets().names[name]].compressed) <= most


def test_what_a_script_says_is_left_as_it_is() -> None:
    texts = re.compile(r'"(?:[^"\\\n]|\\.)*"')
    written = "".join((FOLDER / f"{name}.js").read_text("utf-8") for name in MODULES)
    assert not [text for text in texts.findall(written) if SPACED.search(text)]


def test_a_script_is_served_without_what_only_its_readers_need() -> None:
    assert FOR_READERS.sub("", MODULE) == (
        "const one = (text) => {\n"
        "const path = `//${text}`;\n"
        "const other = `a // ${text} stays`; // `stays`\n"
        'return path + "/* stays */"; };\n'
    )
