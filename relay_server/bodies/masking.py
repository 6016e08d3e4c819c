"""Values of bodies that nobody is shown: what a channel's masks lead to. Pure.

A mask is a JSON pointer in which `*` stands for any one step, and `**` for any number of them. What
is delivered is never masked. A body that is no JSON has no fields, so nothing of it is masked; of
one that is too large or too deep to be looked at nothing is shown. Who edits a masked body sends
what was masked as it was.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from relay_server.bodies.inflating import MAX_INFLATED_BYTES, inflated
from relay_server.bodies.tree import (
    MASK,
    BadJson,
    Json,
    Number,
    Object,
    TooDeep,
    children,
    is_masked,
    parse,
)
from relay_server.errors import InvalidValue
from relay_server.values import Event

MAX_BODY_BYTES = 1_048_576  # of a body that is masked value by value; a larger one is as a whole
ANY, ANY_NUMBER = "*", "**"
UNKNOWN = "nobody can tell what a ••• stood for, as what is around it was changed: write the value"

Steps = tuple[str, ...]


def masked(body: bytes, masks: Sequence[str]) -> bytes:
    """A body as it is shown; the same where no mask leads to anything."""
    if not masks or not body:
        return body
    if len(body) > MAX_BODY_BYTES:
        return f'"{MASK}"'.encode()
    try:
        value = parse(body)
        shown = _shown(value, {_steps(mask) for mask in masks})
        return body if shown is value else _text(shown).encode()
    except (TooDeep, RecursionError):
        return f'"{MASK}"'.encode()
    except BadJson:
        return body


def unmasked(body: bytes, was: bytes, masks: Sequence[str]) -> bytes:
    """A body that was shown masked and perhaps changed, with its masked values of before.

    What still says `•••` where a mask leads is as it was; where nothing was changed, so is
    every byte. What is too large to be looked at is sent as it is.

    Raises:
        InvalidValue: Something says `•••` of which nobody can tell what it was.
    """
    if not masks or not was:
        return body
    if body == (shown := masked(was, masks)):
        return was
    if max(len(body), len(was)) > MAX_BODY_BYTES:
        return body
    try:
        value = parse(body)
        before = _Before(parse(was), parse(shown))
        meant = _restored(value, before, {_steps(mask) for mask in masks})
        return body if meant is value else _text(meant).encode()
    except (BadJson, RecursionError):
        return body


def masked_event(event: Event, masks: Sequence[str]) -> Event:
    """An event with its body as it is shown: compressed no more where anything of it is masked."""
    if not masks:
        return event
    body, headers = event.body, event.head.request.headers
    plain = inflated(body, headers, MAX_INFLATED_BYTES)
    if plain is None:
        return msgspec.structs.replace(event, body=masked(body, masks))
    shown = masked(plain, masks)
    return event if shown == plain else msgspec.structs.replace(event, body=shown)


def _steps(mask: str) -> Steps:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in mask.split("/")[1:])


def _shown(value: Json, left: Iterable[Steps]) -> Json:
    """A value without what these lead to from here; itself where that is nothing."""
    open_ = _open(left)
    if () in open_:
        return MASK if is_masked(value) else value
    return _with(value, [_shown(inner, _behind(open_, name)) for name, inner in children(value)])


class _Before(NamedTuple):
    """What a value was, and how it was shown."""

    was: Json
    shown: Json


_NOTHING = _Before(None, None)


def _restored(value: Json, before: _Before, left: Iterable[Steps]) -> Json:
    """A value with what was shown masked in it as it was; itself where that is nothing."""
    if value == before.shown:
        return value if before.was == before.shown else before.was
    open_ = _open(left)
    if () in open_:
        if value == MASK:
            raise InvalidValue(UNKNOWN)
        return value
    inside = [
        _restored(inner, one, _behind(open_, name))
        for (name, inner), one in zip(children(value), _beside(value, before), strict=True)
    ]
    return _with(value, inside)


def _beside(value: Json, before: _Before) -> Sequence[_Before]:
    """What each value inside was."""
    known = map(_Before, _inside(before.was), _inside(before.shown))
    if isinstance(value, list) and isinstance(before.was, list):
        return _elements(value, list(known))
    by_name = defaultdict[str, deque[_Before]](deque)  # doubled names, too
    for (name, _), one in zip(children(before.was), known, strict=True):
        by_name[name].append(one)
    return [by_name[n].popleft() if by_name[n] else _NOTHING for n, _ in children(value)]


def _elements(value: Sequence[Json], known: Sequence[_Before]) -> Sequence[_Before]:
    """What each element was: first those that were not changed, wherever they are now.

    Those that are left go in their order, if there are as many on both sides.
    """
    same = defaultdict[str, deque[int]](deque)
    for index, one in enumerate(known):
        same[_text(one.shown)].append(index)
    forms = [_text(inner) for inner in value]
    for form, number in Counter(forms).items():
        olds = [known[index].was for index in same[form]]
        if olds and number != len(olds) and any(was != olds[0] for was in olds):
            raise InvalidValue(UNKNOWN)  # which of them is gone?
    taken = [same[form].popleft() if same[form] else None for form in forms]
    rest = sorted(index for left in same.values() for index in left)
    others = iter(rest if len(rest) == taken.count(None) else ())
    places = [next(others, None) if index is None else index for index in taken]
    return [_NOTHING if index is None else known[index] for index in places]


def _inside(value: Json) -> Iterator[Json]:
    return (inner for _, inner in children(value))


def _open(left: Iterable[Steps]) -> set[Steps]:
    """With those that lead on from here as well: `**` stands for no step, too."""
    steps = set(left)
    return steps | {one[1:] for one in steps if one and one[0] == ANY_NUMBER}


def _with(value: Json, inside: Sequence[Json]) -> Json:
    """A value with others inside; itself if they are the same ones."""
    pairs = list(children(value))
    if all(new is old for new, (_, old) in zip(inside, pairs, strict=True)):
        return value
    if isinstance(value, Object):
        return Object([(name, new) for new, (name, _) in zip(inside, pairs, strict=True)])
    return list(inside)


def _behind(steps: Iterable[Steps], name: str) -> Iterable[Steps]:
    for one in steps:
        if one[0] == ANY_NUMBER:
            yield one
        elif one[0] in (ANY, name):
            yield one[1:]


def _text(value: Json) -> str:
    match value:
        case Object(pairs):
            return "{" + ",".join(f"{_quoted(name)}:{_text(v)}" for name, v in pairs) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
        case Number(text):
            return text
        case str():
            return _quoted(value)
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
