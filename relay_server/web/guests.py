"""What a browser is shown of an invitation, or of the client's wheel, and the wheel: for anybody.

The pages are plain: no script, style, picture or form, and nothing of a request is in them but an
invitation's own code. To look at an invitation asks the store nothing: a browser, a chat's preview
or a proxy that looks ahead uses nothing up, and learns not even whether it is good.

The wheel takes no token, as pip shows none and its code is no secret. It is made when it is first
asked for, and kept. Its answers have bounds of their own: so many at once, each within a deadline,
and each in pieces, of which no more waits in memory than a connection's buffer.
"""

from __future__ import annotations

import asyncio
import html

from aiohttp import web

from relay_server.errors import Busy
from relay_server.operations.invitations import CODE, PATH
from relay_server.web.context import CONTEXT, Context
from relay_server.web.limits import Limit
from relay_server.wheel import Wheel, build
from relay_terminal.words import _, spoken

CLIENT = "/client"
MAX_DOWNLOADS = 16  # of the wheel, under way at once; more: 503 `busy`
DOWNLOAD_DEADLINE_S = 60.0  # for one of them; then its connection is cut
PIECE_BYTES = 65_536  # of the wheel that are written at once
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
{content}
"""


class Downloads:
    """The wheel, made once, and how many are under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self._made: Wheel | None = None
        self._making = asyncio.Lock()

    async def wheel(self) -> Wheel:
        """The wheel of this installation."""
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(build)
            return self._made


DOWNLOADS = web.AppKey("downloads", Downloads)


def add_routes(app: web.Application) -> None:
    """Have an application answer what takes no token."""
    app[DOWNLOADS] = Downloads()
    app.router.add_get(f"{PATH}/{{code}}", invitation)
    app.router.add_get(CLIENT, client)
    app.router.add_get(f"{CLIENT}/{{file}}", wheel)


async def invitation(request: web.Request) -> web.Response:
    """Say what to type; the invitation stays as it is."""
    code = request.match_info["code"]
    if not CODE.fullmatch(code):
        raise web.HTTPNotFound
    url = request.app[CONTEXT].settings.url
    return page(
        _("You are invited to a relay"),
        _("In a terminal on the machine that you develop on:"),
        f"relay-client login {url}{PATH}/{code}",
        _(
            "It is good once, for 24 hours. This page has not used it up. {url} says how to install"
            " relay-client."
        ).format(url=url + CLIENT),
    )


async def client(request: web.Request) -> web.Response:
    """Say how the client is installed from here."""
    made, url = await request.app[DOWNLOADS].wheel(), request.app[CONTEXT].settings.url
    return page(
        "relay-client",
        _("Where there is Python 3.11 or newer, and pipx:"),
        f"pipx install {url}{CLIENT}/{made.name}",
        _("Then, with a token, or with the line that you were sent:"),
        f"relay-client login {url}",
        _("It is of the version that runs here. Its SHA-256:"),
        made.sha256,
    )


async def wheel(request: web.Request) -> web.StreamResponse:
    """Hand out the wheel."""
    downloads, context = request.app[DOWNLOADS], request.app[CONTEXT]
    made = await downloads.wheel()
    if request.match_info["file"] != made.name:
        raise web.HTTPNotFound
    _check_room(downloads, context)
    response = web.StreamResponse(headers={"Cache-Control": "no-cache", "ETag": f'"{made.sha256}"'})
    response.content_length = len(made.content)
    downloads.under_way += 1
    try:
        async with asyncio.timeout(DOWNLOAD_DEADLINE_S):
            await response.prepare(request)
            if request.method != "HEAD":
                for start in range(0, len(made.content), PIECE_BYTES):
                    await response.write(made.content[start : start + PIECE_BYTES])
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    finally:
        downloads.under_way -= 1
    return response


def _check_room(downloads: Downloads, context: Context) -> None:
    if downloads.under_way >= MAX_DOWNLOADS:
        context.limited(Limit.REQUESTS, "too many downloads of the client")
        raise Busy


def page(title: str, *parts: str) -> web.Response:
    """A page of sentences, every second of them a command."""
    shown = [
        f"<{tag}>{html.escape(part)}</{tag}>"
        for part, tag in zip(parts, ("p", "pre") * len(parts), strict=False)
    ]
    content = "\n".join(shown)
    text = PAGE.format(language=spoken(), title=html.escape(title), content=content)
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=HEADERS)
