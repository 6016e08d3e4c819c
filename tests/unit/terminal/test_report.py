"""A doctor's lines: what was looked at is named in the reader's language, but for programs."""

from __future__ import annotations

import ast
import contextvars
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_protocol.errors import RelayError
from relay_terminal.console import Console
from relay_terminal.layout import width
from relay_terminal.report import NAMES, Report
from relay_terminal.words import _, speak

ROOT = Path(__file__).parents[3]
DOCTORS = [*(ROOT / "relay_client/doctor").iterdir(), ROOT / "relay_server/cli/doctor.py"]
DOCTORS += [ROOT / "relay_server/chatwoot/checks.py"]
NAMING = {"Step", "Finding", "step", "failed", "warned", "_failed", "_tell"}


def names_in(code: ast.AST) -> Iterator[str]:
    """What steps are called there: the first text that a call is given."""
    for node in ast.walk(code):
        match node:
            case ast.Call(ast.Name(called) | ast.Attribute(attr=called)) if called in NAMING:
                texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
                yield from [text for text in texts if isinstance(text, str)][:1]
            case _:
                pass


def test_every_step_has_a_name_for_people() -> None:
    sources = [file.read_text("utf-8") for file in DOCTORS if file.suffix == ".py"]
    named = {name for source in sources for name in names_in(ast.parse(source))}

    assert {name.replace("_", " ") for name in named} == NAMES


@pytest.mark.parametrize(
    ("language", "shown"), [("en", "FAILED  token in url   "), ("pt-BR", "FALHOU  token na url   ")]
)
def test_people_read_it_in_their_language_and_programs_in_english(
    language: str, shown: str
) -> None:
    def told(*, as_json: bool) -> str:
        speak(language)
        assert all(width(_(name)) < 15 for name in NAMES), "a column has room for it"
        out = io.StringIO()
        report = Report(Console(out, io.StringIO()), as_json, lambda _error: 1)
        report.failed("token_in_url", RelayError("it is"))
        report.finish()
        return out.getvalue()

    assert contextvars.copy_context().run(told, as_json=False) == f"{shown}it is\n"
    steps = json.loads(contextvars.copy_context().run(told, as_json=True))["steps"]
    assert steps[0]["name"] == "token_in_url"
