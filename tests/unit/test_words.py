"""Every sentence on a screen goes through the catalogue, and each translation keeps its fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import words

ROOT = Path(__file__).parents[2]
# Calls whose texts are translated there, or where they are shown.
TRANSLATED = {"_", "N_", "say", "plural", "pgettext"}
TRANSLATED |= {"App", "Option", "Argument", "Field", "Old", "route"}
# Calls whose texts no person reads.
FOR_PROGRAMS = {"compile", "fullmatch", "match", "split", "partition", "startswith", "strftime"}
FOR_PROGRAMS |= {
    "debug",
    "info",
    "warning",
    "error",
    "fail",
    "step",
    "ProtocolError",
    "AssertionError",
}
SENTENCE = re.compile(r"[A-Za-z]{2,}[,:;.]? +[A-Za-z]{2,}")
# What is asked of the API, commands to copy (on lines of their own, or two of them), patterns.
NO_SENTENCE = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE) \S+|(  relay-|echo |\{program\} ).*|relay-.* && .*|.*\(\?P<.*"
)
# Modules that are still to be converted.
LATER = {"answers", "api", "account", "connect", "settings", "subscriptions", "telling"}


def name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Name(name):
            return name
        case ast.Attribute(attr=name):
            return f".{name}" if name == "say" else name  # a console's, which translates nothing
        case _:
            return ""


def untranslated(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts of several words that nothing translates."""
    below = [*ast.iter_child_nodes(node)]
    match node:
        case ast.Call() if name_of(node) in TRANSLATED | FOR_PROGRAMS:
            parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
            texts = ast.JoinedStr | ast.Constant | ast.BinOp
            below = [part for part in parts if not isinstance(part, texts)]
        case ast.Expr(ast.Constant()) | ast.Compare():  # a docstring
            return
        case ast.Assign([ast.Name("hint")], ast.Constant()):  # translated where it is told
            return
        case ast.Constant(str(text)):
            if SENTENCE.search(text) and not NO_SENTENCE.fullmatch(text):
                yield node.lineno, text
        case ast.JoinedStr(values):
            text = "…".join(str(part.value) for part in values if isinstance(part, ast.Constant))
            if SENTENCE.search(text) and not NO_SENTENCE.fullmatch(text):
                yield node.lineno, text
            below = [part for part in values if not isinstance(part, ast.Constant)]
        case _:
            pass
    for child in below:
        yield from untranslated(child)


def outside_functions(node: ast.AST) -> Iterator[int]:
    """Lines where `_` is called before it is known who reads."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return
        case ast.Call(ast.Name("_" | "plural")):
            yield node.lineno
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from outside_functions(child)


@pytest.mark.parametrize("file", words.modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_sentence_goes_through_the_catalogue(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    if LATER.isdisjoint({file.stem, file.parent.name}):
        assert [*untranslated(tree)] == []
    assert [*outside_functions(tree)] == [], "N_ marks a constant; _ translates where it is shown"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('console.line("it is paused")', ["it is paused"]),
        ('console.line(f"{name} is paused")', [" is paused"]),
        ('console.line(_("{name} is paused").format(name=name))', []),
        ('raise UsageError(_("no such thing"), "Look elsewhere.")', ["Look elsewhere."]),
        ('HINT = N_("Look elsewhere.")', []),
        ('typer.Option("--to", help="Where your app listens.")', []),
        ('def one():\n    """Do a thing."""', []),
        ('log.info("a thing was done")', []),
    ],
)
def test_what_is_a_sentence(code: str, found: list[str]) -> None:
    assert [text for _, text in untranslated(ast.parse(code))] == found


def test_templates_have_named_fields_alone() -> None:
    for message in words.messages():
        for text in [message] if isinstance(message, str) else message:
            assert "{}" not in text, text
