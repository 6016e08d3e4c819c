"""Logging in and out."""

from __future__ import annotations

import hmac
import secrets

from aiohttp import web

from relay_protocol.tokens import TOKEN_PREFIX
from relay_server.auth import find_token
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import (
    Fields,
    Visitor,
    check_origin,
    cookie_name,
    cookie_path,
    find_visitor,
    form,
    guarded,
    local,
    log_in,
    read_form,
    see,
    set_cookie,
)
from relay_server.errors import Forbidden, Unauthorized
from relay_server.links import LINK_PREFIX
from relay_server.values import Scope
from relay_server.web.access import address
from relay_server.web.context import CONTEXT
from relay_terminal.words import _

BEFORE_COOKIE = "relay-login"  # of a browser that has the form and is not logged in yet
READERS = {Scope.SUBSCRIBE, Scope.ADMIN}


async def show_login(request: web.Request) -> web.Response:
    """`GET /login`: the form; a link's secret is in the fragment, which only the browser has."""
    key = secrets.token_urlsafe(24)
    page = await _form(request, key, local(request.query.get("then", "")))
    set_cookie(request.app[CONTEXT], page, BEFORE_COOKIE, key)
    return page


async def _form(request: web.Request, key: str, then: str, meant: str = "") -> web.Response:
    """The form, for whoever comes, or for the one whom a link is meant for."""
    visitor, host = await find_visitor(request), request.host
    return render(
        request,
        "login.html",
        form_key=key,
        then=then,
        meant=meant,
        logged_in=visitor,
        host=host,
    )


async def do_login(request: web.Request) -> web.Response:
    """`POST /login`: by a link's secret, or by a token; `do=look` says whose a link is, first."""
    check_origin(request)
    fields, before = await read_form(request), request.cookies.get(BEFORE_COOKIE, "")
    key = before.encode("utf-8", "surrogateescape")
    if not before or not hmac.compare_digest(fields.get("form_key", "").encode(), key):
        raise Forbidden(_("the page is too old: load it again, and log in once more"))
    if fields.get("do") == "look":
        return await _form(request, before, local(fields.get("then", "")), _meant(request, fields))
    response, earlier = see(local(fields.get("then", ""))), await find_visitor(request)
    await log_in(request, response, _whose(request, fields.get("k", "").strip()))
    if earlier is not None:  # its cookie is gone, so nobody could end it from here
        await request.app[CONTEXT].store.end_session(earlier.session.digest)
    response.del_cookie(BEFORE_COOKIE, path=cookie_path(request.app[CONTEXT]))
    return response


async def do_logout(request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
    """`POST /logout`: the session ends, and with it the feeds of its pages."""
    context = request.app[CONTEXT]
    await context.store.end_session(visitor.session.digest)
    response = see("/login")
    response.del_cookie(cookie_name(context), path=cookie_path(context))
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _meant(request: web.Request, fields: Fields) -> str:
    """Whom a link lets in; it stays good."""
    context = request.app[CONTEXT]
    name = context.links.look(fields.get("k", ""), context.clock.unix_ms())
    return _("this host") if name is None else name


def _whose(request: web.Request, shown: str) -> str | None:
    """Whose rights somebody shows to have: a token's name, or None for somebody on the host."""
    context = request.app[CONTEXT]
    secret = shown.rpartition("#k=")[2]  # a whole link, pasted
    if secret.startswith(LINK_PREFIX):
        return context.links.take(secret, address(request), context.clock.unix_ms())
    token = find_token(context.store.catalog, secret.encode("utf-8", "surrogateescape"))
    if token is None:
        raise Unauthorized("no login link, and no token")
    if not token.scopes & READERS:
        raise Forbidden(
            _(
                "a token ({prefix}…) that may only send shows nothing:"
                " take one with the scope subscribe"
            ).format(prefix=TOKEN_PREFIX)
        )
    context.uses.tokens[token.name] = context.clock.unix_ms()
    return token.name


routes = [
    web.get("/login", guarded(show_login)),
    web.post("/login", guarded(do_login)),
    web.post("/logout", form(do_logout)),
]
