"""A server's parts in this process, and its public port on the loopback."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
from aiohttp import web
from structlog.testing import capture_logs

from relay_protocol.values import Delivery
from relay_server.auth import digest, new_secret
from relay_server.configs import ChannelConfig
from relay_server.delivery.hub import Hub
from relay_server.listening import _lent_app, public_app
from relay_server.metrics import Metrics
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.store.interface import Store, Waiter
from relay_server.values import Channel, ChannelNumber, Event, NewEvent, Scope, Token
from relay_server.web.context import Context
from relay_server.web.front import Front, FrontDoor
from relay_server.web.guests import DOWNLOADS, Downloads
from relay_server.web.server import BoundedRunner
from tests.support.clock import START_MS, VirtualClock
from tests.support.senders import Answer, Connection, connection, exchange
from tests.support.stores import MemoryStore
from tests.support.waiting import settled, until


class GatedStore(MemoryStore):
    """A store in memory whose disk can be slow or broken.

    Attributes:
        gate: Clear it, and what is appended waits.
        error: Raised instead of storing.
        waiting: How many wait at the gate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.waiting = 0

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        if self.gate.is_set() and self.error is None:
            super().append_for(channel, event, waiter)
        else:
            self.late = asyncio.create_task(self._append_late(channel, event, waiter))

    async def _append_late(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if self.error is None:
            super().append_for(channel, event, waiter)
        elif not waiter.done():
            waiter.set_exception(self.error)


@dataclass
class Served:
    """What runs, and shortcuts to it."""

    context: Context
    store: GatedStore
    clock: VirtualClock
    front: Front
    token: str
    port: int = 0

    @property
    def doors(self) -> set[FrontDoor]:
        """Connections that the front has."""
        return self.front.doors

    async def send(self, raw: bytes) -> Answer:
        """Send one request on a connection of its own."""
        return await exchange(self.port, raw)

    async def events(self, channel: str = "chatwoot") -> list[Event]:
        """What is stored in a channel, oldest first."""
        number = self.store.catalog.channels[channel].number
        outlines = await self.store.outlines(number, 0, 10_000)
        return list(await self.store.fetch(number, [o.sequence for o in outlines]))

    async def bodies(self, channel: str = "chatwoot") -> list[bytes]:
        """The bodies that are stored in a channel, oldest first."""
        return [event.body for event in await self.events(channel)]

    async def configure(self, channel: str = "chatwoot", **changes: Any) -> Channel:
        """Change a channel's rules."""
        old = self.store.catalog.channels[channel].config
        config = msgspec.structs.replace(old, **changes)
        return await self.store.change_channel(channel, lambda _: config)

    async def make_channel(self, name: str, **config: Any) -> Channel:
        """Make one more channel."""
        return await self.store.create_channel(name, ChannelConfig(**config), START_MS)

    async def make_token(
        self, name: str, *scopes: Scope, channels: Sequence[str] | None = None
    ) -> str:
        """Make a token and return its secret."""
        return await add_token(self.store, name, *scopes, channels=channels)

    async def all_left(self) -> None:
        """Wait until the front has no connection any more."""
        await until(lambda: not self.front.doors)

    def metric(self, name: str, **labels: str) -> float:
        """A counter's value; 0 when nothing was counted."""
        return self.context.metrics.registry.get_sample_value(name, labels) or 0.0


@dataclass(eq=False)
class FakePeer:
    """A connection that takes up to `window` deliveries and keeps what it is told."""

    token: str = "ana"
    host: str = "laptop"
    version: str = "1.2.3"
    window: int = 32
    got: list[Delivery] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)

    @property
    def credit(self) -> int:
        return self.window - len(self.got)

    def accepts(self, size: int) -> bool:
        return len(self.got) < self.window

    def deliver(self, delivery: Delivery) -> None:
        self.got.append(delivery)

    def flush(self) -> None:
        pass

    def tick(self, now: float) -> None:
        self.ticks.append(now)

    def taken_over(self, subscription: str, host: str) -> None:
        self.told.append(f"{subscription} taken over by {host}")

    def revoked(self) -> None:
        self.told.append("revoked")

    def go_away(self, reason: str, retry_after_s: float) -> None:
        self.told.append(f"{reason}, {retry_after_s:g}")

    @property
    def sequences(self) -> list[int]:
        return [delivery.event.sequence for delivery in self.got]


