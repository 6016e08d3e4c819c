"""The bounds of aiohttp's connections: lines and headers, idle ones, and those that never end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from relay_server.app import ops_app
from relay_server.web import server
from relay_server.web.server import MAX_HEADERS, MAX_LINE_BYTES, BoundedRunner
from tests.support.clock import VirtualClock
from tests.support.senders import connection, exchange, request
from tests.unit.server.support import GatedStore, make_context
from tests.unit.server.test_server import Ops, ops

__all__ = ["ops"]

LIVE = "/health/live"


async def test_lines_and_headers_that_are_too_long_or_too_many(ops: Ops) -> None:
    port, _ = ops
    fits = [(f"X-{n}", "x") for n in range(MAX_HEADERS - 3)]

    for target, headers, status in [
        (LIVE, fits, 200),
        (LIVE, fits + [(f"Y-{n}", "x") for n in range(4)], 400),
        (LIVE, [("X", "x" * (MAX_LINE_BYTES - 10))], 200),
        (LIVE, [("X", "x" * (MAX_LINE_BYTES + 1))], 400),
        (f"{LIVE}?{'x' * (MAX_LINE_BYTES + 1)}", [], 400),
    ]:
        answer = await exchange(port, request(target, b"", headers, method="GET"))
        assert answer.status == status, (target[:20], len(headers))


async def test_an_idle_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_S", 0.1)
    runner = BoundedRunner(ops_app(make_context(GatedStore(), tmp_path, VirtualClock())))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async with connection(runner.addresses[0][1]) as one:
        assert (await one.exchange(request(LIVE, b"", method="GET"))).status == 200
        assert await one.closed(5) == b""
    await runner.cleanup()


async def test_a_request_that_never_ends_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_S", 0.1)
    begun = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/", never)
    runner = BoundedRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with connection(runner.addresses[0][1]) as one, asyncio.timeout(5):
        await one.send(request("/", b"", method="GET"))
        await begun.wait()
        await runner.cleanup()


async def test_the_rest_of_what_was_refused_is_read_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever sends it slowly sees the answer, and does not keep the connection by that."""
    monkeypatch.setattr(server, "LINGER_S", 0.1)

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=422)

    app = web.Application()
    app.router.add_post("/", refuse)
    runner = BoundedRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with connection(runner.addresses[0][1]) as one:
            answer = await one.exchange(request("/", b"x", length=1_000))
            assert answer.status == 422
            assert await one.closed(5) == b""
    finally:
        await runner.cleanup()
