"""Gathers every sentence that commands and pages say, for those who translate them.

`make words` writes `relay_terminal/locale/relay.pot`, brings each language's `relay.po` up to it,
and makes the `relay.mo` that is read. Sentences are found where they are written: what `_` and
`plural` are given, also in the dashboard's templates and script, helps and questions of commands,
hints of errors, and what is said instead of a library's words.

What the server says in English wherever it goes, to be translated where it is shown, is gathered
from all its other modules; `retold.json` has its templates. `tests/unit/test_words.py` holds that
none is left out, and that all this is fresh.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import extract_from_ast

import relay_client.cli
import relay_server.cli.whole
from relay_protocol.text import LIBRARIES_WORDS
from relay_server.dashboard.assets import sentences
from relay_server.dashboard.rendering import FOLDER, templates
from relay_terminal.retold import TEMPLATES
from relay_terminal.usage import TYPERS_WORDS, is_shown, made, paragraphs
from relay_terminal.words import LOCALE

ROOT = Path(__file__).parents[1]
SCREENS = (
    "relay_chatwoot/errors.py",
    "relay_client",
    "relay_server/chatwoot/checks.py",
    "relay_server/chatwoot/errors.py",
    "relay_server/chatwoot/install.py",
    "relay_server/chatwoot/rotate.py",
    "relay_server/chatwoot/seen.py",
    "relay_server/cli",
    "relay_server/control.py",
    "relay_server/dashboard",
    "relay_server/errors.py",
    "relay_server/operations/why.py",
    "relay_server/web/guests.py",
    "relay_terminal",
)
HANDED_ON = (
    "relay_chatwoot",
    "relay_http",
    "relay_protocol",
    "relay_server",
)  # what is English until it is shown
# Of these what no person is shown, but in the reference.
UNSHOWN = {"index.py", "metrics.py", "openapi.py", "scripts.py", "tracing.py", "wheel.py"}
# Calls and names there whose texts nobody is shown, or which are shown as helps.
UNSHOWN_NAMES = {
    "KNOWN",
    "LIBRARIES_WORDS",
    "_OF_401",
    "Setting",
    "Field",
    "setting",
    "StoreBackoff",
    "ProtocolError",
    "AssertionError",
}
UNSHOWN_NAMES |= {"debug", "info", "warning", "error", "exception", "compile", "startswith"}
UNSHOWN_NAMES |= {
    "sql",
    "removeprefix",
    "limited",
    "refused",
    "create_task",
    "ConnectionError",
    "NOTE",
}
SENTENCE = re.compile(r"[A-Za-z]{2,}[,:;.]? +[A-Za-z]{2,}")
# SQL and statements, commands to copy, lines of a head, HTML.
NO_SENTENCE = re.compile(
    r"[A-Z]{3,} .*|relay-(client|server) [^,]*|[A-Z]\w*(-[A-Z][a-z]+)*: .*|.*HTTP/1\.1"
    r"|[a-z]+/[a-z]+; .*|attachment; .*|<.*|.*\(\?P<.*|Expected .*",
    re.DOTALL,
)
TEMPLATE = LOCALE / "relay.pot"
HEADER = "# What Relay's commands and pages say."
# Of a catalogue's head, what says nothing here.
UNSAID = re.compile(rb'"(Report-|Last-Translator|Language-Team|Generated-By|Project-)[^\n]*\n')
# What CLDR adds, a form of its own for millions, nobody writes of webhooks.
HEADERS = {"pt_BR": {"Plural-Forms": "nplurals=2; plural=(n > 1);"}}
FIELD = re.compile(r"\{(\w+)[^}]*\}")
# Dates of a catalogue say nothing that its history does not, and would change with each making.
DATE = datetime(2026, 11, 29, tzinfo=UTC)


def modules() -> list[Path]:
    """Where sentences are written."""
    parts = (ROOT / part for part in SCREENS)
    found = (file for part in parts for file in (sorted(part.rglob("*.py")) or [part]))
    return [file for file in found if "testing" not in file.parts]  # a fake, for tests of bots


@functools.cache
def messages() -> frozenset[str | tuple[str, str]]:
    """Every sentence; one about a number of things with its plural."""
    found = set[str | tuple[str, str]]()
    for file in modules():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            found |= set(_written(node))
    for app in (relay_client.cli.whole(), relay_server.cli.whole.app):
        found |= set(_helps(made(app)))
    found |= {*LIBRARIES_WORDS.values(), *TYPERS_WORDS.values()}
    found |= set(retold_templates())
    return frozenset(found | set(on_pages())) - {""}


def _written(node: ast.AST) -> Iterator[str | tuple[str, str]]:
    match node:
        case ast.Call(ast.Name("_" | "N_" | "say"), [ast.Constant(str(text))]):
            yield text
        case ast.Call(ast.Name("plural"), [ast.Constant(str(one)), ast.Constant(str(more)), _]):
            yield one, more
        case ast.Call(ast.Name("route"), [_, _, _, *shown], keywords):
            values = [*shown, *(keyword.value for keyword in keywords if keyword.arg == "sure")]
            yield from (str(value.value) for value in values if isinstance(value, ast.Constant))
        case ast.Assign([ast.Name("hint" | "message")], ast.Constant(str(text))):
            yield text
        case _:
            pass


@functools.cache
def retold_templates() -> list[str]:
    """Of every sentence that the server says in English: its constant parts, and named fields."""
    shown, found = modules(), {*LIBRARIES_WORDS.values()}
    for file in (file for part in HANDED_ON for file in (ROOT / part).rglob("*.py")):
        if file not in shown and file.name not in UNSHOWN:
            found |= set(handed_on(ast.parse(file.read_text("utf-8"))))
    return sorted(found)


def handed_on(node: ast.AST) -> Iterator[str]:
    """Templates of the sentences in a piece of code that speaks English wherever it is shown."""
    match node:
        case ast.Expr(ast.Constant()) | ast.Compare() | ast.Assert():  # a docstring
            return
        case ast.Call(ast.Name(name) | ast.Attribute(attr=name)) if name in UNSHOWN_NAMES:
            return
        case ast.Assign([ast.Name(name)]) if name in UNSHOWN_NAMES:
            return
        case ast.Constant(str()) | ast.JoinedStr() | ast.BinOp(op=ast.Add()):
            text = _fielded(node)
            if SENTENCE.search(FIELD.sub("…", text)) and not NO_SENTENCE.fullmatch(text):
                yield text
                yield from (one for part in _inside(node) for one in handed_on(part))
                return
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from handed_on(child)


def _inside(node: ast.AST) -> list[ast.AST]:
    """What fills the fields of a sentence: it may be sentences itself."""
    match node:
        case ast.JoinedStr(values):
            return [part.value for part in values if isinstance(part, ast.FormattedValue)]
        case ast.BinOp(left, ast.Add(), right):
            sides = (one for one in (left, right) if not isinstance(one, ast.Constant))
            return [one for side in sides for one in (_inside(side) or [side])]
        case _:
            return []


def _fielded(node: ast.AST) -> str:
    """A text of the code as a template, whose fields are named for what fills them."""
    text, names = "", list[str]()
    for part in _parts(node):
        if isinstance(part, str):
            text += part
            names += FIELD.findall(part)
            continue
        name = _name_of(part)
        while name in names:
            name += "_"
        names.append(name)
        text += f"{{{name}}}"
    return text


def _parts(node: ast.AST) -> Iterator[str | ast.AST]:
    match node:
        case ast.Constant(str(text)):
            yield FIELD.sub(r"{\1}", text)  # a template itself
        case ast.JoinedStr(values):
            for value in values:
                yield from _parts(value)
        case ast.BinOp(left, ast.Add(), right):
            yield from (*_parts(left), *_parts(right))
        case ast.FormattedValue(value):
            yield value
        case _:
            yield node


def _name_of(node: ast.AST) -> str:
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name.lower().strip("_")
        case ast.Call(_, [*_, last]) if not isinstance(last, ast.GeneratorExp):
            return _name_of(last)
        case ast.Subscript(value):
            return _name_of(value)
        case _:
            return "value"


def on_pages() -> Iterator[str | tuple[str, str]]:
    """What the dashboard's templates and its script say."""
    yield from sentences()
    for file in sorted((FOLDER / "templates").iterdir()):
        parsed = templates().parse(file.read_text("utf-8"))
        for _line, _name, texts in extract_from_ast(parsed, ("_", "plural"), babel_style=False):
            assert isinstance(texts, tuple)
            one, *more = [str(text) for text in texts if text is not None]
            yield (one, more[0]) if more else one


