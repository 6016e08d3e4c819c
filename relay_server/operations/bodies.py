"""What an event's body holds, as a tree, and how two of them differ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from itertools import islice
from typing import NamedTuple

import msgspec

from relay_server.bodies.compare import (
    MAX_DIFFERENCES,
    Difference,
    differences,
    is_comparable,
)
from relay_server.bodies.hidden import clean_body
from relay_server.bodies.inflating import MAX_INFLATED_BYTES, inflated
from relay_server.bodies.masking import masked, masked_event
from relay_server.bodies.tree import MASK, BadJson, Json, Node, at, is_doubled, parse, walk
from relay_server.errors import InvalidValue
from relay_server.filters.secrets import masked_text
from relay_server.operations import Caller
from relay_server.operations.audit import audited
from relay_server.operations.events import Download, check_kept, look_up
from relay_server.values import UNKEPT, Channel, Event

MAX_TREE_BYTES = 1_048_576  # of a body that is shown as a tree or compared; a larger one is not
NODES = 2_000  # of a tree in one answer; `next` leads to the rest
MAX_SECRET_CHARS = 4_096  # of a secret that is shown
MAX_LINES_CHARS = 131_072  # of all that differs line by line; the rest is left out
MAX_LINE_CHARS = 16_384  # of a line of it; the rest is left out
MAX_LINES = 1_000  # of each of two bodies that are compared line by line; more are cut


class TreePage(msgspec.Struct):
    """Which part of a body: what a JSON pointer leads to, from its so-and-so-many-th value on."""

    path: str = ""
    first: int = 0


class Tree(msgspec.Struct, kw_only=True):
    """Values of a body in their order; numbers as they came, secrets masked.

    Attributes:
        nodes: At most 2,000.
        next: `first` for the rest; null at the end.
        problem: Why there is no tree; empty if there is one.
        line, column: Where the body stops being JSON, from 1; 0 where that is not why.
        compressed: It came compressed, and is shown as it was before.
    """

    nodes: list[Node] = []
    next: int | None = None
    problem: str = ""
    line: int = 0
    column: int = 0
    compressed: bool = False


class Readable(NamedTuple):
    """A body as people read it, without what its channel masks.

    Attributes:
        compressed: It came compressed; this is what it was before.
    """

    body: bytes
    compressed: bool


class ComparePage(msgspec.Struct):
    """Which events are compared.

    Attributes:
        a, b: Their ids.
        ignore: JSON pointers, with commas between them: what is below them does not count.
        expected: Show also what any two webhooks differ in.
    """

    a: str = ""
    b: str = ""
    ignore: str = ""
    expected: bool = False


class Comparison(msgspec.Struct, kw_only=True):
    """How the bodies of two events differ.

    Attributes:
        equal: `bytes`, or `json` where only spaces or the order of names differ; else empty.
        differences: At most 1,000.
        expected: How many differences any two webhooks have; left out unless asked for.
        truncated: There are more.
        lines: What differs line by line, where one is no JSON or too large; as `diff -u` writes it.
    """

    equal: str = ""
    differences: list[Difference] = []
    expected: int = 0
    truncated: bool = False
    lines: list[str] = []


async def show_tree(who: Caller, id_: str, page: TreePage) -> Tree:
    """An event's body as a tree in which everything is as it came."""
    channel, event = await look_up(who, id_)
    if not event.kept:
        return Tree(problem=UNKEPT)
    # In a thread: a body of 1 MiB takes tens of milliseconds, in which nobody would be answered.
    return await asyncio.to_thread(_tree, channel, event, page)


async def readable_body(who: Caller, id_: str) -> Readable:
    """An event's body as it is shown."""
    channel, event = await look_up(who, id_)
    check_kept(event)
    return await asyncio.to_thread(_readable, channel, event)


async def body_to_keep(who: Caller, id_: str) -> Download:
    """An event's body for a file: as it came where it holds no secret, else with masks over them.

    What came compressed is then as it was before.
    """
    return await _download(who, id_, with_secrets=False)


@audited("secrets.show")
async def show_body(who: Caller, id_: str) -> Download:
    """An event's body with its secrets, but for what its channel masks.

    It is for administrators, and noted.
    """
    who.check_admin()
    return await _download(who, id_, with_secrets=True)


@audited("secrets.show")
async def show_secret(who: Caller, id_: str, path: str) -> str:
    """One value of a body that is masked since its name says that it is a secret.

    It is for administrators, and noted. What a channel's masks lead to nobody is shown.
    """
    who.check_admin()
    body = (await readable_body(who, id_)).body
    return await asyncio.to_thread(_secret, body, path)


