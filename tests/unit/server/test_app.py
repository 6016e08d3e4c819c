"""The whole server, put together in this process."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from relay_server import app, metrics, stopping
from relay_server.delivery.hub import Hub
from relay_server.delivery.upkeep import Upkeep
from relay_server.errors import InvalidValue, StoreBroken, StoreFull, StoreUnavailable
from relay_server.files import SOCKET_NAME
from relay_server.metrics import Metrics, measure_lag
from relay_server.settings import ServerSettings, Sources
from relay_server.store.interface import Store
from relay_server.store.opening import open_store
from relay_server.throttle import Throttle
from relay_server.web import front
from relay_server.web.context import Context
from tests.support.certificates import make_certificate
from tests.support.clock import VirtualClock
from tests.support.events import new_event
from tests.support.processes import free_port
from tests.support.senders import connection, exchange, read_answer, request
from tests.support.stores import MemoryStore, make_channel
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import until
from tests.unit.server.support import make_settings

SOURCES = Sources((), ())


@dataclass
class Running:
    """A server in this process.

    Attributes:
        stop: What a signal sets.
        broken: What the store calls when its disk failed.
    """

    settings: ServerSettings
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    broken: list[Callable[[StoreBroken], None]] = field(default_factory=list)
    task: asyncio.Task[int] | None = None

    async def ends(self) -> int:
        assert self.task is not None
        async with asyncio.timeout(20):
            return await self.task


@asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, **settings: object
) -> AsyncIterator[Running]:
    """Serve, with signals replaced by an event."""
    one = Running(make_settings(data_dir, port=free_port(), ops_port=free_port(), **settings))

    def on_signals(stop: asyncio.Event) -> None:
        one.stop = stop

    async def opened(
        url: str, folder: Path, on_broken: Callable[[StoreBroken], None], *others: Any
    ) -> Store:
        one.broken.append(on_broken)
        return await open_store(url, folder, on_broken, *others)

    monkeypatch.setattr(app, "on_signals", on_signals)
    monkeypatch.setattr(app, "open_store", opened)
    one.task = asyncio.create_task(app.serve(one.settings, SOURCES))
    try:
        task = one.task
        await until(lambda: task.done() or listens(one.settings.port))
        yield one
    finally:
        one.stop.set()
        await asyncio.gather(one.task, return_exceptions=True)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_it_listens_and_stops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with running(monkeypatch, tmp_path / "data") as one:
        live = request("/health/live", b"", method="GET")
        ready = request("/health/ready", b"", method="GET")
        assert (await exchange(one.settings.port, live)).status == 200
        answer = await exchange(one.settings.ops_port, ready)
        assert (answer.status, answer.json["status"]) == (503, "uninitialized")
        assert "run relay-server init" in answer.json["reason"]
        assert (await exchange(one.settings.port, request())).status == 401, "chatwoot is there"
        async with connection(one.settings.port) as idle:
            assert (await idle.exchange(request("/c/chatwoot/x"))).status == 401
            one.stop.set()
            assert await one.ends() == 0
    assert not listens(one.settings.port)
    assert not (one.settings.data_dir / SOCKET_NAME).exists()


async def test_a_store_that_failed_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running(monkeypatch, tmp_path) as one:
        with capture_logs() as logs:
            one.broken[0](StoreBroken("the database failed: disk I/O error"))
            assert await one.ends() == 1
    # That no token was made may be said after the port is there.
    errors = [e["error"] for e in logs if e["log_level"] == "error" and "error" in e]
    assert errors == ["the database failed: disk I/O error"]


@pytest.mark.parametrize("name", ["port", "ops_port"])
async def test_a_port_in_use_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"port": free_port(), "ops_port": free_port(), name: taken.getsockname()[1]}
        settings = make_settings(tmp_path, **ports)
        setting = f"RELAY_SERVER_{name.upper()}"
        with pytest.raises(InvalidValue, match=f"port {ports[name]} .* {setting}"):
            await app.serve(settings, SOURCES)
    async with app.open_context(settings, SOURCES):
        assert True, "the store was let go of"


async def test_an_address_that_is_not_this_host_s(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, host="203.0.113.9", port=0, ops_port=0)
    with pytest.raises(InvalidValue, match=r"cannot listen on 203\.0\.113\.9 port 0"):
        await app.serve(settings, SOURCES)


async def test_the_store_is_no_larger_than_the_operator_said(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, max_store_bytes=1_000_000)
    async with app.open_context(settings, SOURCES) as context:
        channel = await make_channel(context.store)
        large = (new_event(b"x" * 100_000) for _ in range(20))
        with pytest.raises(StoreFull):
            await asyncio.gather(*(context.store.append(channel.number, e) for e in large))
        assert "RELAY_SERVER_MAX_STORE_BYTES" in context.store.space.reason


async def test_it_may_end_tls_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(made.cert))
    tls = {"tls_cert_file": made.cert, "tls_key_file": made.key}
    async with running(monkeypatch, tmp_path / "data", **tls) as one:
        reader, writer = await asyncio.open_connection("localhost", one.settings.port, ssl=trust)
        writer.write(request("/health/live", b"", method="GET"))
        assert (await read_answer(reader)).status == 200
        writer.transport.abort()
        assert (
            await exchange(one.settings.ops_port, request("/health/live", b"", method="GET"))
        ).status == 200


async def test_upkeep_that_fails_is_put_off_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    async def failing(*_: object, **__: object) -> int:
        calls.append(1)
        raise StoreUnavailable("the database is locked")

    monkeypatch.setattr(app, "UPKEEP_S", 0.01)
    monkeypatch.setattr(app, "UPKEEP_LOOK_S", 0.01)
    monkeypatch.setattr(Upkeep, "run_once", failing)
    with capture_logs() as logs:
        async with running(monkeypatch, tmp_path):
            await until(lambda: len(calls) > 2)
    assert "upkeep put off" in [entry["event"] for entry in logs]


async def test_readers_are_told_to_come_back_before_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[tuple[str, float]] = []
    monkeypatch.setattr(Hub, "go_away", lambda _, reason, after: told.append((reason, after)))
    async with running(monkeypatch, tmp_path) as one:
        one.stop.set()
        assert await one.ends() == 0
    assert told == [("the server restarts", stopping.GO_AWAY_S)]


async def test_webhooks_are_taken_while_deliveries_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draining, drained = asyncio.Event(), asyncio.Event()

    async def drain(_: Hub, timeout_s: float) -> None:
        assert timeout_s == stopping.DRAIN_S
        draining.set()
        await drained.wait()

    monkeypatch.setattr(Hub, "drain", drain)
    ready = request("/health/ready", b"", method="GET")
    async with running(monkeypatch, tmp_path) as one, connection(one.settings.port) as idle:
        one.stop.set()
        await draining.wait()
        try:
            assert (await exchange(one.settings.ops_port, ready)).status == 503
            answer = await exchange(one.settings.port, request())
            assert (answer.status, dict(answer.headers)["Connection"]) == (401, "close")
        finally:
            drained.set()
        assert await idle.closed() == b""
        assert await one.ends() == 0


async def test_deadlines_are_kept_while_it_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(front, "HEADER_DEADLINE_S", 0.3)
    async with running(monkeypatch, tmp_path) as one, connection(one.settings.port) as half:
        await half.send(request()[:30])
        one.stop.set()
        assert await half.closed() == b"", "whoever never ends the head does not hold it up"
        assert await one.ends() == 0


@pytest.mark.parametrize(("owner", "name"), [(Hub, "run"), (app, "delete_forgotten_canaries")])
async def test_a_part_that_fails_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: object, name: str
) -> None:
    async def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "UPKEEP_S", 0.01)
    monkeypatch.setattr(owner, name, failing)
    with capture_logs() as logs:
        async with running(monkeypatch, tmp_path) as one:
            assert await one.ends() == 1
    assert "a part of the server failed: it stops" in [entry["event"] for entry in logs]


async def test_how_late_the_loop_is_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "LAG_LOOK_S", 0.001)
    clock, counted = VirtualClock(), Metrics()
    measuring = asyncio.create_task(measure_lag(clock, counted, Throttle()))

    def value(name: str, **labels: str) -> float:
        return counted.registry.get_sample_value(f"relay_loop_lag_seconds_{name}", labels) or 0.0

    with capture_logs() as logs:
        await until(lambda: value("count") > 2)
        assert (value("bucket", le="0.001"), logs) == (value("count"), [])
        clock.advance(2.0)
        await until(lambda: value("sum") > 1.9)
        for _ in range(5):
            seen = value("count")
            clock.advance(1.0)
            await until(lambda: value("count") > seen)  # noqa: B023  (waited for at once)
    counted.answered(None, 401, 0.1)
    await until(lambda: not counted._per_webhook.answered)  # it sums up what was noted as well
    measuring.cancel()
    assert [entry["event"] for entry in logs] == ["the event loop was held up"]


def test_connections_fit_the_limit_on_open_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits = {"now": (256, 1_000)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limits.update(now=value))
    settings = make_settings(tmp_path)
    with capture_logs() as logs:
        assert app.fitted(settings).max_connections == 1_000 - app.RESERVED
    assert limits["now"] == (1_000, 1_000)
    assert [entry["log_level"] for entry in logs] == ["warning"]
    limits["now"] = (1_000, 1_000_000)
    assert app.fitted(settings) is settings


@virtual_time
async def test_upkeep_comes_each_minute_and_sooner_where_room_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = running_clock().now
    came_at: list[float] = []

    async def nothing(*_: Any, **__: Any) -> None: ...

    async def note(*_: Any, **__: Any) -> None:
        came_at.append(running_clock().now - begun)

    monkeypatch.setattr(app, "delete_forgotten_canaries", nothing)
    monkeypatch.setattr(Upkeep, "run_once", note)
    store = MemoryStore()
    uses = SimpleNamespace(write_if_due=nothing)
    context = SimpleNamespace(store=store, clock=running_clock(), metrics=None, uses=uses)
    running = asyncio.create_task(app._upkeep(cast(Context, context)))
    await asyncio.sleep(120.5)
    store.space.change("the disk is full")
    await asyncio.sleep(10)
    running.cancel()

    assert came_at == pytest.approx([60.0, 120.0, 125.0, 130.0])
