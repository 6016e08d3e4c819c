"""Values of bodies that nobody is shown: what a channel's masks lead to. Pure.

A mask is a JSON pointer in which `*` stands for any one step, and `**` for any number of them. What
is delivered is never masked. A body that is no JSON has no fields, so nothing of it is masked; of
one that is too large to be looked at nothing is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec

from relay_server.bodies.tree import MASK, BadJson, Json, Number, Object, children, is_masked, parse
from relay_server.values import Event

MAX_BODY_BYTES = 1_048_576  # of a body that is masked value by value; a larger one is as a whole
ANY, ANY_NUMBER = "*", "**"

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
    except BadJson:
        return body
    except RecursionError:
        return f'"{MASK}"'.encode()


def masked_event(event: Event, masks: Sequence[str]) -> Event:
    """An event with its body as it is shown."""
    if not masks:
        return event
    return msgspec.structs.replace(event, body=masked(event.body, masks))


def _steps(mask: str) -> Steps:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in mask.split("/")[1:])


def _shown(value: Json, left: Iterable[Steps]) -> Json:
    """A value without what these lead to from here; itself where that is nothing."""
    open_ = set(left)
    # `**` stands for no step, too.
    open_ |= {steps[1:] for steps in open_ if steps and steps[0] == ANY_NUMBER}
    if () in open_:
        return MASK if is_masked(value) else value
    pairs, changed = list[tuple[str, Json]](), False
    for name, inner in children(value):
        shown = _shown(inner, _behind(open_, name))
        changed |= shown is not inner
        pairs.append((name, shown))
    if not changed:
        return value
    return Object(pairs) if isinstance(value, Object) else [shown for _, shown in pairs]


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
