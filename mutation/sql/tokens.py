"""SQL cut into its tokens, and where the parts of a statement lie; nothing is written anew."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
    |(?P<text>x?'(?:[^']|'')*')
    |(?P<word>[A-Za-z_]\w*)
    |(?P<number>\d+)
    |(?P<parameter>\?\d*|:\w+)
    |(?P<sign><=|>=|<>|!=|==|\|\||->>|->|<<|>>|[-+*/%&|<>=(),.;])
    """,
    re.VERBOSE,
)
CLAUSES = frozenset(
    {"SELECT", "FROM", "WHERE", "ON", "SET", "VALUES", "GROUP", "HAVING", "ORDER", "LIMIT"}
    | {"RETURNING", "UNION", "JOIN", "LEFT"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL that means something.

    Attributes:
        kind: "text", "word", "number", "parameter" or "sign".
        text: A word is in capitals if it may be a keyword: `is_word` compares so.
        depth: In how many parentheses; they themselves lie outside.
    """

    kind: str
    text: str
    start: int
    end: int
    depth: int

    def is_word(self, *words: str) -> bool:
        """Whether this is one of these keywords."""
        return self.kind == "word" and self.text.upper() in words

    def is_sign(self, *signs: str) -> bool:
        """Whether this is one of these operators."""
        return self.kind == "sign" and self.text in signs


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement, without spaces and comments.

    Raises:
        ValueError: There is something that no SQL of ours has.
    """
    found, at, depth = [], 0, 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise ValueError(f"no SQL that is known here: {sql[at : at + 20]!r}")
        kind, at = str(match.lastgroup), match.end()
        depth -= match.group() == ")"
        if kind != "space":
            found.append(Token(kind, match.group(), match.start(), match.end(), depth))
        depth += match.group() == "("
    return found


def until(all_: Sequence[Token], start: int, *, commas: bool, junctions: bool = False) -> int:
    """The index behind an expression, or a list of them, that begins at an index.

    Args:
        all_: The statement.
        start: Where it begins.
        commas: Whether a comma ends it.
        junctions: Whether AND and OR end it; the AND of a BETWEEN never does.
    """
    depth, between = all_[start].depth if start < len(all_) else 0, False
    for index in range(start, len(all_)):
        token = all_[index]
        if token.depth < depth:
            return index
        if token.depth > depth:
            continue
        if token.is_word(*CLAUSES) or token.is_sign(";") or (commas and token.is_sign(",")):
            return index
        if token.is_word("AS") or (index > start and _conflict(all_, index)):
            return index
        if token.is_word("BETWEEN"):
            between = True
        elif between and token.is_word("AND"):
            between = False
        elif junctions and token.is_word("AND", "OR"):
            return index
    return len(all_)


def operands(all_: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Each part of a condition: first index, index behind it, and by which word it is joined."""
    for index, token in enumerate(all_):
        if token.is_word("WHERE", "ON") and not _conflict(all_, index):
            yield from _chain(all_, index + 1)
        elif token.is_sign("(") and index + 1 < len(all_):
            parts = list(_chain(all_, index + 1))
            if len(parts) > 1:
                yield from parts


def _chain(all_: Sequence[Token], start: int) -> Iterator[tuple[int, int, str]]:
    """The parts of one condition, with the word behind each, or before the last."""
    joint = "AND"
    while True:
        end = until(all_, start, commas=True, junctions=True)
        here = all_[end] if end < len(all_) else None
        if here is None or not here.is_word("AND", "OR"):
            yield start, end, joint
            return
        joint = here.text.upper()
        yield start, end, joint
        start = end + 1


def _conflict(all_: Sequence[Token], index: int) -> bool:
    """Whether this is the ON of an ON CONFLICT."""
    following = all_[index + 1] if index + 1 < len(all_) else None
    return all_[index].is_word("ON") and following is not None and following.is_word("CONFLICT")


def is_conflict(all_: Sequence[Token], index: int) -> bool:
    """Whether an ON CONFLICT begins here."""
    return _conflict(all_, index)
