"""A stop: what is still taken, what is waited for, and for how long."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay_server import stopping
from relay_server.errors import StoreBroken
from relay_server.web import front
from tests.support.senders import Connection, connection, request
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import settled
from tests.unit.server.support import Served
from tests.unit.server.test_app import running


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A descriptor on which somebody always waits."""
    reading, writing = os.pipe()
    os.write(writing, b"x")
    yield reading
    os.close(reading)
    os.close(writing)


async def test_connections_that_keep_coming_hold_up_no_stop(
    busy_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may take them faster than they are read."""
    monkeypatch.setattr(stopping, "BACKLOG_S", 0.05)
    closed: list[bool] = []
    server = SimpleNamespace(
        sockets=[SimpleNamespace(fileno=lambda: busy_port)], close=lambda: closed.append(True)
    )

    async with asyncio.timeout(20):
        await stopping._stop_listening(cast(asyncio.Server, server))

    assert closed == [True]


@dataclass
class Idle:
    """A server with nothing to do, which notes when its port was closed."""

    closed_at: list[float] = field(default_factory=list)
    sockets: tuple[()] = ()

    def close(self) -> None:
        self.closed_at.append(running_clock().now)

    async def nothing(self, *_: object, **__: object) -> None: ...


@virtual_time
async def test_webhooks_are_taken_for_half_a_second_though_nothing_is_under_way() -> None:
    """So that senders on kept connections are told in an answer."""
    idle, began = Idle(), running_clock().now
    hub = SimpleNamespace(drain=idle.nothing, go_away=lambda *_: None)
    front = SimpleNamespace(close=idle.nothing)
    feeds = SimpleNamespace(stop=lambda: None)
    context: Any = SimpleNamespace(stopping=False, hub=hub, feeds=feeds)

    await stopping.stop(context, [cast(Any, idle)], cast(Any, front), [], drained=True)

    assert idle.closed_at == [pytest.approx(began + 0.5)]


@pytest.mark.parametrize(("bound", "fails"), [("LAST_WEBHOOK_S", False), ("LAST_ANSWER_S", True)])
async def test_a_webhook_that_never_comes_whole_is_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bound: str, fails: bool
) -> None:
    """Whoever asked for the stop has waited long enough, sooner where a part failed."""
    monkeypatch.setattr(front, "HEADER_DEADLINE_S", 60.0)
    monkeypatch.setattr(stopping, "LAST_WEBHOOK_S" if fails else "LAST_ANSWER_S", 60.0)
    monkeypatch.setattr(stopping, bound, 0.1)
    async with running(monkeypatch, tmp_path) as one, connection(one.settings.port) as half:
        await half.send(request()[:30])
        await settled()
        if fails:
            one.broken[0](StoreBroken("the database failed: disk I/O error"))
        else:
            one.stop.set()

        assert await half.closed() == b""
        assert await one.ends() == (1 if fails else 0)


async def test_who_waits_to_be_accepted_is_taken_before_the_port_is_closed(served: Served) -> None:
    """Closing a port resets whoever the kernel has accepted and the server has not."""
    server = await asyncio.get_running_loop().create_server(
        served.front, "127.0.0.1", 0, backlog=1_024
    )
    port = server.sockets[0].getsockname()[1]
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    await stopping._stop_listening(server)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for one in waiting:
        reader, writer = await asyncio.open_connection(sock=one)
        answer = await Connection(reader, writer).exchange(request(token=served.token))
        assert answer.status == 200
        writer.transport.abort()
