"""All paths of the dashboard."""

from __future__ import annotations

from aiohttp import web

from relay_server.dashboard import (
    dead,
    editing,
    event,
    events,
    giving_up,
    login,
    overview,
    readers,
    sample,
    search,
    setup,
    styleguide,
    talks,
)
from relay_server.dashboard.assets import PATH, serve_asset
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import (
    Visitor,
    check_origin,
    find_visitor,
    guarded,
    local,
    page,
    read_form,
    see,
    set_cookie,
)
from relay_server.errors import Unauthorized
from relay_server.live.messages import Bye, farewell
from relay_server.store.feed import SessionEnded
from relay_server.web.context import CONTEXT
from relay_server.web.feed import HEADERS as FEED_HEADERS
from relay_server.web.feed import serve_feed
from relay_server.web.language import COOKIE, COOKIE_S, LANGUAGES


async def feed(request: web.Request) -> web.StreamResponse:
    """`GET /feed`: what happens, for a page; as the API's, and it ends with the session.

    A script learns nothing of an answer that is no feed. So where the session is over, since the
    page was last connected, a feed says so.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Unauthorized("a page of another site asked for the feed")
    visitor = await find_visitor(request)
    if visitor is None:
        return web.Response(body=farewell(Bye("revoked")), headers=FEED_HEADERS)
    digest, context = visitor.session.digest, request.app[CONTEXT]
    return await serve_feed(
        request,
        visitor.who,
        lambda end: context.store.feed.listen(
            SessionEnded, lambda change: end() if change.digest == digest else None
        ),
    )


async def choose_language(request: web.Request) -> web.Response:
    """`POST /language`: keep which one the pages are to speak, also for who is not logged in."""
    check_origin(request)
    fields = await read_form(request)
    response, language = see(local(fields.get("then", ""))), fields.get("language", "")
    if language in LANGUAGES:
        set_cookie(request.app[CONTEXT], response, COOKIE, language, COOKIE_S)
    return response


async def keys(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /keys`: what they do."""
    return render(request, "keys.html", visitor=visitor)


routes = [
    *login.routes,
    *overview.routes,
    *events.routes,
    *event.routes,
    *giving_up.routes,
    *editing.routes,
    *talks.routes,
    *readers.routes,
    *dead.routes,
    *sample.routes,
    *search.routes,
    *setup.routes,
    *styleguide.routes,
    web.post("/language", guarded(choose_language)),
    web.get("/feed", guarded(feed)),
    web.get("/keys", page(keys)),
    web.get(f"{PATH}/{{name}}", serve_asset),
]
