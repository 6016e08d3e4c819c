"""A channel's list of events, live."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from relay_server.dashboard.filtering import Chip, chips_of, completions_of, menus_of, mine_of
from relay_server.dashboard.overview import BARS, bars_of
from relay_server.dashboard.rendering import render
from relay_server.dashboard.sample import may_send
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.filters.language import InvalidFilter
from relay_server.operations import Caller
from relay_server.operations.channels import webhook_path
from relay_server.operations.events import EventRow
from relay_server.operations.listing import (
    CountQuery,
    EventCount,
    EventPage,
    EventQuery,
    count_events,
    list_events,
)
from relay_server.operations.pulse import PulseFields, show_pulse
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.seen import choices_of
from relay_server.operations.subscriptions import subscriptions_of
from relay_server.web.api import from_query
from relay_terminal.retold import told
from relay_terminal.words import _

PAGE = 50  # events on a page of a list
MAX_WIDENED = 4  # terms of a filter that found nothing, of which each is left out in turn
COUNTED = 1_000  # events up to which it is counted what that would find
MAX_CHOSEN_FIELDS = 320  # of a form that replays what is chosen: a field each
EVENT_ID = re.compile(r"evt_[0-9A-Za-z-]+")


async def live_list(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /channels/{channel}`: the newest events, and those that come."""
    name = request.match_info["channel"]
    channel, parts = visitor.who.channel(name), visitor.who.parts
    found, problem, query = await found_of(request, visitor.who, name, edited=True)
    readers = await subscriptions_of(visitor.who, name)
    minutes = (await show_pulse(visitor.who, PulseFields(name, BARS))).minutes
    choices = await choices_of(visitor.who, channel, found.events if found else ())
    mine = [one.name for one in readers if one.mine]
    sent = request.query.get("sent", "")
    nothing = found is not None and not found.events and query.q
    return render(
        request,
        "list.html",
        visitor=visitor,
        channel=channel.name,
        page=found,
        places=places_among(found.events) if found else {},
        problem=problem,
        q=query.q,
        completions=completions_of(query.q, choices, [one.name for one in readers]),
        menus=[menu for menu in menus_of(query.q, choices) if len(menu.choices) > 1],
        mine=mine,
        mine_only=mine_of(query.q, mine[0]) if mine else None,
        wider=await _wider(visitor.who, name, query.q) if nothing else None,
        readers=readers,
        bars=bars_of(minutes),
        received=sum(minute.received for minute in minutes),
        since=minutes[0].at,
        told=number(request.query.get("told", "")),
        sent=sent if EVENT_ID.fullmatch(sent) else "",
        may_send=may_send(visitor.who, channel),
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


def places_among(events: Sequence[EventRow]) -> dict[str, int]:
    """Where edited events stand in a list, by id: as the event of the channel that came after.

    Their own sequences count by themselves. Where none came after, it is the one that comes next.
    """
    places = dict[str, int]()
    at = next((one.sequence + 1 for one in events if not one.edited), None)
    for one in events:
        if not one.edited:
            at = one.sequence
        elif at is not None:
            places[one.id] = at
    return places


async def found_of(
    request: web.Request, who: Caller, channel: str, *, edited: bool = False
) -> tuple[EventPage | None, str, EventQuery]:
    """A page of what is asked for; or why it cannot be."""
    asked = await from_query(request, EventQuery)
    asked = msgspec.structs.replace(
        asked, channel=channel, limit=PAGE, edited=asked.edited or edited
    )
    try:
        return await list_events(who, asked), "", asked
    except InvalidFilter as exc:
        return None, told(exc)[0], asked


class Wider(NamedTuple):
    """What a filter that finds nothing leaves out.

    Attributes:
        events: Of the whole channel.
        chips: The filter's terms, and what there is without each of them alone; None where that is
            the whole channel, or was not counted.
    """

    events: EventCount
    chips: list[tuple[Chip, EventCount | None]]


async def _wider(who: Caller, channel: str, q: str) -> Wider:
    chips = list[tuple[Chip, EventCount | None]]()
    for number, chip in enumerate(chips_of(q)):
        counted = None
        if chip.q and number < MAX_WIDENED:
            counted = await count_events(who, CountQuery(channel=channel, q=chip.q, up_to=COUNTED))
        chips.append((chip, counted))
    return Wider(await count_events(who, CountQuery(channel=channel)), chips)


def number(text: str) -> int:
    """What a query says, where that is a number; else 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


routes = [
    web.get("/channels/{channel}", page(live_list)),
    web.post("/channels/{channel}/replay", form(replay_chosen, most=MAX_CHOSEN_FIELDS)),
]
