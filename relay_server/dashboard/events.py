"""Lists of events, one event, and sending it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from relay_server.bodies.tree import Node
from relay_server.dashboard.overview import BARS, bars_of
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Visitor, form, page, read_form, see
from relay_server.filters.language import InvalidFilter
from relay_server.operations import Caller
from relay_server.operations.bodies import TreePage, show_tree
from relay_server.operations.events import event_body, show_event
from relay_server.operations.listing import EventPage, EventQuery, list_events
from relay_server.operations.pulse import PulseFields, show_pulse
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.server import status
from relay_server.operations.subscriptions import SubscriptionView
from relay_server.web.api import from_query

PAGE = 50  # events on a page of a list
SHOWN_RAW = 65_536  # bytes of a body that are shown at once; all of it is a download
HEX_SHOWN = 4_096  # of one that is no text
OPEN_DEPTH = 2  # levels of a tree that are open at first


class Branch(NamedTuple):
    """A value of a tree, and what it holds."""

    node: Node
    children: list[Branch]
    open: bool


async def live_list(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /channels/{channel}`: the newest events, and those that come."""
    name = request.match_info["channel"]
    channel = visitor.who.channel(name)
    found, problem, query = await _found(request, visitor.who, name)
    readers = await _readers(visitor.who, name)
    minutes = (await show_pulse(visitor.who, PulseFields(name, BARS))).minutes
    return render(
        request,
        "list.html",
        visitor=visitor,
        channel=channel.name,
        page=found,
        problem=problem,
        q=query.q,
        readers=readers,
        bars=bars_of(minutes),
        received=sum(minute.received for minute in minutes),
        newest=not (query.before or query.after),
        webhook=f"{visitor.who.parts.settings.url}{webhook_path(visitor.who, name)}",
    )


async def search(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /search?q=`: a channel's list; what is an id leads to the event."""
    q = request.query.get("q", "").strip()
    if q.startswith("evt_") and q.isascii() and " " not in q:
        return see(f"/events/{q}")
    mine = visitor.who.channels()
    names = [request.query.get("channel", ""), visitor.who.parts.settings.default_channel]
    names += [channel.name for channel in mine]
    name = next((n for n in names if any(n == c.name for c in mine)), "")
    if not name:
        return see("/")
    found, problem, query = await _found(request, visitor.who, name)
    return render(
        request,
        "search.html",
        visitor=visitor,
        channel=name,
        channels=[channel.name for channel in mine],
        page=found,
        problem=problem,
        q=query.q,
        readers=await _readers(visitor.who, name),
    )


async def event(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}`: one event, its deliveries and its body."""
    who, id_ = visitor.who, request.match_info["id"]
    found = await show_event(who, id_)
    view = request.query.get("view", "tree")
    tree = await show_tree(who, found.id, TreePage(first=_number(request.query.get("first", "0"))))
    raw = await event_body(who, found.id) if view == "raw" or tree.problem else None
    return render(
        request,
        "event.html",
        visitor=visitor,
        event=found,
        view=view if view in ("tree", "raw", "headers") else "tree",
        tree=tree,
        branches=branches(tree.nodes),
        raw=raw_text(raw.body) if raw else "",
        raw_cut=bool(raw and len(raw.body) > SHOWN_RAW),
        readers=await _readers(who, found.channel),
        told=request.query.get("told", ""),
    )


async def replay(request: web.Request, visitor: Visitor) -> web.Response:
    """`POST /events/{id}/replay`: send it again, to one subscription."""
    id_, fields = request.match_info["id"], await read_form(request)
    found = await show_event(visitor.who, id_)
    to = fields.get("subscription", "")
    await create_replays(visitor.who, NewReplay(Chosen(events=(found.id,)), found.channel, to))
    return see(f"/events/{found.id}?told=replayed#answers")


async def body(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/body`: the bytes as they came, for a file."""
    found = await event_body(visitor.who, request.match_info["id"])
    return web.Response(body=found.body, headers=found.headers)


async def _found(
    request: web.Request, who: Caller, channel: str
) -> tuple[EventPage | None, str, EventQuery]:
    """A page of what is asked for; or why it cannot be."""
    asked = await from_query(request, EventQuery)
    asked = msgspec.structs.replace(asked, channel=channel, limit=PAGE)
    try:
        return await list_events(who, asked), "", asked
    except InvalidFilter as exc:
        return None, str(exc), asked


async def _readers(who: Caller, channel: str) -> list[SubscriptionView]:
    """A channel's subscriptions; the visitor's own first."""
    found = [one for one in (await status(who)).subscriptions if one.channel == channel]
    return sorted(found, key=lambda one: (one.name != who.name, one.name))


def webhook_path(who: Caller, channel: str) -> str:
    """Where a channel's senders post to."""
    return "/webhook" if channel == who.parts.settings.default_channel else f"/c/{channel}/webhook"


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


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


routes = [
    web.get("/channels/{channel}", page(live_list)),
    web.get("/search", page(search)),
    web.get("/events/{id}", page(event)),
    web.get("/events/{id}/body", page(body)),
    web.post("/events/{id}/replay", form(replay)),
]
