"""Completion: printed for each shell, and what bash then completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(package: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = package.replace("_", "-")
    code = f"import sys; sys.argv[0] = '{program}'; from {package}.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("package", ["relay_client", "relay_server"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "FISH", "powershell", ""])
def test_each_shell_has_its_script(package: str, shell: str) -> None:
    done = run(package, "completion", *filter(None, [shell]), SHELL="/usr/bin/zsh")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_{package.upper()}_COMPLETE" in done.stdout


def test_a_shell_that_is_none() -> None:
    done = run("relay_client", "completion", "nosh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "SHELL: must be bash, zsh, fish or powershell" in done.stderr


@pytest.mark.parametrize(
    ("package", "words", "expected"),
    [
        ("relay_server", "relay-server chan", "channel"),
        ("relay_server", "relay-server channel s", "show set"),
        ("relay_client", "relay-client connect --conc", "--concurrency"),
    ],
)
def test_what_is_completed(package: str, words: str, expected: str) -> None:
    """As bash asks for it."""
    asked = {
        f"_{package.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    assert run(package, **asked).stdout.split() == expected.split()


def test_an_old_option_writes_into_no_file(tmp_path: Path) -> None:
    done = run("relay_client", "--install-completion", HOME=str(tmp_path))
    assert done.returncode == 0
    assert [*tmp_path.iterdir()] == []
