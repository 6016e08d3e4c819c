"""A JSON body as a tree in which everything is as it came. Pure.

`json.loads` alone would lie: of doubled names it keeps one, and numbers beyond 2^53, the ids of
WhatsApp and Telegram, change in whatever shows them next. Here numbers stay the text that came, and
objects are pairs in their order.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from relay_server.filters.facts import is_secret

MAX_DEPTH = 200  # of a tree; what lies deeper is not shown
MAX_PATH_CHARS = 1_000  # of what is opened: all that it holds has its path again
MASK = "•••"

# Half of a character, which no answer can hold: what is behind its backslash; of others nothing.
_HALF = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class Object:
    """Names and values in their order, doubled ones too."""

    pairs: list[tuple[str, Json]]


Json: TypeAlias = "bool | str | Number | list[Json] | Object | None"


class Kind(enum.StrEnum):
    """What a value is."""

    OBJECT = "object"
    LIST = "list"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"


class BadJson(Exception):
    """A body that is no JSON.

    Attributes:
        line, column: Where it stops being some, from 1.
    """

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(problem)
        self.line, self.column = line, column


class TooDeep(BadJson):
    """A body that may be JSON, of more levels than can be read."""


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value of a tree.

    Attributes:
        path: JSON pointer (RFC 6901); doubled names have the same.
        depth: From 0, the whole body.
        text: Of a value that is neither object nor list, as it came.
        size: How many values an object or list has directly.
        secret: It is masked, and so is what it holds: by a name on its path it is a secret.
    """

    path: str
    depth: int
    name: str
    kind: Kind
    text: str = ""
    size: int = 0
    secret: bool = False


def parse(body: bytes) -> Json:
    """Read a body.

    Raises:
        BadJson: It is none.
        TooDeep: It has more levels than can be read.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadJson(f"byte {exc.start} is no UTF-8") from exc
    # Shown as it was written, backslash and all.
    text = _HALF.sub(lambda found: f"\\{found[0]}" if found["half"] else found[0], text)
    try:
        value: Json = json.loads(
            text, object_pairs_hook=Object, parse_int=Number, parse_float=Number, parse_constant=_no
        )
    except json.JSONDecodeError as exc:
        raise BadJson(exc.msg, exc.lineno, exc.colno) from exc
    except RecursionError as exc:
        raise TooDeep("it is nested too deep") from exc
    return value


def _no(constant: str) -> Json:
    raise BadJson(f"{constant} is no JSON")


def kind_of(value: Json) -> Kind:
    match value:
        case Object():
            return Kind.OBJECT
        case list():
            return Kind.LIST
        case Number():
            return Kind.NUMBER
        case str():
            return Kind.STRING
        case bool():
            return Kind.BOOLEAN
        case None:
            return Kind.NULL


def text_of(value: Json) -> str:
    """A value as it was written, strings without their quotes; empty for objects and lists."""
    match value:
        case str():
            return value
        case Number(text):
            return text
        case bool() | None:
            return json.dumps(value)
        case _:
            return ""


def is_masked(value: Json) -> bool:
    """Whether a value is not to be shown if it is a secret: whether there is one says no more."""
    return value != "" and not isinstance(value, bool | None)


def step(name: str | int) -> str:
    """A step of a path below a value."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def children(value: Json) -> Iterator[tuple[str, Json]]:
    """The values of an object or list with their names; nothing of anything else."""
    match value:
        case Object(pairs):
            yield from pairs
        case list():
            for index, inner in enumerate(value):
                yield str(index), inner
        case _:
            pass


def at(value: Json, path: str) -> Json:
    """The value that a JSON pointer leads to; of doubled names the first.

    Raises:
        KeyError: There is none.
    """
    if path and not path.startswith("/"):
        raise KeyError(path)
    for part in path.split("/")[1:]:
        wanted = part.replace("~1", "/").replace("~0", "~")
        for name, inner in children(value):
            if name == wanted:
                value = inner
                break
        else:
            raise KeyError(path)
    return value


def is_doubled(value: Json, path: str) -> bool:
    """Whether a JSON pointer leads to several values, as a name on its way is there twice."""
    names = path.split("/")
    for depth, name in enumerate(names[1:], start=1):
        above = at(value, "/".join(names[:depth]))
        if sum(step(one) == f"/{name}" for one, _inner in children(above)) > 1:
            return True
    return False


def walk(value: Json, path: str = "") -> Iterator[Node]:
    """A value at a path, and all that it holds, in the order of the text."""
    names = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    secret = any(map(is_secret, names))
    node = _node(path, 0, names[-1], value, secret=secret)
    yield node
    stack = [(path, children(value))] if is_opened(node) else []
    while stack:
        path, rest = stack[-1]
        for name, inner in rest:
            below = path + step(name)
            node = _node(below, len(stack), name, inner, secret=is_secret(name))
            yield node
            if node.size and is_opened(node):
                stack.append((below, children(inner)))
                break
        else:
            stack.pop()


def is_opened(node: Node) -> bool:
    """Whether what an object or list holds is shown, too."""
    return node.depth < MAX_DEPTH and len(node.path) <= MAX_PATH_CHARS and not node.secret


def _node(path: str, depth: int, name: str, value: Json, *, secret: bool) -> Node:
    secret = secret and is_masked(value)
    text, size = MASK if secret else text_of(value), 0
    if isinstance(value, list | Object):
        size = len(value if isinstance(value, list) else value.pairs)
    return Node(path, depth, name, kind_of(value), text, size, secret)
