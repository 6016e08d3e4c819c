"""Where the store's SQL lies: each statement with its file, its line and its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import apsw.ext

from mutation.sql.mutants import Mutant, mutants

STORE = Path("relay_server/store/sqlite")
NAMED = ("queries.sql", "checks.sql")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the store.

    Attributes:
        file: From the root of the tree on.
        name: What the code calls it; empty for a part of a migration.
        offset: Where it begins in the file, in characters.
    """

    file: Path
    name: str
    offset: int
    sql: str


@dataclass(frozen=True, slots=True)
class Case:
    """A statement with a slip in it.

    Attributes:
        line: Of the slip, from 1.
    """

    statement: Statement
    line: int
    mutant: Mutant

    @property
    def asked_for(self) -> str:
        """How somebody asks for the slips of its statement."""
        return self.statement.name or self.statement.file.stem

    @property
    def place(self) -> str:
        """How somebody asks for the slips at one place of it, or of the whole migration."""
        before = 0 if self.statement.name else self.statement.offset
        return f"{self.asked_for}@{before + self.mutant.offset}"

    @property
    def key(self) -> str:
        """What says which slip this is, and stays so when other statements change."""
        return f"{self.place}: {self.mutant.what}"


def statements(root: Path) -> Iterator[Statement]:
    """Every statement below a tree's root."""
    for name in NAMED:
        yield from _named(root, STORE / name)
    for file in sorted((root / STORE / "migrations").glob("*.sql")):
        yield from _script(root, file.relative_to(root))


def cases(root: Path) -> list[Case]:
    """Every slip that SQLite takes, of every statement."""
    found = []
    with _schema(root) as connection:
        for statement in statements(root):
            text = (root / statement.file).read_text("utf-8")
            for mutant in mutants(statement.sql):
                if _taken(connection, root, statement, mutant.sql):
                    at = statement.offset + mutant.offset
                    found.append(Case(statement, text.count("\n", 0, at) + 1, mutant))
    return found


def changed(root: Path, case: Case) -> str:
    """The file of a case, as it is with the slip."""
    statement = case.statement
    text = (root / statement.file).read_text("utf-8")
    end = statement.offset + len(statement.sql)
    return text[: statement.offset] + case.mutant.sql + text[end:]


def _named(root: Path, file: Path) -> Iterator[Statement]:
    text = (root / file).read_text("utf-8")
    for match in re.finditer(r"^-- name: (\w+)\n((?:(?!^-- name: ).*\n?)*)", text, re.MULTILINE):
        yield Statement(file, match[1], match.start(2), match[2].rstrip())


def _script(root: Path, file: Path) -> Iterator[Statement]:
    text = (root / file).read_text("utf-8")
    for match in re.finditer(r"(?:--[^\n]*\n|[^;-]|-(?!-))+;", text):
        skipped = len(match[0]) - len(match[0].lstrip())
        yield Statement(file, "", match.start() + skipped, match[0].lstrip())


def _schema(root: Path) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for script in sorted((root / STORE / "migrations").glob("*.sql")):
        connection.execute(script.read_text("utf-8"))
    return connection


def _taken(connection: apsw.Connection, root: Path, statement: Statement, sql: str) -> bool:
    """Whether SQLite understands a statement; a migration is tried on a database of its own."""
    try:
        if statement.name:
            apsw.ext.query_info(connection, sql)
            return True
        return _migrates(root, statement, sql)
    except apsw.SQLError:
        return False


def _migrates(root: Path, statement: Statement, sql: str) -> bool:
    with apsw.Connection(":memory:") as connection:
        for script in sorted((root / STORE / "migrations").glob("*.sql")):
            text = script.read_text("utf-8")
            if script == root / statement.file:
                end = statement.offset + len(statement.sql)
                text = text[: statement.offset] + sql + text[end:]
            connection.execute(text)
    return True
