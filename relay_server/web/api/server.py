"""The server as a whole: who asks it, how it is, a copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from relay_server.errors import Forbidden, InvalidValue
from relay_server.operations.callers import visible_channels
from relay_server.web import views
from relay_server.web.access import ON_HOST, caller
from relay_server.web.api.requests import answer, read
from relay_server.web.context import CONTEXT

routes = web.RouteTableDef()


class BackupFields(msgspec.Struct, forbid_unknown_fields=True):
    """Where a backup goes."""

    file: str


@routes.get("/api/v1/whoami")
async def whoami(request: web.Request) -> web.Response:
    """Who the bearer of this token is."""
    token = caller(request).token
    who = views.token(token) if token else views.SOMEBODY_ON_HOST
    return answer(who | {"server_version": views.VERSION})


@routes.get("/api/v1/status")
async def status(request: web.Request) -> web.Response:
    """How channels and subscriptions are doing, as far as the caller may know."""
    context, who = request.app[CONTEXT], caller(request)
    visible = {c.name for c in visible_channels(context, who)}
    subscriptions = await context.store.subscription_status()
    channels = [s for s in await context.store.channel_status() if s.channel in visible]
    report: dict[str, Any] = {
        "version": views.VERSION,
        "public_url": context.settings.url,
        "uptime_s": round(context.clock.monotonic() - context.started_at),
        "store": {"taking": context.store.space.taking},
        "channels": [await views.channel_status(context, status) for status in channels],
        "subscriptions": [
            views.for_caller(who, views.subscription(context, s))
            for s in subscriptions
            if s.subscription.channel in visible
        ],
    }
    if who.admin:
        report["store"]["reason"] = context.store.space.reason
        report["connections"] = context.hub.connections
        report["settings"] = views.settings(context)
    return answer(report)


@routes.post("/api/v1/backup")
async def backup(request: web.Request) -> web.Response:
    """Write a copy of the store to a file on this host."""
    if not request.app.get(ON_HOST, False):
        raise Forbidden("a backup is made on the host itself, with relay-server backup")
    fields = await read(request, BackupFields)
    if "\0" in fields.file:
        raise InvalidValue("no file has such a name")
    await request.app[CONTEXT].store.backup(Path(fields.file))
    return answer({"file": fields.file}, status=201)
