"""The language of filters: words, what they mean, and what is said of a filter that cannot be.

    kind:message_* from:customer -is:private "bom dia" after:2h

Terms stand side by side, and all must hold. A term is a *word* with a value behind its colon, or
plain text, which is looked for in the body; `-` before it negates it. Of values with commas between
them any one will do, `*` at a value's end stands for whatever follows, quotes keep spaces, commas
and colons together.

Parsing makes each term a test of a `Document`, cheap ones first: a filter on a subscription is
asked for every event of its channel. Terms that need an outcome (`OUTCOMES`) are not asked here:
what became of a delivery only the store knows.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from relay_protocol.limits import MAX_UNIX_MS
from relay_protocol.times import parse_moment, rfc3339
from relay_server.channels import follow
from relay_server.errors import InvalidValue
from relay_server.filters.document import Document
from relay_server.filters.facts import Direction, fold

MAX_FILTER_CHARS = 500  # of a filter
MAX_TERMS = 16  # of a filter
MAX_VALUES = 32  # of a term, with commas between them; of a time or a size one
MAX_TEXT_TERMS = 8  # plain words and phrases of a filter
MIN_ID = 4  # characters of an event's id
MIN_PREFIX = 3  # letters before a `*` in plain text: shorter ones stand for half of all words

TEXT = "text"  # the word of plain text
KNOWN = {
    "kind": "the sender's name for what happened, such as message_created",
    "conv": "a Chatwoot conversation's number, with or without its account's (2/318), or order key",
    "contact": "a contact's number, or words of the name",
    "inbox": "an inbox's number",
    "from": "customer, bot, agent or system",
    "is": "private, repeat, conflict, damaged or edited; waiting, delivered, failed, dead, skipped,"
    " expired, pinned",
    "status": "of the target's last answer: 503, or 5xx",
    "subscription": "the subscription that `is` and `status` are about, by name",
    "before": "received before a time (2026-07-02T14:00:00Z), a day (2026-07-02), or so long ago",
    "after": "received at or after it",
    "larger": "bytes that the body has at least: 20000, 20k, 1M",
    "id": "an event's id, or its end",
    "method": "of the request",
    "path": "of the request, without the query",
    "header.NAME": "a field of the request's head",
    "json.a.b.0": "a text, whole number, true or false in the body, by names and indexes to it",
}
STATES = ("private", "repeat", "conflict", "damaged", "edited")  # known when an event is stored
OUTCOMES = ("waiting", "delivered", "failed", "dead", "skipped", "expired", "pinned")

_TERM = re.compile(r'(-?)(?:([A-Za-z]+(?:\.[^\s:"]+)?):)?((?:"[^"]*"?|[^\s"])*)\s*')
_VALUE = re.compile(r'((?:"[^"]*"|[^,"])*)(?:,|$)')
_SIZE = re.compile(r"([0-9]{1,12})([kKmM]?)")
_STATUS = re.compile(r"[1-5](?:[0-9]{2}|[xX]{2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNIT = {"": 1, "k": 1_000, "m": 1_000_000}


class InvalidFilter(InvalidValue, code="invalid_filter"):
    """A filter that cannot be; its text says what would be."""

    hint = 'A filter is words and values: kind:message_* from:customer "bom dia" -is:private.'


class Typed(NamedTuple):
    """A term as somebody typed it; without a word, text that is looked for."""

    minus: str
    word: str
    value: str

    @property
    def text(self) -> str:
        """The whole of it."""
        return f"{self.minus}{self.word}:{self.value}" if self.word else f"{self.minus}{self.value}"


class Value(NamedTuple):
    """One of the values of a term.

    Attributes:
        text: As it is compared: lower case; of plain text folded words; of times and sizes a
            number; of a JSON path and a header as typed, in lower case.
        prefix: It is only the beginning of what is meant.
    """

    text: str
    prefix: bool = False

    def fits(self, found: str) -> bool:
        """Whether something that was found is what is meant."""
        found = found.lower()
        return found.startswith(self.text) if self.prefix else found == self.text


@dataclass(frozen=True, slots=True)
class Term:
    """What must hold of an event, or must not.

    Attributes:
        word: One of `KNOWN`, with its name or path; or `TEXT`.
        values: Any one of these.
        negated: None of these.
    """

    word: str
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def needs_outcome(self) -> bool:
        """Whether only deliveries can answer it."""
        if self.word == "is":
            return self.values[0].text in OUTCOMES  # all of them, or none
        return self.word in ("status", "subscription")

    @property
    def number(self) -> int:
        """The value of `before` and `after`, in Unix milliseconds, or of `larger`, in bytes."""
        return int(self.values[0].text)

    def matches(self, document: Document) -> bool:
        """Whether it holds; for terms that need no outcome."""
        test = _TESTS.get(self.word) or _TESTS[f"{self.word.partition('.')[0]}."]
        return any(test(self, value, document) for value in self.values) is not self.negated


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are meant.

    Attributes:
        text: As typed; times that are spans back, as the moments that they meant.
        terms: All of them hold; cheap ones first. None: every event is meant.
    """

    text: str = ""
    terms: tuple[Term, ...] = ()

    @property
    def needs_outcome(self) -> bool:
        """Whether some of it only deliveries can answer."""
        return any(term.needs_outcome for term in self.terms)

    def matches(self, document: Document) -> bool:
        """Whether an event is meant, by all that is known when it is stored."""
        return all(term.needs_outcome or term.matches(document) for term in self.terms)


