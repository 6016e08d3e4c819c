"""Taking a bound out of the code: whoever used the constant uses a limit that nothing meets.

The constant itself keeps its value: tests take it to build what lies just above it, or put a small
one in its place; the code must look at neither.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("relay_protocol", "relay_http", "relay_server", "relay_client")


@dataclass(frozen=True, slots=True)
class Bound:
    """A constant at the top of a module.

    Attributes:
        file: The module, from the root of the tree on.
    """

    file: str
    name: str

    @property
    def module(self) -> str:
        """Its module, as imports write it."""
        return self.file.removesuffix(".py").replace("/", ".")


@dataclass(frozen=True, slots=True)
class Edit:
    """A place in a file to be written otherwise, where that removes what no constant says.

    Attributes:
        old: It must be there, once.
    """

    file: str
    old: str
    new: str


def removed(root: Path, bound: Bound, value: str) -> dict[Path, str]:
    """The modules that use a bound, with another expression in its place.

    Raises:
        LookupError: Nothing uses it.
    """
    changed = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_text("utf-8")
            if bound.name in source and (new := _without(source, path, root, bound, value)):
                changed[path] = new
    if not changed:
        raise LookupError(f"nothing uses {bound.file} {bound.name}")
    return changed


def edited(root: Path, edits: list[Edit]) -> dict[Path, str]:
    """The files of some edits, as they are after them.

    Raises:
        LookupError: What is to be replaced is not there, or more than once.
    """
    changed: dict[Path, str] = {}
    for edit in edits:
        path = root / edit.file
        source = changed.get(path) or path.read_text("utf-8")
        if source.count(edit.old) != 1:
            raise LookupError(
                f"{edit.file} has {edit.old!r} {source.count(edit.old)} times, not once"
            )
        changed[path] = source.replace(edit.old, edit.new)
    return changed


def _without(source: str, path: Path, root: Path, bound: Bound, value: str) -> str | None:
    tree = ast.parse(source)
    here = path.relative_to(root).as_posix() == bound.file
    names = {bound.name} if here else set(_imported_as(tree, bound))
    uses = [use for use in _uses(tree) if _means(use, names, bound, tree)]
    if not uses:
        return None
    lines = source.encode().splitlines(keepends=True)
    for use in sorted(uses, key=lambda use: (use.lineno, use.col_offset), reverse=True):
        line = lines[use.lineno - 1]
        end = use.end_col_offset or 0
        lines[use.lineno - 1] = b"%s(%s)%s" % (line[: use.col_offset], value.encode(), line[end:])
    return b"".join(lines).decode()


def _uses(tree: ast.Module) -> Iterator[ast.Name | ast.Attribute]:
    """Everything that is read by a name, but not within a text: a message bounds nothing."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.JoinedStr():
                continue
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                yield node
            case _:
                pass
        waiting.extend(ast.iter_child_nodes(node))


def _means(use: ast.Name | ast.Attribute, names: set[str], bound: Bound, tree: ast.Module) -> bool:
    match use:
        case ast.Name(name):
            return name in names
        case ast.Attribute(ast.Name(module), bound.name):
            return module in _modules(tree, bound)
        case _:
            return False


def _imported_as(tree: ast.Module, bound: Bound) -> Iterator[str]:
    """What a module calls a constant of another."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == bound.module:
            for alias in node.names:
                if alias.name == bound.name:
                    yield alias.asname or alias.name


def _modules(tree: ast.Module, bound: Bound) -> Iterator[str]:
    """What a module calls the one with the constant."""
    package, _, name = bound.module.rpartition(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            for alias in node.names:
                if alias.name == name:
                    yield alias.asname or alias.name
