"""A filter as SQL over the index, and what of it the index does not know. Pure.

An event has a row in `words` (FTS5), with three columns: `text`, the folded words of its body;
`name`, those of its contact's name; and `tags`, one token for each fact that a filter can ask for,
such as `from:customer`. All of them are found by the same inverted index, in order of position, so
that terms are intersected without a look at any row. What is compared by size is in `facts`.

The tokenizer is FTS5's `ascii`. What is not ASCII comes folded already (`filters.facts.text_of`),
and of ASCII it makes the words that `fold` makes. So the index finds what `Filter.matches` finds,
whatever Unicode SQLite knows of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from relay_server.filters.document import Document
from relay_server.filters.facts import fold
from relay_server.filters.language import TEXT, Filter, Term, Value

# A tag is one token: what would end it is a character of the private use area instead.
_IN_TOKEN = {n: chr(0xE000 + n) for n in range(128) if not chr(n).isalnum()}
_COLON = _IN_TOKEN[ord(":")]
_TAGGED = ("kind", "conv", "inbox", "from", "is")

Kinds = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Query:
    """A filter, as the index can be asked.

    Attributes:
        wanted: What `words` must match, as FTS5 writes it; empty for anything.
        unwanted: What it must not.
        conditions: SQL about a row `f` of `facts`, with the values for its question marks.
        rest: Terms that are left to be asked of each event.
        prefixes: Words of which only the beginning is given are in it: FTS5 merges all that begin
            so before it gives the first row, which may take seconds.
    """

    wanted: str
    unwanted: str
    conditions: tuple[tuple[str, int | str], ...]
    rest: Filter
    prefixes: bool


def tags(document: Document) -> str:
    """The facts of an event, each as one token."""
    event, facts = document.event, document.facts
    found = [
        _tag("kind", event.head.kind),
        _tag("inbox", facts.inbox),
        _tag("from", facts.direction),
        _tag("contact", facts.contact),
        _tag("conv", facts.conversation),
        _tag("conv", event.head.key),
    ]
    if (whole := f"{facts.account}/{facts.conversation}") != event.head.key:
        found.append(_tag("conv", whole))
    if facts.private:
        found.append(_tag("is", "private"))
    if event.repeat_of is not None:
        found.append(_tag("is", "repeat"))
    if event.conflict:
        found.append(_tag("is", "conflict"))
    return " ".join(found)


def translate(asked: Filter, kinds: Kinds, *, prefixes: bool = True) -> Query:
    """Say how the index is asked for a filter; terms that need an outcome are passed over."""
    wanted, unwanted = list[str](), list[str]()
    conditions, rest = list[tuple[str, int | str]](), list[Term]()
    by_prefix = False
    for term in asked.terms:
        if term.needs_outcome:
            continue
        if (condition := _condition(term)) is not None:
            conditions.append(condition)
            continue
        begins = term.word in (TEXT, "contact") and any(value.prefix for value in term.values)
        clauses = None if begins and not prefixes else _clauses(term, kinds)
        if clauses is None:
            rest.append(term)
            continue
        by_prefix = by_prefix or begins
        (unwanted if term.negated else wanted).append(_any(clauses))
    return Query(
        " AND ".join(wanted),
        " OR ".join(unwanted),
        tuple(conditions),
        Filter(asked.text, tuple(rest)),
        by_prefix,
    )


def _condition(term: Term) -> tuple[str, int | str] | None:
    """What `facts` can answer by comparing."""
    negation = "NOT " if term.negated else ""
    match term.word:
        case "before":
            return f"{negation}f.received_at < ?", term.number
        case "after":
            return f"{negation}f.received_at >= ?", term.number
        case "larger":
            return f"{negation}f.size >= ?", term.number
        case "id" if len(term.values) == 1:
            end = term.values[0].text
            return f"{negation}substr(f.id, -{len(end)}) = ?", end
        case _:
            return None


def _clauses(term: Term, kinds: Kinds) -> list[str] | None:
    """What any one of must match; None where the index cannot say."""
    match term.word:
        case "text":
            return [_phrase("text", value) for value in term.values]
        case "contact" if all(value.text for value in term.values):
            return [clause for value in term.values for clause in _contact(value)]
        case "is" if any(value.text == "damaged" for value in term.values):
            return None  # that shows when it is read
        case word if word in _TAGGED:
            return _tagged(word, term.values, kinds)
        case _:
            return None


def _tagged(word: str, values: Sequence[Value], kinds: Kinds) -> list[str] | None:
    names = list[str]()
    for value in values:
        found = [value.text] if not value.prefix else kinds(value.text) if word == "kind" else None
        if found is None:
            return None
        names += found
    return [_token(_tag(word, name)) for name in names]


def _contact(value: Value) -> Iterator[str]:
    yield _token(_tag("contact", value.text))
    if value.text == fold(value.text):  # else it is no name's words
        yield _phrase("name", value)


def _any(clauses: Sequence[str]) -> str:
    # No event has this tag.
    return f"({' OR '.join(clauses or [_token(_tag('none', ''))])})"


def _phrase(column: str, value: Value) -> str:
    return f"{column} : {_quoted(value.text)}{' *' if value.prefix else ''}"


def _token(tag: str) -> str:
    return f"tags : {_quoted(tag)}"


def _quoted(text: str) -> str:
    """A foreign text as FTS5 takes it for nothing but a text."""
    return '"' + text.replace('"', '""') + '"'


@functools.lru_cache(1_024)
def _tag(word: str, value: str) -> str:
    token = value.lower()
    return word + _COLON + (token if token.isalnum() else token.translate(_IN_TOKEN))
