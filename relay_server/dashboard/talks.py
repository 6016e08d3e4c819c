"""Conversations as people saw them, beside what a bot got; and why one has no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from aiohttp import web

from relay_server.dashboard.chat import moments_beside, rows_of, transcript
from relay_server.dashboard.rendering import render, talk_path
from relay_server.dashboard.visit import TOO_OLD, Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations.conversations import (
    MAX_TALKS,
    Talk,
    TalkPage,
    TalkQuery,
    list_conversations,
    show_conversation,
)
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.scripts import show_conversation_test
from relay_server.operations.subscriptions import resume_subscription, subscriptions_of
from relay_server.operations.why import Mend, Why, WhyQuery, why_unanswered
from relay_server.web.api import from_query
from relay_terminal.words import _

WEBHOOKS = "webhooks"  # the view of a conversation without what people saw
KEPT_IN_LINKS = ("subscription", "view", "before", "as_of")  # of a page's query


async def conversations(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /channels/{channel}/conversations`: the newest first."""
    name = visitor.who.channel(request.match_info["channel"]).name
    query = await from_query(request, TalkQuery)
    query.channel = name
    found = await list_conversations(visitor.who, query)
    return render(
        request,
        "conversations.html",
        visitor=visitor,
        channel=name,
        state=query.state,
        talks=found,
        newest=not query.before,
    )


async def conversation(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """`GET /conversations/{channel}/{key}`; by `?key=` where a path cannot hold the key."""
    who, channel, asked = visitor.who, request.match_info["channel"], request.query
    key = request.match_info.get("key") or asked.get("key", "")
    page_of = await from_query(request, TalkPage)
    if "go" in asked:
        return see(talk_path(channel, await _beside(visitor, channel, key, asked["go"])))
    if asked.get("as") == "pytest":
        found = await show_conversation_test(who, channel, key, page_of.as_of)
        return web.Response(body=found.body, headers=found.headers)
    talk = await show_conversation(who, channel, key, page_of)
    link = _linker(talk, asked)
    if asked.get("as") == "transcript":
        return render(
            request, "transcript.html", visitor=visitor, talk=talk, link=link, text=transcript(talk)
        )
    readers = await subscriptions_of(who, talk.channel)
    chosen = next((one for one in readers if one.name == asked.get("subscription")), None)
    chosen = chosen or next(iter(readers), None)
    why: Why | None = None
    if chosen and "why" in asked:
        why = await why_unanswered(who, talk.channel, talk.key, WhyQuery(chosen.name))
    return render(
        request,
        "conversation.html",
        visitor=visitor,
        channel=talk.channel,
        talk=talk,
        rows=rows_of(talk, chosen.name if chosen else ""),
        moments=moments_beside(talk.moments, page_of.as_of),
        link=link,
        readers=readers,
        mine={one.name for one in readers if one.mine},
        chosen=chosen,
        view=WEBHOOKS if asked.get("view") == WEBHOOKS else "",
        told=asked.get("told", ""),
        why=why,
    )


async def replay_conversation(
    request: web.Request, visitor: Visitor, fields: Fields
) -> web.Response:
    """`POST /conversations/{channel}`: send all of a conversation again, to one subscription.

    Or do what mends that its customer has no answer, and say anew why that has none.
    """
    # In the query: what a field holds comes back with other line ends.
    channel, key = request.match_info["channel"], request.query.get("key", "")
    if not key:
        raise InvalidValue(_("the page names no conversation: load it again, and press once more"))
    to, do = fields.get("subscription", ""), fields.get("do", "")
    told = {"told": "replayed"}
    if do == Mend.RESUME:
        await resume_subscription(visitor.who, channel, to)
        told = {"told": "resumed", "why": "1"}
    elif do == Mend.REPLAY:
        chosen = Chosen(events=(fields.get("event", ""),))
        await create_replays(visitor.who, NewReplay(chosen, channel, to))
        told = {"told": "again", "why": "1"}
    elif do:
        raise InvalidValue(_(TOO_OLD))
    else:
        await create_replays(visitor.who, NewReplay(Chosen(key=key), channel, to))
    path = talk_path(channel, key)
    query = urlencode({"subscription": to} | told)
    return see(f"{path}{'&' if '?' in path else '?'}{query}")


async def _beside(visitor: Visitor, channel: str, key: str, way: str) -> str:
    """The conversation beside one, among those with the newest events."""
    query = TalkQuery(channel=channel, limit=MAX_TALKS)
    keys = [one.key for one in (await list_conversations(visitor.who, query)).conversations]
    at = keys.index(key) + (-1 if way == "newer" else 1) if key in keys else -1
    return keys[at] if 0 <= at < len(keys) else key


def _linker(talk: Talk, asked: Mapping[str, str]) -> Callable[..., str]:
    """What leads to the same page but for some of its query; 0 and empty take that out."""
    state = {name: asked[name] for name in KEPT_IN_LINKS if name in asked}

    def link(**changes: object) -> str:
        query = {name: value for name, value in (state | changes).items() if value}
        path = talk_path(talk.channel, talk.key)
        return path + ("&" if "?" in path else "?") + urlencode(query) if query else path

    return link


routes = [
    web.get("/channels/{channel}/conversations", page(conversations)),
    web.get("/conversations/{channel}", page(conversation)),
    web.post("/conversations/{channel}", form(replay_conversation)),
    web.get(r"/conversations/{channel}/{key:[\s\S]+}", page(conversation)),
]
