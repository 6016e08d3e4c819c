"""Lists of events: a channel's, live, and what a search finds."""

from __future__ import annotations

import re

import msgspec
from aiohttp import web

from relay_server.dashboard.overview import BARS, bars_of
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.filters.language import InvalidFilter
from relay_server.operations import Caller
from relay_server.operations.channels import webhook_path
from relay_server.operations.listing import EventPage, EventQuery, list_events
from relay_server.operations.pulse import PulseFields, show_pulse
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.subscriptions import SubscriptionView, subscriptions_of
from relay_server.web.api import from_query
from relay_terminal.retold import told
from relay_terminal.words import _

PAGE = 50  # events on a page of a list
MAX_CHOSEN_FIELDS = 320  # of a form that replays what is chosen: a field each
EVENT_ID = re.compile(r"evt_[0-9A-Za-z-]+")


async def live_list(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /channels/{channel}`: the newest events, and those that come."""
    name = request.match_info["channel"]
    channel, parts = visitor.who.channel(name), visitor.who.parts
    found, problem, query = await _found(request, visitor.who, name)
    readers = await readers_of(visitor.who, name)
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
        since=minutes[0].at,
        told=number(request.query.get("told", "")),
        newest=not (query.before or query.after),
        webhook=parts.settings.url + webhook_path(parts, channel),
    )


async def replay_chosen(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /channels/{channel}/replay`: send events again that were chosen in a list."""
    channel, to = request.match_info["channel"], fields.get("subscription", "")
    ids = tuple(name for name in fields if EVENT_ID.fullmatch(name))
    if not ids:
        raise InvalidValue(_("no row is chosen: choose some by the boxes before them"))
    await create_replays(visitor.who, NewReplay(Chosen(events=ids), channel, to))
    return see(f"/channels/{channel}?told={len(ids)}")


async def search(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /search?q=`: a channel's list; what is an id leads to the event."""
    q = request.query.get("q", "").strip()
    if EVENT_ID.fullmatch(q):
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
    )


async def _found(
    request: web.Request, who: Caller, channel: str
) -> tuple[EventPage | None, str, EventQuery]:
    """A page of what is asked for; or why it cannot be."""
    asked = await from_query(request, EventQuery)
    asked = msgspec.structs.replace(asked, channel=channel, limit=PAGE)
    try:
        return await list_events(who, asked), "", asked
    except InvalidFilter as exc:
        return None, told(exc)[0], asked


async def readers_of(who: Caller, channel: str) -> list[SubscriptionView]:
    """A channel's subscriptions; the visitor's own first."""
    found = await subscriptions_of(who, channel)
    return sorted(found, key=lambda one: (one.name != who.name, one.name))


def number(text: str) -> int:
    """What a query says, where that is a number; else 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


routes = [
    web.get("/channels/{channel}", page(live_list)),
    web.post("/channels/{channel}/replay", form(replay_chosen, most=MAX_CHOSEN_FIELDS)),
    web.get("/search", page(search)),
]
