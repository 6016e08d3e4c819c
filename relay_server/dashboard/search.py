"""What a search of a channel finds, and how far it looked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from aiohttp import web

from relay_server.dashboard.events import EVENT_ID, found_of
from relay_server.dashboard.filtering import completions_of
from relay_server.dashboard.rendering import render, talk_path
from relay_server.dashboard.visit import Visitor, page, see
from relay_server.filters.language import TEXT, Filter, Value, parse
from relay_server.operations.listing import CountQuery, count_events, time_at
from relay_server.operations.seen import choices_of
from relay_server.operations.subscriptions import subscriptions_of

NUMBER = re.compile("[0-9]{1,18}")  # of an account or conversation of Chatwoot's


async def search(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /search?q=`: a channel's list; what is an id or a Chatwoot's address leads there."""
    who, q = visitor.who, request.query.get("q", "").strip()
    if EVENT_ID.fullmatch(q):
        return see(f"/events/{q}")
    mine = who.channels()
    names = [request.query.get("channel", ""), who.parts.settings.default_channel]
    names += [channel.name for channel in mine]
    name = next((n for n in names if any(n == c.name for c in mine)), "")
    if not name:
        return see("/")
    if key := key_in(q):
        return see(talk_path(name, key))
    found, problem, query = await found_of(request, who, name)
    is_first = found is not None and not (query.before or query.after)
    choices = await choices_of(who, who.channel(name), found.events if found else ())
    readers = await subscriptions_of(who, name)
    return render(
        request,
        "search.html",
        visitor=visitor,
        completions=completions_of(query.q, choices, [one.name for one in readers]),
        channel=name,
        mine={one.name for one in readers if one.mine},
        channels=[channel.name for channel in mine],
        page=found,
        count=await count_events(who, CountQuery(channel=name, q=query.q)) if is_first else None,
        back_to=await time_at(who, who.channel(name), found.scanned_to) if found else 0,
        words=words_of(parse(query.q, who.now())) if found else (),
        problem=problem,
        q=query.q,
    )


def key_in(address: str) -> str:
    """The key of the conversation that an address of a Chatwoot's is of; empty for no such."""
    if not address.startswith(("http://", "https://")) or address.split() != [address]:
        return ""
    steps = pairwise(re.split("[/?#]", address))
    numbers = {name: after for name, after in steps if NUMBER.fullmatch(after)}
    account, talk = numbers.get("accounts"), numbers.get("conversations")
    return f"{account}/{talk}" if account and talk else ""


def words_of(asked: Filter) -> Sequence[Value]:
    """The words that a filter looks for, folded; the last of a beginning is one itself."""
    found = list[Value]()
    for term in asked.terms:
        if term.word == TEXT and not term.negated:
            for value in term.values:
                *whole, last = value.text.split()
                found += [*map(Value, whole), Value(last, value.prefix)]
    return found


routes = [web.get("/search", page(search))]
