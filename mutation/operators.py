"""How code is changed: cosmic-ray's operators that tell something, and those that it lacks.

Own ones have the two methods that cosmic-ray calls: `mutation_positions(node)` and
`mutate(node, index)`, over parso's tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import parso
from cosmic_ray.plugins import get_operator

# Of the eleven others for each `+` and the nine for each `<`, those that tests could take for it.
_COMPARISONS = (
    ("Lt", "LtE"),
    ("Lt", "GtE"),
    ("LtE", "Lt"),
    ("LtE", "Gt"),
    ("Gt", "GtE"),
    ("Gt", "LtE"),
    ("GtE", "Gt"),
    ("GtE", "Lt"),
    ("Eq", "NotEq"),
    ("NotEq", "Eq"),
    ("Is", "IsNot"),
    ("IsNot", "Is"),
)
_ARITHMETIC = (
    ("Add", "Sub"),
    ("Sub", "Add"),
    ("Mul", "Div"),
    ("Div", "Mul"),
    ("FloorDiv", "Mul"),
    ("Mod", "Mul"),
    ("Pow", "Mul"),
    ("BitOr", "BitAnd"),
    ("BitAnd", "BitOr"),
)
_CORE = (
    "AddNot",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
    "ZeroIterationForLoop",
)
_SWAPS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "popleft": "pop",
    "appendleft": "append",
}


class Number:
    """cosmic-ray's one up, one down, without losing the line break before the number."""

    def __init__(self) -> None:
        self._core = get_operator("core/NumberReplacer")()

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        yield from self._core.mutation_positions(node)

    def mutate(self, node: Any, index: int) -> Any:
        changed = self._core.mutate(node, index)
        changed.prefix, changed.value = node.prefix, changed.value.strip()
        return changed


class RemoveStatement:
    """A call, a change of something's attribute, a raise, a return … does not happen."""

    _KINDS = frozenset(
        {"expr_stmt", "atom_expr", "del_stmt", "raise_stmt", "return_stmt", "yield_expr", "await"}
    )

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        is_statement = node.type == "simple_stmt"
        if is_statement and self._matters(node.children[0]) and not self._is_said_anyway(node):
            yield node.start_pos, node.end_pos

    def _is_said_anyway(self, node: Any) -> bool:
        """A function that ends returns None."""
        block = node.parent
        is_last = getattr(block.parent, "type", "") == "funcdef" and block.children[-1] is node
        return bool(is_last and node.children[0].get_code().strip() == "return None")

    def _matters(self, statement: Any) -> bool:
        if parso.python.tree.search_ancestor(statement, "funcdef") is None:
            return bool(statement.type == "atom_expr")
        if statement.type != "expr_stmt":
            return str(statement.type) in self._KINDS
        target = statement.children[0]  # a plain name that is missing later tells nothing
        return bool(target.type != "name" or getattr(statement.children[1], "value", "=") != "=")

    def mutate(self, node: Any, index: int) -> Any:
        return _parsed(node, node.get_first_leaf().prefix + "pass\n")


class NegateGuard:
    """`if not` in comprehensions and in case clauses, which parso takes for an error."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        yield from (self._span(node) for _ in range(self._at(node) is not None))

    def _at(self, node: Any) -> int | None:
        children = getattr(node, "children", [])
        if node.type == "comp_if":
            return 1
        if node.type != "error_node":
            return None
        words = [getattr(child, "value", "") for child in children]
        return words.index("if") + 1 if "if" in words[1:-1] else None

    def _span(self, node: Any) -> Any:
        return node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        at = self._at(node)
        assert at is not None
        guard = node.children[at]
        node.children[at] = _parsed(node, f" not ({guard.get_code().strip()})")
        return node


class InOrNot:
    """`in` for `not in`, and the other way round."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        alone = node.type == "keyword" and node.value == "in" and node.parent.type == "comparison"
        if alone or (node.type == "comp_op" and node.children[-1].value == "in"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return _parsed(node, " in" if node.type == "comp_op" else " not in")


class Swap:
    """The other one of a pair of names, such as min and max."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "name" and node.value in _SWAPS and not _is_defined(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = _SWAPS[node.value]
        return node


class OtherException:
    """One of the exceptions of an except clause is not caught; cosmic-ray's knows no dots."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "except_clause":
            yield from ((name.start_pos, name.end_pos) for name in self._names(node))

    def _names(self, node: Any) -> list[Any]:
        what = node.children[1]
        inside = what.children[1] if what.type == "atom" else what
        return inside.children[::2] if inside.type == "testlist_comp" else [inside]

    def mutate(self, node: Any, index: int) -> Any:
        name = self._names(node)[index]
        siblings = name.parent.children
        siblings[siblings.index(name)] = _parsed(
            name, f"{name.get_first_leaf().prefix}GeneratorExit"
        )
        return node


class OtherName:
    """Another string: what machines read, that is, those without a blank, but no docstring."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "string" and " " not in node.value and not self._is_prose(node):
            yield node.start_pos, node.end_pos

    def _is_prose(self, node: Any) -> bool:
        around = node.parent
        if around.type == "strings":  # that stand side by side
            return " " in "".join(part.value for part in around.children if part.type == "string")
        return bool(around.type == "simple_stmt")

    def mutate(self, node: Any, index: int) -> Any:
        node.value = f"{node.value[:-1]}_other{node.value[-1]}"
        return node


class NoOperand:
    """One side of an `and` or an `or` alone."""

    _KINDS = frozenset({"and_test", "or_test"})

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type in self._KINDS:
            for _ in node.children[::2]:
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        kept = [c for i, c in enumerate(node.children) if i not in (2 * index, 2 * index - 1)]
        if index == 0:
            kept = kept[1:]
            _set_prefix(kept[0], node.get_first_leaf().prefix)
        node.children = kept
        return node


_OWN = (
    InOrNot,
    NegateGuard,
    NoOperand,
    Number,
    OtherException,
    OtherName,
    RemoveStatement,
    Swap,
)

OPERATORS: dict[str, Any] = {
    **{name: get_operator(f"core/{name}")() for name in _CORE},
    **{
        f"{kind}_{old}_{new}": get_operator(f"core/{kind}_{old}_{new}")()
        for kind, pairs in (
            ("ReplaceComparisonOperator", _COMPARISONS),
            ("ReplaceBinaryOperator", _ARITHMETIC),
        )
        for old, new in pairs
    },
    **{own.__name__: own() for own in _OWN},
}


def _parsed(old: Any, code: str) -> Any:
    new = parso.parse(code)
    new.parent = old.parent
    return new


def _set_prefix(node: Any, prefix: str) -> None:
    node.get_first_leaf().prefix = prefix


def _is_defined(name: Any) -> bool:
    return name.parent.type in {"funcdef", "param", "import_from", "argument"} and (
        name.parent.type != "argument" or name.parent.children[0] is name
    )
