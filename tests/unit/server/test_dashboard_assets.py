"""What the pages' style sheet and script weigh, and that what they say is left as it is."""

from __future__ import annotations

import re

import pytest

from relay_server.dashboard.assets import FOLDER, SCRIPTS, assets

MOST_LINES = 200
MODULES = [module for modules in SCRIPTS.values() for module in modules]
TEXTS = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def served(name: str) -> bytes:
    return assets().by_path[assets().names[name]].content


@pytest.mark.parametrize(("name", "most"), [("app.css", 10_240), ("app.js", 15_360)])
def test_what_a_browser_loads_for_all_pages_is_small(name: str, most: int) -> None:
    assert len(assets().by_path[assets().names[name]].compressed) <= most


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_read_at_one_go(name: str) -> None:
    assert len((FOLDER / f"{name}.js").read_text("utf-8").splitlines()) < MOST_LINES


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_served_without_what_only_its_readers_need(name: str) -> None:
    script = served(name).decode()
    assert "/**" not in script
    assert not re.search(r"^\s*//|^import |^export ", script, re.MULTILINE)
    written = "".join((FOLDER / f"{one}.js").read_text("utf-8") for one in SCRIPTS[name])
    code = re.sub(r"^import .*|^ *//.*|/\*[\s\S]*?\*/", "", written, flags=re.MULTILINE)
    texts = TEXTS.findall(re.sub(r" // .*", "", code))
    assert len(texts) > 20
    assert [text for text in texts if text not in script] == []


def test_a_script_of_one_page_imports_what_it_wants_of_that_of_all() -> None:
    names, path = re.findall(r'import{([\w,]+)}from"\./([\w.]+)"', served("edit.js").decode())[0]
    assert path == assets().names["app.js"]
    exported = re.findall(r"export{([\w,]+)}", served("app.js").decode())
    assert set(names.split(",")) <= set(exported[0].split(","))
    assert {"load", "one", "Feed"} <= set(names.split(","))