EVERYTHING = Filter()


def parse(text: str, now_ms: int) -> Filter:
    """Read a filter, at a time in Unix milliseconds: from that `after:2h` counts back.

    Raises:
        InvalidFilter: It cannot be.
    """
    _check_length(text)
    terms, typed = list[Term](), list[str]()
    for one in split(text):
        term = _term(one.word, one.value, bool(one.minus), now_ms)
        terms.append(term)
        moment = term.word in ("before", "after")
        typed.append((one._replace(value=rfc3339(term.number)) if moment else one).text)
    if len(terms) > MAX_TERMS:
        raise InvalidFilter(f"a filter has up to {MAX_TERMS} terms, not {len(terms)}")
    if sum(term.word == TEXT for term in terms) > MAX_TEXT_TERMS:
        raise InvalidFilter(f"a filter looks for up to {MAX_TEXT_TERMS} words and phrases")
    terms.sort(key=lambda term: _COSTS.get(term.word.partition(".")[0], 0))
    whole = " ".join(typed)
    _check_length(whole)  # spans back became moments, which are longer: it is to be read again
    return Filter(whole, tuple(terms))


def quoted(word: str, value: str) -> str:
    """A term for a value that is meant as it is; without a word, a phrase to look for."""
    plain = value.replace('"', " ")
    return f'{word}:"{plain}"' if word else f'"{plain}"'


@functools.lru_cache(256)
def stored(text: str) -> Filter:
    """A filter that was read and stored before: its times are moments."""
    return parse(text, 0)


def check_standing(text: str, now_ms: int) -> str:
    """Return a filter for a subscription, or a replay, as it is to be stored.

    Raises:
        InvalidFilter: It cannot be, or needs what nobody knows when an event is stored.
    """
    parsed = parse(text, now_ms)
    for term in parsed.terms:
        if term.needs_outcome:
            raise InvalidFilter(
                f"`{term.word}:{term.values[0].text}` depends on what becomes of a delivery:"
                " here only what is known once an event is stored can be asked"
            )
    return parsed.text


def _check_length(text: str) -> None:
    if len(text) > MAX_FILTER_CHARS:
        raise InvalidFilter(f"a filter has up to {MAX_FILTER_CHARS} characters, times written out")


def split(text: str) -> Iterator[Typed]:
    """The terms of a filter, as typed.

    Raises:
        InvalidFilter: A quote is not closed, or a word or sign has nothing behind it.
    """
    if text.count('"') % 2:
        raise InvalidFilter('a quote is opened and not closed: "like this"')
    at, text = 0, text.strip()
    while at < len(text):
        found = _TERM.match(text, at)
        assert found is not None, "it may match nothing, but always matches"
        minus, word, value = found.group(1), found.group(2) or "", found.group(3)
        at = found.end()
        if word and value.startswith("//"):  # https://…
            word, value = "", f"{word}:{value}"
        if not value:
            what = f"behind `{word}:`" if word else "behind `-`"
            raise InvalidFilter(f"there is nothing {what}")
        yield Typed(minus, word, value)


def _term(word: str, value: str, negated: bool, now_ms: int) -> Term:
    if not word:
        return Term(TEXT, (_words(value),), negated)
    name, dot, path = word.partition(".")
    name = name.lower()
    if name in ("header", "json"):
        if not path:
            raise InvalidFilter(f"`{name}` goes with a name: {name}.NAME:value")
        word = f"{name}.{path.lower() if name == 'header' else path}"
    elif dot or name not in KNOWN:
        raise InvalidFilter(_unknown(word))
    else:
        word = name
    given = [found.group(1) for found in _VALUE.finditer(value) if found.group(1)]
    if word in ("before", "after", "larger") and len(given) != 1:
        raise InvalidFilter(f"`{word}:` takes one value")
    if not 0 < len(given) <= MAX_VALUES:
        raise InvalidFilter(f"`{word}:` takes 1 to {MAX_VALUES} values, with commas between them")
    values = tuple(_value(word, one, now_ms) for one in given)
    if word == "is" and len({value.text in OUTCOMES for value in values}) > 1:
        raise InvalidFilter(f"`is:{value}` mixes what an event is with what became of it")
    return Term(word, values, negated)


def _value(word: str, given: str, now_ms: int) -> Value:
    text, prefix = _unquoted(given), given.endswith("*")
    plain = text.removesuffix("*") if prefix else text
    match word:
        case "before" | "after":
            return Value(str(_moment(word, text, now_ms)))
        case "larger":
            return Value(str(_size(text)))
        case "is":
            return Value(_one_of("is", text, STATES + OUTCOMES))
        case "from":
            return Value(_one_of("from", text, tuple(Direction)))
        case "status" if not _STATUS.fullmatch(text):
            raise InvalidFilter(f"`status:{text}` is no status: 503, or 5xx for all of its kind")
        case "contact":
            return Value(fold(plain) or plain.lower(), prefix)
        case "id" if prefix or len(text) < MIN_ID:
            raise InvalidFilter(
                f"`id:{text}` is no id: all of it, or {MIN_ID} characters of its end or more"
            )
    return Value(plain.lower(), prefix)


