"""Completion: printed for each shell, and what bash then completes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import relay_client.cli
import relay_server.cli

Run = Callable[..., tuple[int, str, str]]
MAINS = {"relay_client": relay_client.cli.main, "relay_server": relay_server.cli.main}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a program in this process: status, stdout, stderr."""

    def run(package: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [package.replace("_", "-"), *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            MAINS[package]()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize("package", ["relay_client", "relay_server"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "FISH", "powershell", ""])
def test_each_shell_has_its_script(run: Run, package: str, shell: str) -> None:
    status, out, err = run(package, "completion", *filter(None, [shell]), SHELL="/usr/bin/zsh")
    assert (status, err) == (0, "")
    assert f"_{package.upper()}_COMPLETE" in out


def test_a_shell_that_is_none(run: Run) -> None:
    status, out, err = run("relay_client", "completion", "nosh")
    assert (status, out) == (2, "")
    assert "SHELL: must be bash, zsh, fish or powershell" in err


@pytest.mark.parametrize(
    ("package", "words", "expected"),
    [
        ("relay_server", "relay-server chan", "channel"),
        ("relay_server", "relay-server channel s", "show set"),
        ("relay_client", "relay-client connect --conc", "--concurrency"),
    ],
)
def test_what_is_completed(run: Run, package: str, words: str, expected: str) -> None:
    """As bash asks for it."""
    asked = {
        f"_{package.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    assert run(package, **asked)[1].split() == expected.split()


def test_an_old_option_writes_into_no_file(run: Run, tmp_path: Path) -> None:
    assert run("relay_client", "--install-completion", HOME=str(tmp_path))[0] == 0
    assert [*tmp_path.iterdir()] == []
