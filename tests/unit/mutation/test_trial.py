"""A change that a test notices is told from one that none does, and nothing of the run is left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mutation.trial import Copy

MODULE = "def double(a):\n    return a * 2\n"
TESTS = """
import pathlib, tempfile
from module import double

def test_it(tmp_path):
    (tmp_path / "file").touch()
    pathlib.Path(tempfile.mkdtemp(), "file").touch()
    assert double(3) == 6
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "of_mine"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    (folder / "module.py").write_text(MODULE)
    (folder / "test_module.py").write_text(TESTS)
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Copy:
    return Copy(project, tmp_path / "copy")


@pytest.mark.parametrize(
    ("becomes", "survives"),
    [("a + a", True), ("a * 3", False), ("nothing", False), ("double(a)", False)],
)
def test_what_a_test_notices_does_not_survive(
    copy: Copy, project: Path, tmp_path: Path, becomes: str, survives: bool
) -> None:
    changed = MODULE.replace("a * 2", becomes)

    assert copy.survives("module.py", changed, ["test_module.py"], 30.0) is survives
    assert (project / "module.py").read_text() == MODULE
    assert (tmp_path / "copy" / "project" / "module.py").read_text() == MODULE
    assert list((tmp_path / "copy" / "scratch").iterdir()) == []


def test_what_never_ends_is_noticed(copy: Copy) -> None:
    endless = "def double(a):\n    while True: pass\n"

    assert not copy.survives("module.py", endless, ["test_module.py"], 0.5)


def test_tests_that_fail_by_themselves_are_told(copy: Copy) -> None:
    with pytest.raises(RuntimeError, match="fail without any change"):
        copy.time_s(["test_nowhere.py"])
