"""Each bound and each refusal has a test: the tables of `mutation/bounds` name it.

That the named tests fail without the bound is for `make bounds` to say.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mutation.bounds.removal import Bound, Edit, edited, removed
from mutation.bounds.table import Entry, read, without
from tests.unit.test_docs import PAGES, REFERENCE, ROOT, limit_rows

BOUNDS = read()
REFUSALS: dict[str, dict[str, str]] = tomllib.loads(
    (ROOT / "mutation/bounds/refusals.toml").read_text("utf-8")
)


def test_every_bound_has_an_entry() -> None:
    """As the page of limits has them; and no entry is for one that is gone."""
    constants = {f"{file} {name}" for file, name, _ in limit_rows()}
    of_operators = {bound for bound in BOUNDS if not bound.startswith("relay_")}

    assert constants - BOUNDS.keys() == set(), "these have no entry"
    assert BOUNDS.keys() - of_operators - constants == set(), "these are no bounds"
    assert of_operators == set(what_operators_set()), "the page's tables of what is set"


def what_operators_set() -> Iterator[str]:
    """Each setting and option of the page's tables, and each of its ends where there are two."""
    page = (REFERENCE / "limits.md").read_text("utf-8")
    for row in re.findall(r"^\| ([^`|]+) \|", page, re.MULTILINE):
        ends = row.partition(" of a ")[2].split(" or ")
        for setting in re.findall(r"RELAY_SERVER_\w+|--[a-z][\w-]+", row):
            yield from (f"{setting} of a {end}" if end else setting for end in ends)


@pytest.mark.parametrize("bound", BOUNDS)
def test_an_entry_can_be_tried(bound: str) -> None:
    """Its tests exist, and the bound can be taken away; or there is a reason why not."""
    entry = BOUNDS[bound]

    given = [said for said in (entry.tests, entry.reason, entry.open) if said]
    assert len(given) == 1, "tests, a reason, or what is still to be done"
    assert [test for test in entry.tests if not exists(test)] == []
    if entry.tests:
        assert without(ROOT, bound, entry)


def test_most_bounds_have_tests() -> None:
    """A reason is for what nobody can notice, not for what is hard to test."""
    without_tests = [bound for bound, entry in BOUNDS.items() if not entry.tests]

    assert len(without_tests) < len(BOUNDS) / 5


@pytest.mark.parametrize("side", ["server", "client"])
def test_every_refusal_has_a_test(side: str) -> None:
    """Each stable code of the page of errors; its test's module says the code, or its class."""
    server, client = PAGES[REFERENCE / "errors.md"].split("\n## Client\n")
    codes = re.findall(r"^\| `(\w+)` \|", server if side == "server" else client, re.MULTILINE)
    named = REFUSALS[side]

    assert sorted(codes) == sorted(named)
    assert [test for test in named.values() if not exists(test)] == []
    assert [code for code, test in named.items() if not says(test, code)] == []


def exists(test: str) -> bool:
    """Whether a test of this name is there to be run."""
    file, _, name = test.partition("::")
    return name in functions(ROOT / file)


def says(test: str, code: str) -> bool:
    """Whether a test's module names an error by its code, or by the class of that name."""
    text = (ROOT / test.partition("::")[0]).read_text("utf-8")
    camel = "".join(part.title() for part in code.split("_"))
    return re.search(rf"\b({code}|{camel}|{camel}Error)\b", text, re.IGNORECASE) is not None


@cache
def functions(file: Path) -> frozenset[str]:
    if not file.is_file():
        return frozenset()
    return frozenset(
        node.name
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


# How a bound is taken away.

LIMITS = """MOST = 5


def room(used: int, most: int = MOST) -> int:
    if used > MOST:
        raise ValueError(f"more than {MOST}")
    return MOST - used
"""
USER = """from relay_http import limits
from relay_http.limits import MOST as FEW


def full(n: int) -> bool:
    return n >= FEW or n >= limits.MOST or n == other.MOST
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "relay_http"
    folder.mkdir()
    (folder / "limits.py").write_text(LIMITS)
    (folder / "user.py").write_text(USER)
    (folder / "stranger.py").write_text("MOST = 7\nprint(MOST)\n")
    return tmp_path


def test_whoever_uses_a_bound_finds_another_in_its_place(tree: Path) -> None:
    """Not where it is set, nor what only has its name; a message bounds nothing."""
    changed = removed(tree, Bound("relay_http/limits.py", "MOST"), "10**9")

    assert {path.name: text for path, text in changed.items()} == {
        "limits.py": LIMITS.replace("= MOST)", "= (10**9))")
        .replace("> MOST", "> (10**9)")
        .replace("return MOST", "return (10**9)"),
        "user.py": USER.replace(">= FEW", ">= (10**9)").replace("limits.MOST", "(10**9)"),
    }


def test_a_bound_that_nothing_uses_cannot_be_taken_away(tree: Path) -> None:
    with pytest.raises(LookupError, match="nothing uses"):
        removed(tree, Bound("relay_http/limits.py", "LEAST"), "0")


def test_an_edit_is_made_where_it_says(tree: Path) -> None:
    edit = Edit("relay_http/limits.py", "if used > MOST", "if False")
    entry = Entry(edits=(("relay_http/limits.py", "if used > MOST", "if False"),))

    assert edited(tree, [edit]) == without(tree, "--most", entry)
    for old in ("no such text", "MOST"):
        with pytest.raises(LookupError, match="not once"):
            edited(tree, [Edit("relay_http/limits.py", old, "")])
