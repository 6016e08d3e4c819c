"""aiohttp's connections, with the bounds that it lacks: those of the ops port and the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from relay_server.app import ops_app
from relay_server.web import server
from relay_server.web.context import CONTEXT
from relay_server.web.server import BoundedRunner
from tests.support.clock import VirtualClock
from tests.support.senders import connection, exchange, request
from tests.unit.server.support import GatedStore, make_context

SECRET = "rly_FIXTUREsecret"


@pytest.fixture
async def ops(tmp_path: Path) -> AsyncIterator[tuple[int, web.Application]]:
    """The ops port."""
    app = ops_app(make_context(GatedStore(), tmp_path, VirtualClock()))
    runner = BoundedRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], app
    await runner.cleanup()


Ops = tuple[int, web.Application]


async def test_readiness_and_metrics(ops: Ops) -> None:
    port, app = ops
    ready = request("/health/ready", b"", method="GET")
    starting = await exchange(port, ready)
    assert (starting.status, starting.json) == (503, {"status": "starting"})
    app[CONTEXT].listening = True
    assert (await exchange(port, ready)).json == {"status": "ready", "taking": True}
    text = (await exchange(port, request("/metrics", b"", method="GET"))).body
    assert b"relay_webhooks_total" in text
    app[CONTEXT].stopping = True
    stopping = await exchange(port, ready)
    assert (stopping.status, stopping.json) == (503, {"status": "stopping"})
    assert (await exchange(port, request("/health/live", b"", method="GET"))).status == 200


async def test_a_connection_is_kept(ops: Ops) -> None:
    port, _ = ops
    async with connection(port) as one:
        for _ in range(3):
            assert (await one.exchange(request("/health/live", b"", method="GET"))).status == 200


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_headers_that_do_not_end(
    ops: Ops, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(server, "HEADER_DEADLINE_S", 0.05)
    port, _ = ops
    raw = request("/health/live", b"", method="GET")
    async with connection(port) as one:
        for _ in range(before):
            assert (await one.exchange(raw)).status == 200
        await one.send(raw[:30])
        assert await one.closed(3) == b""
    assert (await exchange(port, raw)).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00",
        f"G@T /{SECRET} HTTP/1.1\r\n\r\n".encode(),
        f"GET /{SECRET} HTTP/9\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nbad header {SECRET}\r\n\r\n".encode(),
        f"GET /{SECRET}{'x' * 9_000} HTTP/1.1\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        request(f"/{SECRET}", b"", method="GET"),
        request(f"/health/live?{SECRET}", b"{}"),
    ],
)
async def test_errors_quote_nothing(ops: Ops, raw: bytes) -> None:
    port, _ = ops
    with capture_logs() as logs:
        answer = await exchange(port, raw)
    assert 400 <= answer.status < 500
    assert set(answer.json["error"]) >= {"code", "message"}
    assert SECRET not in answer.body.decode() + str(logs)
