"""A list's filter as menus, chips, and what its field offers. Pure.

The filter's text is the one truth. A menu is about one word of it: it says what that word asks for
now, and each of its choices leads to the text with another value. A chip is a term, and leads to
the text without it. Both are links, so that they work in a new tab and without a script. A field
offers whole texts, of which a browser shows those that go with what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from relay_server.filters.facts import Direction
from relay_server.filters.language import OUTCOMES, STATES, InvalidFilter, Typed, quoted, split
from relay_server.operations.seen import MAX_CHOICES, Choices
from relay_terminal.words import _

MOMENTS = ("after", "before")
NOTHING_SEEN = Choices([], {})


class Choice(NamedTuple):
    """Something to choose.

    Attributes:
        q: The filter that it leads to.
        chosen: The filter asks for it.
    """

    text: str
    q: str
    chosen: bool


class Menu(NamedTuple):
    """What one word of a filter may ask for.

    Attributes:
        text: What it asks for now.
        narrows: It asks for anything.
    """

    text: str
    narrows: bool
    choices: list[Choice]


class Chip(NamedTuple):
    """A term.

    Attributes:
        q: The filter without it.
    """

    text: str
    q: str


class Completion(NamedTuple):
    """A filter that a field offers, as a whole.

    Attributes:
        text: What its last value is called; empty where that says so itself.
    """

    q: str
    text: str


def menus_of(q: str, choices: Choices) -> list[Menu]:
    """The menus above a list: kinds, states, inboxes, times."""
    terms = _terms(q)
    kinds = {kind: kind for kind in choices.kinds}
    states = {
        "waiting": _("waiting"),
        "delivered": _("delivered"),
        "failed": _("failed"),
        "dead": _("dead"),
        "skipped": _("skipped"),
        "expired": _("expired"),
        "pinned": _("pinned"),
        "edited": _("edited"),
        "private": _("private note"),
    }
    times = {
        "15m": _("last 15 min"),
        "1h": _("last hour"),
        "24h": _("last 24 h"),
        "7d": _("last 7 days"),
    }
    return [
        _menu(terms, "kind", _("all kinds"), kinds),
        _menu(terms, "is", _("any state"), states),
        _menu(terms, "inbox", _("any inbox"), choices.inboxes),
        _menu(terms, "after", _("any time"), times, MOMENTS),
    ]


def completions_of(
    q: str, choices: Choices = NOTHING_SEEN, subscriptions: Iterable[str] = ()
) -> list[Completion]:
    """What a filter may go on with, by words that it does not have yet."""
    terms = _terms(q)
    asked = {one.word.lower() for one in terms if not one.minus}
    known: dict[str, Mapping[str, str]] = {
        "kind": dict.fromkeys(choices.kinds, ""),
        "is": dict.fromkeys((*OUTCOMES, *STATES), ""),
        "from": dict.fromkeys(map(str, Direction), ""),
        "inbox": choices.inboxes,
        "subscription": dict.fromkeys(subscriptions, ""),
        "status": {"5xx": "", "4xx": ""},
        "after": {"15m": "", "1h": "", "24h": "", "7d": ""},
    }
    return [
        Completion(_joined(terms, _term(word, value)), called if called != value else "")
        for word, values in known.items()
        if word not in asked
        for value, called in islice(values.items(), MAX_CHOICES)
    ]


def mine_of(q: str, name: str) -> Choice:
    """Whether a filter asks for what goes to one subscription alone; and the filter that does."""
    terms = _terms(q)
    is_chosen = any(_is(one, "subscription", name) for one in terms)
    others = [one for one in terms if one.minus or one.word.lower() != "subscription"]
    return Choice(
        name, _joined(others, "" if is_chosen else _term("subscription", name)), is_chosen
    )


def chips_of(q: str) -> list[Chip]:
    """A filter's terms."""
    terms = _terms(q)
    return [Chip(one.text, _joined(terms[:at] + terms[at + 1 :])) for at, one in enumerate(terms)]


def _menu(
    terms: list[Typed],
    word: str,
    every: str,
    known: Mapping[str, str],
    replaced: Iterable[str] = (),
) -> Menu:
    """That of a word.

    Args:
        terms: Of the filter.
        word: The one.
        every: What it says where nothing is asked for.
        known: What there is to choose from, and how it is called.
        replaced: Words whose terms a choice takes the place of, where it is not this one's alone.
    """
    words = {word, *replaced}
    own = [one for one in terms if not one.minus and one.word.lower() in words]
    others = [one for one in terms if one not in own]
    asked = next((v for v in known if len(own) == 1 and _is(own[0], word, v)), None)
    text = every
    if own:
        text = known[asked] if asked is not None else ", ".join(one.value for one in own)
    return Menu(
        text,
        bool(own),
        [
            Choice(every, _joined(others), not own),
            *(
                Choice(called, _joined(others, _term(word, value)), value == asked)
                for value, called in known.items()
            ),
        ],
    )


def _terms(q: str) -> list[Typed]:
    """A filter's terms; none of one that cannot be read: whatever is chosen takes its place."""
    try:
        return list(split(q))
    except InvalidFilter:
        return []


def _is(term: Typed, word: str, value: str) -> bool:
    is_word = not term.minus and term.word.lower() == word
    return is_word and term.value.replace('"', "").lower() == value.lower()


def _term(word: str, value: str) -> str:
    """A value as it stands in a filter, with quotes where it has to have them."""
    is_plain = value.isascii() and all(char.isalnum() or char in "_.-" for char in value)
    return f"{word}:{value}" if is_plain else quoted(word, value)


def _joined(terms: Iterable[Typed], added: str = "") -> str:
    return " ".join(filter(None, (*(one.text for one in terms), added)))
