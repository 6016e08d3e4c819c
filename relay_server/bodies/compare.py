"""How two bodies differ, by path. Pure.

Objects are compared name by name, lists whose items have ids by these, other lists by position.
What any two webhooks differ in (times, ids, signatures) is *expected*: counted, and shown if asked
for.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import cast

import msgspec

from relay_server.bodies.tree import (
    MASK,
    Json,
    Kind,
    Object,
    children,
    is_masked,
    is_opened,
    kind_of,
    step,
    text_of,
    walk,
)
from relay_server.filters.facts import is_secret

MAX_NODES = 20_000  # values of a body; a larger one is not compared by its values
MAX_DIFFERENCES = 1_000  # shown of a comparison
MAX_SHOWN_CHARS = 500  # of a value that differs
MAX_GIST = 6  # values of an object or list that differs as a whole, which are shown of it

EXPECTED = re.compile(r"(?:^|_)(?:id|at|timestamp|signature|uuid)$|^last_\w+_at$", re.IGNORECASE)

_MISSING = cast(Json, object())


class Change(enum.StrEnum):
    """How a value differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    TYPE = "type"  # it is of another kind
    MOVED = "moved"  # an item of a list, known by its id


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value that differs.

    Attributes:
        path: JSON pointer, in the second body; in the first where it was removed.
        expected: Any two webhooks differ in it.
        a, b: What it is in each, as it came, cut to 500 characters; of objects and lists the
            first six values in them, of which one that holds more is `{…}` or `[…]`.
    """

    path: str
    change: Change
    expected: bool = False
    a: str = ""
    b: str = ""


def is_comparable(value: Json) -> bool:
    """Whether a body is small enough, and flat enough, to be compared by its values."""
    nodes = list(islice(walk(value), MAX_NODES + 1))
    return len(nodes) <= MAX_NODES and all(
        not node.size or node.secret or is_opened(node) for node in nodes
    )


def differences(a: Json, b: Json) -> Iterator[Difference]:
    """Each value that differs, in the order of the second body, removed ones last of their own."""
    return _below("", "", a, b)


def _below(path: str, name: str, a: Json, b: Json) -> Iterator[Difference]:
    if kind_of(a) != kind_of(b):
        yield Difference(path, Change.TYPE, _is_expected(name), _shown(name, a), _shown(name, b))
    elif isinstance(a, list | Object) and not is_secret(name):
        yield from _inside(path, a, b)
    elif not _are_equal(a, b):
        yield Difference(path, Change.CHANGED, _is_expected(name), _shown(name, a), _shown(name, b))


def _are_equal(a: Json, b: Json) -> bool:
    try:
        return a == b
    except RecursionError:  # what is a secret may be nested deeper than what is shown
        return False


def _inside(path: str, a: Json, b: Json) -> Iterator[Difference]:
    for name, one, other, moved in _matched(a, b):
        below = path + step(name)
        if moved:
            yield Difference(below, Change.MOVED, a=moved, b=name)
        if one is _MISSING or other is _MISSING:
            yield _one_sided(below, name, one, other)
        else:
            yield from _below(below, name, one, other)


def _matched(a: Json, b: Json) -> Iterator[tuple[str, Json, Json, str]]:
    """Name, both values, and of an item that moved its former index; what one lacks is missing."""
    before, after = _by_id(a), _by_id(b)
    if before is None or after is None:
        yield from _by_name(a, b)
        return
    assert isinstance(a, list)
    assert isinstance(b, list)
    for id_, index in after.items():
        if id_ not in before:
            yield str(index), _MISSING, b[index], ""
            continue
        moved = "" if before[id_] == index else str(before[id_])
        yield str(index), a[before[id_]], b[index], moved
    for id_, index in before.items():
        if id_ not in after:
            yield str(index), a[index], _MISSING, ""


def _by_name(a: Json, b: Json) -> Iterator[tuple[str, Json, Json, str]]:
    """By name or index; of doubled names the first with the first."""
    before, after = defaultdict[str, list[Json]](list), defaultdict[str, list[Json]](list)
    for values, of in ((before, a), (after, b)):
        for name, value in children(of):
            values[name].append(value)
    for name in dict.fromkeys((*after, *before)):
        pairs = zip_longest(before[name], after[name], fillvalue=_MISSING)
        for one, other in pairs:
            yield name, one, other, ""


def _by_id(items: Json) -> dict[str, int] | None:
    """Where the item of each id is; None unless it is a list of objects with ids of their own."""
    if not isinstance(items, list):
        return None
    found = dict[str, int]()
    for index, item in enumerate(items):
        pairs = item.pairs if isinstance(item, Object) else []
        id_ = next((text_of(value) for name, value in pairs if name == "id"), "")
        if not id_ or id_ in found:
            return None
        found[id_] = index
    return found


def _one_sided(path: str, name: str, a: Json, b: Json) -> Difference:
    expected = _is_expected(name)
    if a is _MISSING:
        return Difference(path, Change.ADDED, expected, b=_shown(name, b))
    return Difference(path, Change.REMOVED, expected, a=_shown(name, a))


def _is_expected(name: str) -> bool:
    return EXPECTED.search(name) is not None


def _shown(name: str, value: Json) -> str:
    if is_secret(name) and is_masked(value):
        return MASK
    if kind_of(value) not in (Kind.OBJECT, Kind.LIST):
        return text_of(value)[:MAX_SHOWN_CHARS]
    gist = list(islice(children(value), MAX_GIST + 1))
    said = [_named(value, *each) for each in gist[:MAX_GIST]] + ["…"] * (len(gist) > MAX_GIST)
    return _enclosed(value, ", ".join(said)[:MAX_SHOWN_CHARS])


def _named(of: Json, name: str, value: Json) -> str:
    """A value of an object or list, in short."""
    if is_secret(name) and is_masked(value):
        text = MASK
    elif kind_of(value) in (Kind.OBJECT, Kind.LIST):
        text = _enclosed(value, "…" if any(True for _ in children(value)) else "")
    else:
        text = f'"{text_of(value)}"' if kind_of(value) is Kind.STRING else text_of(value)
    return f"{name}: {text}" if kind_of(of) is Kind.OBJECT else text


def _enclosed(value: Json, text: str) -> str:
    return f"{{{text}}}" if kind_of(value) is Kind.OBJECT else f"[{text}]"
