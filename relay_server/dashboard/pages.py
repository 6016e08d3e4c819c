"""All paths of the dashboard."""

from __future__ import annotations

from aiohttp import web

from relay_server.dashboard import event, events, login, overview, readers, setup, talks
from relay_server.dashboard.assets import PATH, serve_asset
from relay_server.dashboard.visit import Visitor, page
from relay_server.errors import Unauthorized
from relay_server.store.feed import SessionEnded
from relay_server.web.context import CONTEXT
from relay_server.web.feed import serve_feed


async def feed(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """`GET /feed`: what happens, for a page; as the API's, and it ends with the session."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Unauthorized("a page of another site asked for the feed")
    digest, context = visitor.session.digest, request.app[CONTEXT]
    return await serve_feed(
        request,
        visitor.who,
        lambda end: context.store.feed.listen(
            SessionEnded, lambda change: end() if change.digest == digest else None
        ),
    )


routes = [
    *login.routes,
    *overview.routes,
    *events.routes,
    *event.routes,
    *talks.routes,
    *readers.routes,
    *setup.routes,
    web.get("/feed", page(feed)),
    web.get(f"{PATH}/{{name}}", serve_asset),
]