async def compare(who: Caller, page: ComparePage) -> Comparison:
    """How two events differ, by the values of their bodies."""
    found = [await look_up(who, id_) for id_ in (page.a, page.b)]
    for _channel, event in found:
        check_kept(event)
    a, b = [(await asyncio.to_thread(_readable, *one)).body for one in found]
    ignored = tuple(f"{path}/" for path in page.ignore.split(",") if path)
    return await asyncio.to_thread(compared, a, b, ignored, expected=page.expected)


def _readable(channel: Channel, event: Event) -> Readable:
    body = inflated(event.body, event.head.request.headers, MAX_INFLATED_BYTES)
    shown = masked(event.body if body is None else body, channel.config.mask)
    return Readable(shown, body is not None)


async def _download(who: Caller, id_: str, *, with_secrets: bool) -> Download:
    def kept() -> bytes:
        body = masked_event(event, channel.config.mask).body
        return body if with_secrets else clean_body(body, event.head.request.headers)

    channel, event = await look_up(who, id_)
    check_kept(event)
    return Download(f"{event.head.id}.body", await asyncio.to_thread(kept))


def _tree(channel: Channel, event: Event, page: TreePage) -> Tree:
    body, compressed = _readable(channel, event)
    if len(body) > MAX_TREE_BYTES:
        return Tree(problem=f"it is larger than {MAX_TREE_BYTES} bytes", compressed=compressed)
    try:
        part = at(parse(body), page.path)
    except BadJson as exc:
        return Tree(problem=str(exc), line=exc.line, column=exc.column, compressed=compressed)
    except KeyError:
        raise InvalidValue(f"{page.path!r} leads to nothing in this body") from None
    found = list(islice(walk(part, page.path), page.first, page.first + NODES + 1))
    following = page.first + NODES if len(found) > NODES else None
    return Tree(nodes=found[:NODES], next=following, compressed=compressed)


def _secret(body: bytes, path: str) -> str:
    try:
        whole = parse(body[:MAX_TREE_BYTES])
        value = at(whole, path)
    except (BadJson, KeyError):
        raise InvalidValue(f"{path!r} leads to nothing in this body") from None
    if is_doubled(whole, path):
        raise InvalidValue(
            f"several fields of this body are called {path!r}, and nobody can tell which is meant:"
            " download it with its secrets"
        )
    inside = [node.text for node in walk(value) if node.text]
    return ", ".join(inside)[:MAX_SECRET_CHARS]


def compared(
    a: bytes, b: bytes, ignored: tuple[str, ...] = (), *, expected: bool = True
) -> Comparison:
    """How two bodies differ, secrets masked; what is below an ignored path does not count."""
    if a == b:
        return Comparison(equal="bytes")
    before, after = _values(a), _values(b)
    if before is None or after is None:
        return _by_lines(a, b)
    found = [d for d in differences(*before, *after) if not f"{d.path}/".startswith(ignored)]
    shown = [d for d in found if expected or not d.expected]
    return Comparison(
        equal="" if found or ignored else "json",
        differences=shown[:MAX_DIFFERENCES],
        expected=sum(d.expected for d in found),
        truncated=len(shown) > MAX_DIFFERENCES,
    )


def _values(body: bytes) -> tuple[Json] | None:
    """A body's value, which may be null; None where it is not compared by values."""
    if len(body) > MAX_TREE_BYTES:
        return None
    try:
        value = parse(body)
    except BadJson:
        return None
    return (value,) if is_comparable(value) else None


def _by_lines(a: bytes, b: bytes) -> Comparison:
    before, after = (
        masked_text(body[:MAX_TREE_BYTES].decode("utf-8", "replace"), MASK).splitlines()
        for body in (a, b)
    )
    truncated = max(len(before), len(after)) > MAX_LINES or max(len(a), len(b)) > MAX_TREE_BYTES
    lines = list(unified_diff(before[:MAX_LINES], after[:MAX_LINES], "a", "b", lineterm=""))
    shown = list(_cut(lines[:MAX_LINES]))
    return Comparison(lines=shown, truncated=truncated or shown != lines)


def _cut(lines: Iterable[str]) -> Iterator[str]:
    """As much of lines as a page can show: of each its beginning, so that both sides are seen."""
    left = MAX_LINES_CHARS
    for line in lines:
        if left > 0:
            yield line[: min(left, MAX_LINE_CHARS)]
        left -= min(len(line), MAX_LINE_CHARS)
