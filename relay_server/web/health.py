"""Is it alive, is it ready, what does it count."""

from __future__ import annotations

from aiohttp import web

from relay_server.web.context import CONTEXT


async def live(_request: web.Request) -> web.Response:
    """`GET /health/live`: the process answers; public, so no detail."""
    return web.json_response({"status": "live"})


async def ready(request: web.Request) -> web.Response:
    """`GET /health/ready`: it works; 503 while it starts or stops.

    With a full disk it is ready, too: its own refusals ask senders to come back, those of a proxy
    that took it out would not, and clients would be cut off from what they can still get.
    """
    context = request.app[CONTEXT]
    if not context.listening:
        return web.json_response({"status": "starting"}, status=503)
    if context.stopping:
        return web.json_response({"status": "stopping"}, status=503)
    return web.json_response({"status": "ready", "taking": context.store.space.taking})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: counters in Prometheus' text format."""
    return web.Response(
        body=request.app[CONTEXT].metrics.text(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
