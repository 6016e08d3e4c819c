"""What can be wrong with a statement: each mutant is one small slip."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mutation.sql.tokens import Token, is_conflict, operands, tokens, until

SIGNS = {
    "<": ("<=",),
    "<=": ("<",),
    ">": (">=",),
    ">=": (">",),
    "=": ("<>",),
    "<>": ("=",),
    "+": ("-",),
    "-": ("+",),
}
WORDS = {
    "AND": "OR",
    "OR": "AND",
    "ASC": "DESC",
    "DESC": "ASC",
    "MIN": "max",
    "MAX": "min",
    "LEFT": "",
    "DISTINCT": "",
    "ALL": "",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A statement with a slip.

    Attributes:
        offset: Where the slip is, in characters of the statement.
        what: The slip, in a few words.
        sql: The whole statement with it.
    """

    offset: int
    what: str
    sql: str


Slip = tuple[int, int, str]  # from, to, what stands there instead
Source = Callable[[str, Sequence[Token]], Iterator[Slip]]


def mutants(sql: str) -> list[Mutant]:
    """Every slip in a statement, whether SQLite would take it or not, each once."""
    all_, found = tokens(sql), dict[str, Mutant]()
    for source in SOURCES:
        for start, end, text in source(sql, all_):
            changed = sql[:start] + text + sql[end:]
            old = " ".join(sql[start:end].split())
            what = f"{old or 'nothing'} → {' '.join(text.split()) or 'nothing'}"
            if changed != sql:
                found.setdefault(changed, Mutant(start, what, changed))
    return sorted(found.values(), key=lambda mutant: mutant.offset)


def _signs(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """Comparisons and sums the other way."""
    for token in all_:
        if token.kind == "sign":
            for other in SIGNS.get(token.text, ()):
                yield token.start, token.end, other


def _words(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """Keywords that have an opposite, or can be left out."""
    between = dict[int, bool]()
    for token in all_:
        if token.is_word("BETWEEN"):
            between[token.depth] = True
        elif token.is_word("AND") and between.pop(token.depth, False):
            continue
        elif token.kind == "word" and token.text.upper() in WORDS:
            yield token.start, token.end, WORDS[token.text.upper()]


def _negations(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """NOT where there is none, and none where it is."""
    for before, token in itertools.pairwise(all_):
        if token.is_word("NOT"):
            yield token.start, token.end, ""
        elif before.is_word("IS") or (
            token.is_word("IN", "EXISTS", "BETWEEN") and not before.is_word("NOT")
        ):
            yield token.start, token.start, "NOT "


def _numbers(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """One more, and one less; the 1 of a SELECT 1 means nothing."""
    for before, token in itertools.pairwise(all_):
        if token.kind == "number" and not before.is_word("SELECT"):
            yield token.start, token.end, str(int(token.text) + 1)
            yield token.start, token.end, f"({int(token.text) - 1})"


def _parts(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """A part of a condition that says nothing; its parameters stay, so that all have a place."""
    for first, end, joint in operands(all_):
        start, stop = all_[first].start, all_[end - 1].end
        neutral = 0 if joint == "OR" else 1
        yield start, stop, f"iif(1, {neutral}, {sql[start:stop]})"


def _orders(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """No order, or the other."""
    for index, token in enumerate(all_):
        if token.is_word("ORDER"):
            end = until(all_, index + 2, commas=False)
            yield token.start, all_[end - 1].end, ""
            last = all_[until(all_, index + 2, commas=True) - 1]
            if not last.is_word("ASC", "DESC"):
                yield last.end, last.end, " DESC"


def _limits(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """No limit, and one less."""
    for index, token in enumerate(all_):
        if token.is_word("LIMIT"):
            limit = all_[index + 1]
            yield limit.start, limit.end, f"iif(1, -1, {limit.text})"
            yield limit.start, limit.end, f"{limit.text} - 1"


def _counts(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """Nothing counted."""
    for index, token in enumerate(all_):
        if token.is_word("COUNT"):
            yield token.start, all_[index + 3].end, "(0 * count(*))"


def _inserts(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """What happens to a row that is there already."""
    for index, token in enumerate(all_):
        if token.is_word("INSERT") and all_[index + 1].is_word("OR"):
            yield token.start, all_[index + 2].end, "INSERT"
        elif token.is_word("INSERT"):
            yield token.start, token.end, "INSERT OR IGNORE"
        if is_conflict(all_, index):
            end = all_[-2 if all_[-1].is_sign(";") else -1].end
            yield token.start, end, ""
            yield token.start, end, "ON CONFLICT DO NOTHING"


def _assignments(sql: str, all_: Sequence[Token]) -> Iterator[Slip]:
    """A column that keeps its value."""
    for index, token in enumerate(all_):
        first = index + 1
        while token.is_word("SET") and first + 1 < len(all_) and all_[first + 1].is_sign("="):
            end = until(all_, first, commas=True)
            name, start, stop = all_[first].text, all_[first + 2].start, all_[end - 1].end
            yield start, stop, f"iif(1, {name}, {sql[start:stop]})"
            first = end + 1 if end < len(all_) and all_[end].is_sign(",") else len(all_)


SOURCES: tuple[Source, ...] = (
    _signs,
    _words,
    _negations,
    _numbers,
    _parts,
    _orders,
    _limits,
    _counts,
    _inserts,
    _assignments,
)
