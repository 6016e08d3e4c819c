"""aiohttp's connections with the bounds that it lacks: those of the ops port and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from relay_server.configs import ChannelConfig
from relay_server.listening import ops_app
from relay_server.web import server
from relay_server.web.context import CONTEXT
from relay_server.web.server import MAX_HEADERS, MAX_LINE_BYTES, READ_AGAIN_S, BoundedRunner
from tests.support.clock import START_MS, VirtualClock
from tests.support.events import new_event
from tests.support.senders import connection, exchange, request
from tests.unit.server.support import GatedStore, make_context

SECRET = "rly_FIXTUREsecret"
LIVE = "/health/live"
GET_LIVE = request(LIVE, b"", method="GET")


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[tuple[int, BoundedRunner]]:
    """An application on a port of its own."""
    runner = BoundedRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], runner
    finally:
        await runner.cleanup()


@pytest.fixture
async def app(tmp_path: Path) -> web.Application:
    """What the ops port answers."""
    return ops_app(make_context(GatedStore(), tmp_path, VirtualClock()))


@pytest.fixture
async def port(app: web.Application) -> AsyncIterator[int]:
    """The ops port."""
    async with running(app) as (port, _):
        yield port


async def test_readiness_and_metrics(app: web.Application, port: int) -> None:
    ready = request("/health/ready", b"", method="GET")
    starting = await exchange(port, ready)
    assert (starting.status, starting.json) == (503, {"status": "starting", "reason": "it starts"})
    app[CONTEXT].listening = True
    assert (await exchange(port, ready)).json == {"status": "ready", "taking": True}
    app[CONTEXT].certificate_is_stale(True)
    assert (await exchange(port, ready)).json["certificate"] == "stale"
    text = (await exchange(port, request("/metrics", b"", method="GET"))).body
    assert b"relay_webhooks_total" in text
    app[CONTEXT].stopping = True
    stopping = await exchange(port, ready)
    assert (stopping.status, stopping.json) == (503, {"status": "stopping", "reason": "it stops"})
    assert (await exchange(port, GET_LIVE)).status == 200


async def scrape(port: int) -> list[str]:
    answer = await exchange(port, request("/metrics", b"", method="GET"))
    assert answer.status == 200
    return answer.body.decode().splitlines()


async def test_metrics_say_what_waits(app: web.Application, port: int) -> None:
    context = app[CONTEXT]
    store = context.store
    await store.create_channel("canary-1", ChannelConfig(owner="ana"), START_MS)
    channel = await store.create_channel("chatwoot", ChannelConfig(max_bytes=10_000), START_MS)
    await store.subscribe("chatwoot", "ana", None, START_MS)
    await store.append(channel.number, new_event(received_at=context.clock.unix_ms() - 90_000))

    lines = await scrape(port)

    labels = '{channel="chatwoot",subscription="ana"}'
    assert f"relay_backlog{labels} 1.0" in lines
    assert f"relay_oldest_waiting_seconds{labels} 90.0" in lines
    assert f"relay_readers{labels} 0.0" in lines
    assert 'relay_channel_events{channel="chatwoot"} 1.0' in lines
    assert not any("canary-" in line for line in lines)
    [commits] = [line for line in lines if line.startswith("relay_commit_seconds_count ")]
    assert float(commits.split()[1]) >= 4


async def test_the_store_is_asked_now_and_then(app: web.Application, port: int) -> None:
    context = app[CONTEXT]
    assert isinstance(context.clock, VirtualClock)
    new = 'relay_channel_events{channel="later"} 0.0'
    await scrape(port)
    await context.store.create_channel("later", ChannelConfig(), START_MS)
    assert new not in await scrape(port)
    context.clock.advance(READ_AGAIN_S)
    assert new in await scrape(port)


async def test_a_store_that_does_not_answer_costs_its_metrics_alone(
    app: web.Application, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READING_DEADLINE_S", 0.05)
    monkeypatch.setattr(app[CONTEXT].store, "subscription_status", asyncio.Event().wait)
    with capture_logs() as logs:
        assert "relay_store_taking 1.0" in await scrape(port)
    assert [(log["event"], log["error"]) for log in logs] == [
        ("the store could not be asked for metrics", "no answer")
    ]


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_headers_that_do_not_end(
    port: int, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The first of a connection, and of one that was kept."""
    monkeypatch.setattr(server, "HEADER_DEADLINE_S", 0.5)
    async with connection(port) as one:
        for _ in range(before):
            assert (await one.exchange(GET_LIVE)).status == 200
        await one.send(GET_LIVE[:30])
        assert await one.closed() == b""
    assert (await exchange(port, GET_LIVE)).status == 200


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
async def test_errors_quote_nothing(port: int, raw: bytes) -> None:
    with capture_logs() as logs:
        answer = await exchange(port, raw)
    assert 400 <= answer.status < 500
    assert set(answer.json["error"]) >= {"code", "message"}
    assert SECRET not in answer.body.decode() + str(logs)


async def test_lines_and_headers_that_are_too_long_or_too_many(port: int) -> None:
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
    app: web.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_S", 0.1)
    async with running(app) as (port, _), connection(port) as one:
        assert (await one.exchange(GET_LIVE)).status == 200
        assert await one.closed() == b""


async def test_a_request_that_never_ends_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_S", 0.1)
    begun = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/", never)
    async with running(app) as (port, runner), connection(port) as one, asyncio.timeout(20):
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
    async with running(app) as (port, _), connection(port) as one:
        answer = await one.exchange(request("/", b"x", length=1_000))
        assert answer.status == 422
        assert await one.closed() == b""
