"""Secrets of a body, by the names of its fields: masked where people read it, put back behind them.

A mask is written over a value in the text itself, so that nothing else of the text changes. Where
somebody who edits it leaves a mask, what it stood for is sent: of fields of one name in their
order, as long as there are as many of them as before. So an edit may stop being JSON, too.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from relay_protocol.values import HeaderList
from relay_server.bodies.inflating import MAX_INFLATED_BYTES, inflated
from relay_server.bodies.masking import UNKNOWN
from relay_server.bodies.tree import MASK, is_masked
from relay_server.errors import InvalidValue
from relay_server.filters.facts import is_secret
from relay_server.filters.secrets import named_secrets

# Each string of a JSON text; it is the name of a field where a colon follows.
_STRING = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")(?P<colon>\s*:\s*)?')
# The end of a field's name, and its value if that is a mask; of what may be no JSON any more, too.
_FIELD = re.compile(rf'"\s*:\s*(?P<mask>"{MASK}")?')
_VALUE = json.JSONDecoder(parse_int=str, parse_float=str)


class Place(NamedTuple):
    """Where a secret stands in a text, and what is written over it."""

    start: int
    end: int
    mask: str


class Field(NamedTuple):
    """A field whose value may be masked.

    Attributes:
        name: Of one with quotes in it the end.
        mask: Where that stands; None for a value that is no mask.
    """

    name: str
    mask: tuple[int, int] | None


def body_without_secrets(body: bytes) -> bytes:
    """A body with fields of JSON, or of another text, masked that are secrets."""
    if (text := _text(body)) is None:
        return body
    return _masked(text, list(_places(text, of_json=is_json(body))))[0].encode()


def clean_body(body: bytes, headers: HeaderList) -> bytes:
    """A body for a file: as it came where it holds no secret, else masked, and not compressed.

    Raises:
        InvalidValue: It is too large to be looked through.
    """
    plain = inflated(body, headers, MAX_INFLATED_BYTES)
    if plain is not None and len(plain) == MAX_INFLATED_BYTES:
        raise InvalidValue(
            f"it has {MAX_INFLATED_BYTES} bytes or more before it is compressed, too many to be"
            " looked through for secrets: an administrator may have it with them"
        )
    readable = body if plain is None else plain
    clean = body_without_secrets(readable)
    return body if clean == readable else clean


def hidden_as(body: bytes, was: bytes) -> bytes:
    """A body made of another, as its maker sees it: masked is what it has of the other's secrets.

    Secrets of their own stay: nothing could put them back.
    """
    text, before = _text(body), _text(was)
    if text is None or before is None:
        return body
    old = {before[one.start : one.end] for one in _places(before, of_json=is_json(was))}
    found = _places(text, of_json=is_json(body))
    return _masked(text, [one for one in found if text[one.start : one.end] in old])[0].encode()


def with_secrets(body: bytes, was: bytes) -> bytes:
    """A body that was shown masked and perhaps changed, with the secrets of before.

    Raises:
        InvalidValue: Something is masked of which nobody can tell what it was.
    """
    text, before = _text(body), _text(was)
    if text is None or before is None or MASK not in text:
        return body
    of_json = is_json(was)
    places = list(_places(before, of_json=of_json))
    if not places:
        return body
    shown, secrets = _masked(before, places)
    fields = list(_fields(text, of_json=of_json))
    meant = _meant(fields, _known(_fields(shown, of_json=of_json), secrets), of_json=of_json)
    parts, at = list[str](), 0
    for (start, end), secret in meant:
        parts += text[at:start], secret
        at = end
    return "".join([*parts, text[at:]]).encode()


def _masked(text: str, places: Iterable[Place]) -> tuple[str, dict[int, str]]:
    """A text with masks, and what each of them stands for, by where it begins."""
    parts, at, length, secrets = list[str](), 0, 0, dict[int, str]()
    for start, end, mask in places:
        length += start - at
        secrets[length] = text[start:end]
        parts += text[at:start], mask
        length, at = length + len(mask), end
    return "".join([*parts, text[at:]]), secrets


def _known(fields: Iterable[Field], secrets: dict[int, str]) -> dict[str, list[str | None]]:
    """What the fields of each name held, in their order; None for what was no secret."""
    known = defaultdict[str, list[str | None]](list)
    for name, mask in fields:
        known[name].append(secrets.get(mask[0]) if mask else None)
    return known


def _meant(
    fields: Collection[Field], known: dict[str, list[str | None]], *, of_json: bool
) -> Iterator[tuple[tuple[int, int], str]]:
    """Each mask that is left, and what it stands for."""
    counts = defaultdict[str, int](int)
    for name, _mask in fields:
        counts[name] += 1
    seen = defaultdict[str, int](int)
    for name, mask in fields:
        at, old = seen[name], known.get(name, [])
        seen[name] += 1
        if mask is None or (of_json and not is_secret(name)):
            continue
        if counts[name] == len(old):
            secret = old[at]
        elif len(set(old)) == 1:
            secret = old[0]
        else:
            raise InvalidValue(UNKNOWN)
        if secret is not None:
            yield mask, secret


def _places(text: str, *, of_json: bool) -> Iterator[Place]:
    """The secrets of a text, whatever they hold."""
    if not of_json:
        for _name, (start, end) in named_secrets(text):
            yield Place(start, end, MASK)
        return
    at = 0
    for found in _STRING.finditer(text):
        if found.start() < at or not found["colon"] or not is_secret(json.loads(found["text"])):
            continue
        value, end = _value_at(text, found.end())
        if is_masked(value):
            yield Place(found.end(), end, f'"{MASK}"')
            at = end


def _fields(text: str, *, of_json: bool) -> Iterator[Field]:
    """The fields of a text whose values may be masked."""
    if not of_json:
        for name, (start, end) in named_secrets(text):
            yield Field(name, (start, end) if text[start:end] == MASK else None)
        return
    for found in _FIELD.finditer(text):
        name = text[text.rfind('"', 0, found.start()) + 1 : found.start()]
        yield Field(_unescaped(name), found.span("mask") if found["mask"] else None)


def _unescaped(name: str) -> str:
    if "\\" in name:
        with contextlib.suppress(ValueError):
            return str(json.loads(f'"{name}"'))
    return name


def is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _value_at(text: str, at: int) -> tuple[Any, int]:
    """A value in a JSON text, and where it ends; all that is left where it is nested too deep."""
    try:
        return _VALUE.raw_decode(text, at)
    except (ValueError, RecursionError):
        return text, len(text)


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