def _helps(command: Any) -> Iterator[str]:
    """What a command's help shows, and those of the commands below it."""
    yield from paragraphs(command)
    yield from (one.help for one in command.params if is_shown(one))
    for below in getattr(command, "commands", {}).values():
        if not below.hidden:
            yield from _helps(below)


def template() -> bytes:
    """The catalogue that translations are made of."""
    return _po(_catalog())


def retold_list() -> bytes:
    """What `retold` reads."""
    return json.dumps(retold_templates(), ensure_ascii=False, indent=0).encode() + b"\n"


def translated(file: Path) -> tuple[bytes, bytes]:
    """A language's `.po`, brought up to what is said now, and its `.mo`."""
    known = read_po(io.BytesIO(file.read_bytes()), locale=file.parts[-3])
    catalog = _catalog(file.parts[-3])
    for message in catalog:
        if message.id and (found := known.get(message.id, message.context)):
            message.string = found.string
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    return _po(catalog), compiled.getvalue()


def translations() -> list[Path]:
    """The `.po` of each language."""
    return sorted(LOCALE.glob("*/LC_MESSAGES/relay.po"))


def _catalog(language: str | None = None) -> Catalog:
    catalog = Catalog(language, "relay", HEADER, "Relay", creation_date=DATE)
    if language is not None:
        catalog.mime_headers = [*HEADERS[language].items()]
    catalog.revision_date, catalog.fuzzy = DATE, False
    catalog.add(",", context="between thousands")
    for message in sorted(messages(), key=lambda one: one if isinstance(one, str) else one[0]):
        catalog.add(message)
    return catalog


def _po(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_po(out, catalog, width=100, no_location=True)
    return UNSAID.sub(b"", out.getvalue())


def main() -> None:
    """Write what has changed."""
    TEMPLATE.write_bytes(template())
    TEMPLATES.write_bytes(retold_list())
    for file in translations():
        po, mo = translated(file)
        file.write_bytes(po)
        file.with_suffix(".mo").write_bytes(mo)
        missing = po.count(b'\nmsgstr ""\n\n') + po.count(b'\nmsgstr[0] ""\n')
        sys.stdout.write(f"{file.parts[-3]}: {missing} sentences are not translated\n")


if __name__ == "__main__":
    main()
