"""Conversations as people saw them, beside what a bot got; and why one has no answer."""

from __future__ import annotations

from aiohttp import web

from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Visitor, page
from relay_server.operations.conversations import (
    TalkPage,
    TalkQuery,
    list_conversations,
    show_conversation,
)
from relay_server.operations.why import Why, WhyQuery, why_unanswered
from relay_server.web.api import from_query


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
    )


async def conversation(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /conversations/{channel}/{key}`; by `?key=` where a path cannot hold the key."""
    who, channel = visitor.who, request.match_info["channel"]
    key = request.match_info.get("key") or request.query.get("key", "")
    talk = await show_conversation(who, channel, key, await from_query(request, TalkPage))
    names = [one.name for one in await who.store.subscriptions(talk.channel)]
    wanted = request.query.get("subscription", "")
    default = who.name if who.name in names else next(iter(names), "")
    chosen = wanted if wanted in names else default
    why: Why | None = None
    if chosen and "why" in request.query:
        why = await why_unanswered(who, talk.channel, talk.key, WhyQuery(chosen))
    return render(
        request,
        "conversation.html",
        visitor=visitor,
        channel=talk.channel,
        talk=talk,
        names=names,
        chosen=chosen,
        why=why,
    )


routes = [
    web.get("/channels/{channel}/conversations", page(conversations)),
    web.get("/conversations/{channel}", page(conversation)),
    web.get(r"/conversations/{channel}/{key:[\s\S]+}", page(conversation)),
]
