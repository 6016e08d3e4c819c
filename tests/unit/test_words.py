"""Every sentence on a screen goes through the catalogue, and each translation keeps its fields."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

import relay_client.chatwoot.events  # noqa: F401  (its errors are among all)
from docs import words
from relay_protocol.errors import RelayError
from relay_server.dashboard.rendering import FOLDER
from relay_terminal import retold

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
    "limited",
    "setting",
    "step",
    "ProtocolError",
    "Unauthorized",
    "AssertionError",
    "RuntimeError",
}
FOR_PROGRAMS |= {"critical", "exception", "execute", "Counter", "Gauge", "Histogram"}
SENTENCE = re.compile(r"[A-Za-z]{2,}[,:;.]? +[A-Za-z]{2,}")
# What is asked of the API or of SQLite, what headers hold, commands to copy (which end without a
# full stop), patterns.
NO_SENTENCE = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE) \S+|<(.|\n)*|.*\(\?P<.*"
    r"|(SELECT|INSERT|UPDATE|DELETE) (.|\n)*|\nCREATE (.|\n)*| WHERE .*"
    r"|(default-src|public,|private,|text/plain;) .*"
    r"|(pipx|relay-(client|server)) .*[^.]|(  relay-|echo |\{program\} ).*"
)
PAGES = sorted((FOLDER / "templates").iterdir())
# Of a template: what Jinja does, what is to be copied as it is, and names.
UNSEEN_IN_PAGES = re.compile(
    r"<(code|pre|output)\b.*?</\1>|<title>.*?</title>| · Relay| relay</a>| ms\b"
    r"|{%.*?%}|{{.*?}}| data-[\w-]+(=\"[^\"]*\")?|=\"kind:[^\"]*\"",
    re.DOTALL,
)
TAG = re.compile(r"<[^>]*>")
WORD = re.compile(r"[A-Za-z]{2,}")
FIELD = re.compile(r"\{[^}]*\}")


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
        case ast.Call(ast.Name("table"), [ast.Tuple(headings), *_]):  # of one word, too
            yield from ((h.lineno, str(h.value)) for h in headings if isinstance(h, ast.Constant))
        case ast.Assign([ast.Name("hint" | "message")], ast.Constant()):  # translated when told
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
        ('table((_("state"), "made"), rows)', ["made"]),
        ('typer.Option("--to", help="Where your app listens.")', []),
        ('def one():\n    """Do a thing."""', []),
        ('log.info("a thing was done")', []),
    ],
)
def test_what_is_a_sentence(code: str, found: list[str]) -> None:
    assert [text for _, text in untranslated(ast.parse(code))] == found


def test_the_catalogues_are_what_is_said() -> None:
    """`make words` writes them."""
    made = {words.TEMPLATE: words.template(), retold.TEMPLATES: words.retold_list()}
    for file in words.translations():
        made[file], made[file.with_suffix(".mo")] = words.translated(file)
    # Names alone: to show how two such files differ takes minutes.
    assert [file.name for file, content in made.items() if file.read_bytes() != content] == []


@pytest.mark.parametrize("file", words.translations(), ids=lambda file: file.parts[-3])
def test_a_translation_keeps_the_fields(file: Path) -> None:
    """A sentence with a field that is not filled would end in a traceback."""
    catalog = read_po(io.BytesIO(file.read_bytes()))
    for message in catalog:
        for said, meant in forms_of(message):
            assert sorted(FIELD.findall(said)) == sorted(FIELD.findall(meant)), message.id


def forms_of(message: Message) -> Iterator[tuple[str, str]]:
    """Each translated form of a sentence, with the one that it translates."""
    if not message.id or not message.string:
        return
    if isinstance(message.id, str):
        yield str(message.string), message.id
        return
    one, more = message.id
    said = [text for text in message.string if text]
    yield from zip(said, [one, *[more] * len(said)], strict=False)


@pytest.mark.parametrize("file", words.translations(), ids=lambda file: file.parts[-3])
def test_every_sentence_is_translated(file: Path) -> None:
    catalog = read_po(io.BytesIO(file.read_bytes()))
    said = {message.id: message.string for message in catalog if message.id}
    assert [one for one, text in said.items() if not text or not all(text)] == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.name))
def test_a_template_says_nothing_that_is_not_in_the_catalogue(file: Path) -> None:
    bare = UNSEEN_IN_PAGES.sub(" ", file.read_text("utf-8"))
    found = [*re.findall(r'(?:aria-label|title|placeholder)="([^"]*)"', bare), TAG.sub(" ", bare)]
    assert WORD.findall(" ".join(found)) == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.name))
def test_a_template_tells_reasons_again_in_the_readers_language(file: Path) -> None:
    """They are stored, and raised, in English."""
    said = re.compile(r"\.(reason|waits_for|paused|failure|problem)\)")
    assert said.findall(file.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "Traz os webhooks de um relay até a máquina em que você desenvolve."),
        (["connect", "--concurrency", "x"], "Erro: --concurrency: precisa ser um número inteiro"),
        (["whoami", "--json"], '"message": "no relay is set"'),
    ],
)
def test_a_command_speaks_the_users_language(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    """And English to programs."""
    environment = os.environ | {"LANG": "pt_BR.UTF-8", "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    environment["RELAY_CLIENT_CONFIG_DIR"] = str(tmp_path)
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        environment.pop(name, None)
    main = "from relay_client.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", main, *arguments],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise InvalidValue(f"{name!r} is no name")', ["{name} is no name"]),
        (
            'raise Bad(f"a rate is {LOW:g} to {at[0]}" + " a second")',
            ["a rate is {low} to {at} a second"],
        ),
        ("says = f\"it {why or 'is not signed'} at all\"", ["is not signed", "it {value} at all"]),
        ('x = f"from {a.name} to {b.name} at last"', ["from {name} to {name_} at last"]),
        ('log.info("a thing was done")', []),
        ('SELECT = "SELECT id FROM facts"', []),
        ('fix = f"relay-server channel set {name} --hmac-scheme"', []),
    ],
)
def test_what_is_told_again(code: str, found: list[str]) -> None:
    assert sorted(words.handed_on(ast.parse(code))) == found


def test_templates_have_named_fields_alone() -> None:
    """But for what errors say, which is filled in its order."""
    errors = {error.message for error in kinds_of(RelayError)}
    for message in words.messages() - errors:
        for text in [message] if isinstance(message, str) else message:
            assert "{}" not in text, text


def kinds_of(error: type[RelayError]) -> Iterator[type[RelayError]]:
    for kind in error.__subclasses__():
        yield from (kind, *kinds_of(kind))
