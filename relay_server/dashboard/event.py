"""One event: what it is, what became of it, and sending it again, as it came or edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import web

from relay_server.bodies.scripts import Language
from relay_server.bodies.tree import Node
from relay_server.dashboard.events import number, readers_of
from relay_server.dashboard.rendering import render
from relay_server.dashboard.timeline import time_line
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations.bodies import ComparePage, TreePage, compare, show_tree
from relay_server.operations.events import event_body, show_event
from relay_server.operations.listing import EventQuery, list_events
from relay_server.operations.pins import NewPin, pin_event, unpin_event
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.scripts import ScriptPage, show_script
from relay_terminal.words import _

SHOWN_RAW = 65_536  # bytes of a body that are shown at once; all of it is a download
HEX_SHOWN = 4_096  # of one that is no text
OPEN_DEPTH = 2  # levels of a tree that are open at first
VIEWS = ("tree", "raw", "headers")
PREVIOUS = "previous"  # in the place of an id: the one before of the same kind


class Branch(NamedTuple):
    """A value of a tree, and what it holds."""

    node: Node
    children: list[Branch]
    open: bool


async def show(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}`: one event, its deliveries and its body."""
    who = visitor.who
    found, view = await show_event(who, request.match_info["id"]), request.query.get("view", "")
    tree = await show_tree(who, found.id, TreePage(first=number(request.query.get("first", "0"))))
    shows_raw = found.kept and (view == "raw" or bool(tree.problem))
    raw = await event_body(who, found.id) if shows_raw else None
    readers = await readers_of(who, found.channel)
    return render(
        request,
        "event.html",
        visitor=visitor,
        event=found,
        view=view if view in VIEWS else "tree",
        tree=tree,
        branches=branches(tree.nodes),
        raw=raw_text(raw.body) if raw else "",
        raw_cut=bool(raw and len(raw.body) > SHOWN_RAW),
        readers=readers,
        line=time_line(found.received_at, found.deliveries, found.attempts, readers, who.now()),
        languages=[str(language) for language in Language],
        told=request.query.get("told", ""),
    )


async def neighbour(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/older`, `…/newer`: the next of its channel, or `?of=conversation`."""
    found = await show_event(visitor.who, request.match_info["id"])
    older = request.match_info["which"] == "older"
    query = EventQuery(
        channel=found.channel,
        key=found.key if request.query.get("of") == "conversation" else "",
        limit=1,
        before=found.sequence if older else 0,
        after=None if older else found.sequence,
    )
    beside = await list_events(visitor.who, query)
    return see(f"/events/{beside.events[0].id if beside.events else found.id}")


async def body(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/body`: the bytes as they came, for a file."""
    found = await event_body(visitor.who, request.match_info["id"])
    return web.Response(body=found.body, headers=found.headers)


async def as_script(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/as/{language}`: what sends it from a shell, to be copied."""
    id_, language = request.match_info["id"], request.match_info["language"]
    script = await show_script(visitor.who, id_, language, ScriptPage())
    return render(request, "script.html", visitor=visitor, script=script)


async def replay(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/replay`: send it again, to one subscription."""
    found = await show_event(visitor.who, request.match_info["id"])
    to = fields.get("subscription", "")
    await create_replays(visitor.who, NewReplay(Chosen(events=(found.id,)), found.channel, to))
    return see(f"/events/{found.id}?told=replayed#answers")


async def pin(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/pin`: keep it under a name; without one, no longer than others."""
    id_, name = request.match_info["id"], fields.get("name", "").strip()
    if name:
        await pin_event(visitor.who, id_, NewPin(name))
    else:
        await unpin_event(visitor.who, id_)
    return see(f"/events/{id_}")


async def show_difference(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /compare?a=&b=`: how two events differ; `a=previous` is the one before of its kind."""
    who = visitor.who
    b = await show_event(who, request.query.get("b", ""))
    asked = request.query.get("a", "")
    if asked == PREVIOUS:
        query = EventQuery(channel=b.channel, kind=b.kind, before=b.sequence, limit=1)
        before = (await list_events(who, query)).events
        if not before:
            raise InvalidValue(_("no event of its kind came before it"))
        asked = before[0].id
    a = await show_event(who, asked)
    expected = "expected" in request.query
    found = await compare(who, ComparePage(a.id, b.id, request.query.get("ignore", ""), expected))
    return render(
        request, "compare.html", visitor=visitor, a=a, b=b, found=found, expected=expected
    )


def branches(nodes: Sequence[Node]) -> list[Branch]:
    """A tree of what is listed in its order, each with its depth."""
    top, path = list[Branch](), list[Branch]()
    for node in nodes:
        branch = Branch(node, [], node.depth < OPEN_DEPTH)
        del path[node.depth - (nodes[0].depth if nodes else 0) :]
        (path[-1].children if path else top).append(branch)
        path.append(branch)
    return top


def raw_text(content: bytes) -> str:
    """A body as text; one that is none as a hex dump of its beginning."""
    piece = content[:SHOWN_RAW]
    try:
        return piece.decode("utf-8", "strict" if len(piece) == len(content) else "ignore")
    except UnicodeDecodeError:
        rows = range(0, len(content[:HEX_SHOWN]), 16)
        return "\n".join(_hex(content[at : at + 16], at) for at in rows)


def _hex(row: bytes, at: int) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{at:06x}  {row.hex(' '):<47}  {text}"


routes = [
    web.get("/events/{id}", page(show)),
    web.get("/events/{id}/{which:older|newer}", page(neighbour)),
    web.get("/events/{id}/body", page(body)),
    web.get("/events/{id}/as/{language}", page(as_script)),
    web.post("/events/{id}/replay", form(replay)),
    web.post("/events/{id}/pin", form(pin)),
    web.get("/compare", page(show_difference)),
]
