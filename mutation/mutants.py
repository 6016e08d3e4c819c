"""All mutants of a module: one change each that compiles and says something else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from mutation.operators import OPERATORS

# What only mypy can see: assigning to a frozen value, or to an attribute that slots do not have.
_TYPED = frozenset({"frozen", "slots"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module.

    Attributes:
        module: Path from the root of the project.
        function: Its qualified name, or that of the class; empty at the top.
        operator: What changed the code, a name of `OPERATORS`.
        line: The code that was changed, its lines joined.
        becomes: What stands there instead.
        number: Of the first line.
        code: The whole changed module.
    """

    module: str
    function: str
    operator: str
    line: str
    becomes: str
    number: int
    code: str

    @property
    def name(self) -> tuple[str, str, str, str, str]:
        """What it is known by when the lines before it change."""
        return self.module, self.function, self.operator, self.line, self.becomes


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Make every mutant, each meaning once."""
    tree = ast.parse(source)
    seen = {_meaning(source)}
    for operator, number, code in _changes(source, _left_out(tree)):
        meaning = _meaning(code)
        if meaning is None or meaning in seen:
            continue
        seen.add(meaning)
        line, becomes = _changed(source, code)
        yield Mutant(module, _function(tree, number), operator, line, becomes, number, code)


def _changes(source: str, left_out: list[_Span]) -> Iterator[tuple[str, int, str]]:
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in OPERATORS.items():
        places = [(node, at) for node in nodes for at in operator.mutation_positions(node)]
        for occurrence, (node, (start, _)) in enumerate(places):
            if node.parent is not None and node.parent.type == "parameters":
                continue  # a star between parameters multiplies nothing
            if any(span.has(start) for span in left_out):
                continue
            code = mutate_code(source, operator, occurrence)
            if code is not None:
                yield name, start[0], code


@dataclass(frozen=True, slots=True)
class _Span:
    start: tuple[int, int]
    end: tuple[int, int]

    def has(self, place: tuple[int, int]) -> bool:
        return self.start <= place < self.end


def _left_out(tree: ast.AST) -> list[_Span]:
    """What is no behaviour: annotations, what is frozen or has slots (mypy sees it), asserts."""
    found: list[ast.expr | ast.stmt] = []
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(annotation=annotation, value=value):
                found.append(annotation)
                if ast.unparse(annotation) == "TypeAlias" and value is not None:
                    found.append(value)
            case ast.arg(annotation=ast.expr() as annotation):
                found.append(annotation)
            case ast.FunctionDef(returns=ast.expr() as annotation):
                found.append(annotation)
            case ast.AsyncFunctionDef(returns=ast.expr() as annotation):
                found.append(annotation)
            case ast.keyword(arg=name, value=value) if name in _TYPED:
                found.append(value)
            case ast.Call(func=ast.Name(id="TypeVar"), args=[ast.Constant() as named, *_]):
                found.append(named)
            case ast.Assert():
                found.append(node)
            case _:
                pass
    return [
        _Span((e.lineno, e.col_offset), (e.end_lineno or 0, e.end_col_offset or 0)) for e in found
    ]


def _meaning(code: str) -> str | None:
    """What tells two mutants apart; None of what is no Python."""
    try:
        compile(code, "<mutant>", "exec")
        return ast.dump(_PlainNots().visit(ast.parse(code)))
    except (SyntaxError, ValueError):
        return None


class _PlainNots(ast.NodeTransformer):
    """`not a < b` is `a >= b`."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(ast.Not(), ast.Compare(left, [op], [right])):
                return ast.Compare(left, [_OPPOSITES[type(op)]()], [right])
            case _:
                return node


_PAIRS: tuple[tuple[type[ast.cmpop], type[ast.cmpop]], ...] = (
    (ast.Lt, ast.GtE),
    (ast.Gt, ast.LtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
)
_OPPOSITES = dict(_PAIRS) | {new: old for old, new in _PAIRS}


def _changed(source: str, code: str) -> tuple[str, str]:
    """The lines that differ, joined, before and after."""
    old, new = source.splitlines(), code.splitlines()
    for end in (0, -1):
        while old and new and old[end] == new[end]:
            del old[end], new[end]
    return _joined(old), _joined(new)


def _joined(lines: list[str]) -> str:
    return " ".join(filter(None, (line.strip() for line in lines)))


def _function(tree: ast.Module, number: int) -> str:
    names: list[str] = []
    body: list[ast.stmt] = tree.body
    while True:
        around = next((s for s in body if s.lineno <= number <= (s.end_lineno or 0)), None)
        if not isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return ".".join(names)
        names.append(around.name)
        body = around.body
