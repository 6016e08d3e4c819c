"""Two attempts of an event, one beside the other."""

from __future__ import annotations

from aiohttp import web

from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Visitor, page
from relay_server.operations.attempts import AttemptsPage, compare_attempts
from relay_server.operations.events import show_event
from relay_server.web.api import from_query


async def show_attempts(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/attempts?a=&b=`: how two attempts of it differ."""
    event = await show_event(visitor.who, request.match_info["id"])
    found = await compare_attempts(visitor.who, event.id, await from_query(request, AttemptsPage))
    return render(request, "attempts.html", visitor=visitor, event=event, found=found)


routes = [web.get("/events/{id}/attempts", page(show_attempts))]