def _words(given: str) -> Value:
    """Plain text, as it is looked for in a document's words."""
    prefix = given.endswith("*")
    words = fold(_unquoted(given))
    if not words:
        raise InvalidFilter(f"`{given}` has no letter or digit that could be looked for")
    if prefix and len(words) < MIN_PREFIX:
        raise InvalidFilter(f"`{given}` is too short: at least {MIN_PREFIX} letters before `*`")
    return Value(words, prefix)


def _unquoted(text: str) -> str:
    return text.replace('"', "")


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word.lower(), [w for w in KNOWN if "." not in w], 1)
    meant = f"; did you mean `{near[0]}:`?" if near else f"; there are {', '.join(KNOWN)}."
    return f'`{word}:` is no word of a filter{meant} Text with a colon goes in quotes: "{word}:…"'


def _one_of(word: str, text: str, known: tuple[str, ...]) -> str:
    if text.lower() in known:
        return text.lower()
    near = difflib.get_close_matches(text.lower(), known, 1)
    meant = f"did you mean `{word}:{near[0]}`?" if near else f"there are {', '.join(known)}"
    raise InvalidFilter(f"`{word}:{text}` is unknown; {meant}")


def _moment(word: str, text: str, now_ms: int) -> int:
    try:
        moment = parse_moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text, now_ms)
        if moment is not None and moment > MAX_UNIX_MS:
            raise ValueError("it has a year of five digits")
    except ValueError as exc:
        raise InvalidFilter(
            f"`{word}:{text}` is no time: a day such as 2026-07-02, a time with its zone such as"
            " 2026-07-02T14:00:00Z, or a span back such as 2h"
        ) from exc
    return now_ms if moment is None else moment


def _size(text: str) -> int:
    if not (size := _SIZE.fullmatch(text)):
        raise InvalidFilter(f"`larger:{text}` is no size: bytes, or such as 20k or 1M")
    return int(size[1]) * _UNIT[size[2].lower()]


# The tests. Each is given the term, one of its values, and the document.


def _is(_term: Term, value: Value, document: Document) -> bool:
    event = document.event
    match value.text:
        case "private":
            return document.facts.private
        case "repeat":
            return event.repeat_of is not None
        case "conflict":
            return event.conflict
        case "edited":
            return event.edited
        case _:
            return event.damaged


def _text(_term: Term, value: Value, document: Document) -> bool:
    end = "" if value.prefix else " "
    return f" {value.text}{end}" in f" {document.words} "


def _conversation(_term: Term, value: Value, document: Document) -> bool:
    facts, key = document.facts, document.event.head.key
    return any(map(value.fits, (facts.conversation, f"{facts.account}/{facts.conversation}", key)))


def _contact(_term: Term, value: Value, document: Document) -> bool:
    facts = document.facts
    if facts.contact == value.text:
        return True
    end = "" if value.prefix else " "
    return f" {value.text}{end}" in f" {fold(facts.name)} "


def _header(term: Term, value: Value, document: Document) -> bool:
    name = term.word.partition(".")[2].encode()
    headers = document.event.head.request.headers
    return any(value.fits(v.decode("utf-8", "replace")) for n, v in headers if n.lower() == name)


def _json(term: Term, value: Value, document: Document) -> bool:
    steps = term.word.partition(".")[2].replace("~", "~0").replace("/", "~1")
    try:
        found = follow(document.event.body, "/" + steps.replace(".", "/"))
    except (ValueError, RecursionError):
        return False  # no JSON
    return bool(found) and value.fits(found)


_TESTS: dict[str, Callable[[Term, Value, Document], bool]] = {
    TEXT: _text,
    "kind": lambda _t, value, document: value.fits(document.event.head.kind),
    "conv": _conversation,
    "contact": _contact,
    "inbox": lambda _t, value, document: value.fits(document.facts.inbox),
    "from": lambda _t, value, document: value.fits(document.facts.direction),
    "is": _is,
    "before": lambda term, _v, document: document.event.head.received_at < term.number,
    "after": lambda term, _v, document: document.event.head.received_at >= term.number,
    "larger": lambda term, _v, document: len(document.event.body) >= term.number,
    "id": lambda _t, value, document: document.event.head.id.lower().endswith(value.text),
    "method": lambda _t, value, document: value.fits(document.event.head.request.method),
    "path": lambda _t, value, document: value.fits(
        document.event.head.request.request_target.partition("?")[0]
    ),
    "header.": _header,
    "json.": _json,
}
# What parses a body comes last.
_COSTS = {TEXT: 3, "from": 2, "contact": 2, "inbox": 2, "conv": 2, "is": 2, "json": 1, "header": 1}