async def add_token(
    store: Store, name: str, *scopes: Scope, channels: Sequence[str] | None = None
) -> str:
    """Keep a new token, and return its secret."""
    secret = new_secret()
    allowed = None if channels is None else frozenset(channels)
    await store.create_token(
        Token(name, digest(secret.encode()), frozenset(scopes), allowed, START_MS)
    )
    return secret


def make_settings(data_dir: Path, **changes: Any) -> ServerSettings:
    """Settings as the tests have them."""
    return ServerSettings.read({"data_dir": data_dir, **changes})


def make_context(
    store: MemoryStore, data_dir: Path, clock: VirtualClock, **changes: Any
) -> Context:
    """The server's parts around a store."""
    metrics = Metrics()
    settings, sealer = make_settings(data_dir, **changes), Sealer(data_dir)
    hub = Hub(store, clock, metrics)
    return Context(settings, Sources((), ()), store, hub, metrics, clock, sealer)


@asynccontextmanager
async def serve_front(
    data_dir: Path, certificate: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """The public port with the channel `chatwoot` and a token that may send to every channel."""
    store, clock = GatedStore(), VirtualClock(now=1_000.0)
    context = make_context(store, data_dir, clock, **settings)
    await store.create_channel("chatwoot", ChannelConfig(), START_MS)
    token = await add_token(store, "sender", Scope.SEND)
    runner = BoundedRunner(_public_app(context))
    await runner.setup()
    served = Served(context, store, clock, Front(context, runner.handler), token)
    server = await asyncio.get_running_loop().create_server(
        served.front, "127.0.0.1", 0, ssl=certificate, backlog=1_024
    )
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        store.gate.set()
        await served.front.close(within_s=0.1)
        await context.hub.close()
        await runner.cleanup()


def _public_app(context: Context) -> web.Application:
    """As `listening.public_app`, with resources that are made once: they know no context."""
    app = _lent_app(context)
    app[DOWNLOADS] = Downloads()
    for resource in _resources():
        app.router.register_resource(resource)
    return app


@functools.cache
def _resources() -> Sequence[web.AbstractResource]:
    return [*public_app(cast(Context, None)).router.resources()]


async def refused(
    served: Served, raw: bytes, status: int, code: str, *, whole: bool = False
) -> Answer:
    """Send what is refused; check all that refusals have in common.

    Args:
        served: Where it goes.
        raw: A request, and perhaps more behind it.
        status: What is expected.
        code: What is expected.
        whole: It was read to its end before it was refused: the connection may go on.
    """
    with capture_logs() as logs:
        async with connection(served.port) as one:
            answer = await one.exchange(raw)
            assert whole or await one.closed() == b"", "nothing behind it is answered"
    assert (answer.status, answer.json["error"]["code"]) == (status, code), raw[:80]
    assert dict(answer.headers).get("Connection") == (None if whole else "close")
    assert dict(answer.headers)["Content-Type"].startswith("application/json")
    assert served.token.encode() not in answer.body
    assert served.token not in str(logs)
    assert await served.events() == []
    await served.all_left()
    return answer


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Many connections."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connection(port)) for _ in range(count)]


async def pieces(one: Connection, raw: bytes, size: int) -> None:
    """Send in pieces, each of which the other end reads by itself."""
    sock = one.writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(raw), size):
        await one.send(raw[start : start + size])
        await settled(4)


def deaf(one: Connection) -> None:
    """Read nothing of what comes: a reset would take it away unseen."""
    cast(asyncio.Transport, one.writer.transport).pause_reading()


def listening(one: Connection) -> None:
    """Read again."""
    cast(asyncio.Transport, one.writer.transport).resume_reading()
