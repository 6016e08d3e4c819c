"""Commands that messages, hints and pages name: each exists, with the options it is named with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_client.cli import whole as client
from relay_server.cli.whole import app as server
from relay_server.wheel import PACKAGES
from relay_terminal.usage import Commands, made

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "relay-server": made(server),
    "relay-client": made(client()),
}
NAMED = re.compile(r"\b(relay-server|relay-client)((?: +(?:[A-Za-z0-9_:/.=…-]+))+)")
SAID = re.compile(r"`[^`\n]+`|^ *(?:\$ )?(?:\S*/)?relay-(?:server|client) .*$", re.MULTILINE)


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What a module may say: its strings without docstrings, with X for what is put in."""
    quiet = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            quiet |= {id(part) for part in node.values}
            parts = [str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and id(node) not in quiet:
            yield node.lineno, str(node.value)


def spoken() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for line, text in texts(ast.parse(file.read_text("utf-8"))):
                yield f"{file.relative_to(ROOT)}:{line}", text


def written() -> Iterator[tuple[str, str]]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for page in sorted(pages):
        if page.name == "CHANGELOG.md":
            continue
        for said in SAID.findall(page.read_text("utf-8")):
            yield str(page.relative_to(ROOT)), said


def problem(program: str, words: list[str]) -> str:
    """What is wrong with a command that is named; empty when nothing is."""
    command: Any = PROGRAMS[program]
    while words and hasattr(command, "commands"):
        if words[0].startswith("-") or words[0] == "X":
            return ""  # an option of the program itself, or known only later
        name = words[0].rstrip(".,:;…")
        if type(command) is not Commands and name not in command.commands:
            return ""  # it stands for one of its commands
        words.pop(0)
        if name not in command.commands:
            return f"{name!r} is no command of {program}"
        command = command.commands[name]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    given = [word.partition("=")[0].rstrip(".,:;") for word in words if word.startswith("--")]
    unknown = [option for option in given if option not in {*known, "--help"}]
    return f"{unknown} are no options of {program} {command.name}" if unknown else ""


def problems(said: Iterator[tuple[str, str]]) -> tuple[int, list[str]]:
    found, number = list[str](), 0
    for where, text in said:
        for program, rest in NAMED.findall(text):
            number += 1
            if wrong := problem(program, rest.split()):
                found.append(f"{where}: {wrong} in {text!r}")
    return number, found


def test_messages_and_hints_name_commands_that_exist() -> None:
    number, found = problems(spoken())
    assert number > 30, "they are found"
    assert found == []


def test_pages_name_commands_that_exist() -> None:
    number, found = problems(written())
    assert number > 100, "they are found"
    assert found == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("relay-server channel list shows them", False),
        ("relay-server chanel list", True),
        ("relay-server channel lst", True),
        ("stop one: relay-client replays stop NUMBER", False),
        ("relay-client replays stop --halt NUMBER", True),
        ("relay-client resume --channel X --as X", False),
    ],
)
def test_what_does_not_exist_is_noticed(text: str, wrong: bool) -> None:
    assert bool(problems(iter([("", text)]))[1]) == wrong
