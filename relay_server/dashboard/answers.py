"""Trees of JSON as pages show them; what a target answered, read as an event's body is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from relay_server.bodies.hidden import body_without_secrets
from relay_server.bodies.tree import BadJson, Node, Object, parse, walk
from relay_server.delivery.kept import CUT
from relay_server.operations.events import AttemptLine
from relay_terminal.retold import retold

OPEN_DEPTH = 2  # levels of a tree that are open at first
MAX_NODES = 300  # of an answer's tree, of which a page has one for each attempt; else it is a text
SHOWN_FIRST = "content-type"  # of the headers that are kept, by its value alone


class Branch(NamedTuple):
    """A value of a tree, and what it holds."""

    node: Node
    children: list[Branch]
    open: bool


class Said(NamedTuple):
    """What a target said to an attempt, without its secrets.

    Attributes:
        branches: All of it, where that is JSON and whole.
        text: The beginning of it, where it is not; or what went wrong.
        kind: Its content type; empty where it did not say it.
        headers: Others that are kept.
    """

    branches: list[Branch]
    text: str
    kind: str
    headers: list[tuple[str, str]]


def said_of(attempt: AttemptLine) -> Said:
    """What is shown of the answer to an attempt."""
    kind = next((value for name, value in attempt.headers if name == SHOWN_FIRST), "")
    others = [(name, value) for name, value in attempt.headers if name != SHOWN_FIRST]
    if attempt.status is not None and (nodes := _nodes(attempt)):
        return Said(branches(nodes), "", kind, others)
    return Said([], text_said(attempt), kind, others)


def text_said(attempt: AttemptLine) -> str:
    """The beginning of an answer as it was written, without its secrets; or what went wrong."""
    if attempt.status is None:
        return retold(attempt.text)
    return body_without_secrets(attempt.text.encode()).decode()


def _nodes(attempt: AttemptLine) -> list[Node]:
    """Of an answer that is an object or a list, whole and not too large; else none."""
    body = attempt.text.encode()
    if attempt.text.endswith(CUT) and len(body) != attempt.size:
        return []
    try:
        value = parse(body)
    except BadJson:
        return []
    nodes = list(islice(walk(value), MAX_NODES + 1))
    is_tree = isinstance(value, list | Object) and len(nodes) <= MAX_NODES
    return nodes if is_tree else []


def branches(nodes: Sequence[Node], open_depth: int = OPEN_DEPTH) -> list[Branch]:
    """A tree of what is listed in its order, each with its depth; so many levels are open."""
    top, path = list[Branch](), list[Branch]()
    for node in nodes:
        branch = Branch(node, [], node.depth < open_depth)
        del path[node.depth - (nodes[0].depth if nodes else 0) :]
        (path[-1].children if path else top).append(branch)
        path.append(branch)
    return top
