"""What a browser is shown of an invitation, or of the client's wheel, and the wheel: for anybody.

The pages are plain: no script, style, picture or form, and nothing of a request is in them but an
invitation's own code. To look at an invitation asks the store nothing: a browser, a chat's preview
or a proxy that looks ahead uses nothing up, and learns not even whether it is good.
"""

from __future__ import annotations

import html

from aiohttp import web

from relay_server.operations.invitations import CODE, PATH
from relay_server.web.context import CONTEXT

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
{content}
"""

routes = web.RouteTableDef()


@routes.get(f"{PATH}/{{code}}")
async def invitation(request: web.Request) -> web.Response:
    """Say what to type; the invitation stays as it is."""
    code = request.match_info["code"]
    if not CODE.fullmatch(code):
        raise web.HTTPNotFound
    url = request.app[CONTEXT].settings.url
    return page(
        "You are invited to a relay",
        "In a terminal on the machine that you develop on:",
        f"relay-client login {url}{PATH}/{code}",
        "It is good once, for 24 hours. This page has not used it up.",
    )


def page(title: str, *parts: str) -> web.Response:
    """A page of sentences, every second of them a command."""
    shown = [
        f"<{tag}>{html.escape(part)}</{tag}>"
        for part, tag in zip(parts, ("p", "pre") * len(parts), strict=False)
    ]
    text = PAGE.format(title=html.escape(title), content="\n".join(shown))
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=HEADERS)
