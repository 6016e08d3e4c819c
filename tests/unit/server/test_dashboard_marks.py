"""The sheet of marks: all of them where the style sheet looks for them, in its colours."""

from __future__ import annotations

import re

from relay_server.dashboard.assets import FOLDER, assets

STYLE = (FOLDER / "app.css").read_text("utf-8")
SHEET = (FOLDER / "marks.svg").read_text("utf-8")


def test_each_mark_stands_where_it_is_looked_for() -> None:
    wanted = dict(re.findall(r"\.mark-([\w-]+) \{ --at: -?(\d+)px; \}", STYLE))
    drawn = dict(re.findall(r'<use href="#(?!row)([\w-]+)" class="\w+"(?: x="(\d+)")?/>', SHEET))
    assert {name: at or "0" for name, at in drawn.items()} == wanted
    assert set(re.findall(r'<g id="([\w-]+)"><', SHEET)) == set(wanted)
    dark = re.search(r'<use href="#row" class="in-dark" x="(\d+)"/>', SHEET)
    assert dark is not None
    assert STYLE.count(f"--sheet: -{dark[1]}px") == 2


def test_marks_have_the_colours_of_each_theme() -> None:
    roles = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", STYLE)
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", line)) for line in _lines())
    assert light.items() <= {(role, colour) for role, colour, _ in roles}
    assert dark.items() <= {(role, colour) for role, _, colour in roles}
    assert light.keys() == dark.keys()


def test_the_style_sheet_names_the_sheet_as_it_is_served() -> None:
    style = assets().by_path[assets().names["app.css"]].content.decode()
    assert set(re.findall(r'url\("([^"]+)"\)', style)) == {assets().names["marks.svg"]}


def _lines() -> list[str]:
    return re.findall(r"^(?:svg|\.in-dark) \{(.*)\}$", SHEET, re.MULTILINE)
