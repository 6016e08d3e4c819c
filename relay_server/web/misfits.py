"""What does not fit in a request's JSON, in the words of who wrote it: `scopes[0]: must be …`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from relay_protocol.text import BOUNDS_WORDS, either

# msgspec names Python's types.
KINDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
KINDS |= {"array": "a list", "object": "an object", "bytes": "base64"}

# What msgspec says, and what we do; `kind` and `other` are put in in our words.
WORDS = BOUNDS_WORDS | {
    r"Expected `(?P<kind>[^`]+)`, got `(?P<other>[^`]+)`": "must be {kind}, not {other}",
    r"Expected `[^`]+` of length >= (?P<bound>\d+)": "must not be shorter than {bound}",
    r"Expected `[^`]+` of length <= (?P<bound>\d+)": "must not be longer than {bound}",
    r"Expected `[^`]+` of length (?P<bound>\d+).*": "must have {bound}",
    r"Object contains unknown field `(?P<name>.*)`": "there is no {name}",
    r"Object missing required field `(?P<name>.*)`": "{name} must be given",
}


def misfit(error: msgspec.ValidationError, fields: type[msgspec.Struct]) -> str:
    """Say what is wrong and where, and for a word of a few, which there are."""
    problem, _, path = str(error).partition(" - at `$")
    where = path.strip(".`")
    if problem.startswith("Invalid enum value ") and (words := _words_at(where, fields)):
        problem = f"must be {either(words)}, not {problem.removeprefix('Invalid enum value ')}"
    for msgspecs, ours in WORDS.items():
        if found := re.fullmatch(msgspecs, problem):
            problem = ours.format(
                **{name: _named(text) for name, text in found.groupdict().items()}
            )
            break
    return f"{where}: {problem}" if where else problem


def _named(kinds: str) -> str:
    return " or ".join(KINDS.get(kind, kind) for kind in kinds.split(" | "))


def _words_at(path: str, fields: type[msgspec.Struct]) -> list[str]:
    """The words that may be at a place of a request, where they are few."""
    kind: Any = msgspec.inspect.type_info(fields)
    for step in re.findall(r"\w+|\[[^]]*\]", path):
        kind = _plain(kind)
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next((one.type for one in kind.fields if one.encode_name == step), None)
        else:
            kind = getattr(kind, "item_type", None) or getattr(kind, "value_type", None)
    kind = _plain(kind)
    return (
        [str(one.value) for one in kind.cls] if isinstance(kind, msgspec.inspect.EnumType) else []
    )


def _plain(kind: Any) -> Any:
    """The type of what is there, of `Scope | None`."""
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind
    return next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
