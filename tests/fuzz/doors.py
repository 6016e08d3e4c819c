"""A server's public port without a socket: bytes go in, bytes come out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from relay_server.auth import digest
from relay_server.configs import ChannelConfig, SenderKind
from relay_server.delivery.hub import Hub
from relay_server.metrics import Metrics
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.store.interface import Waiter
from relay_server.values import ChannelNumber, NewEvent, Scope, Token
from relay_server.web.context import Context
from relay_server.web.front import ANSWERING, Front, FrontDoor
from relay_server.web.server import BoundedHandler
from tests.support.clock import START_MS, VirtualClock
from tests.support.stores import MemoryStore
from tests.support.waiting import settled

SEND_TOKEN, ADMIN_TOKEN = "rly_send", "rly_admin"
CHANNELS = ("chatwoot", "open", "pointed")
FOLDER = Path(tempfile.gettempdir())

_loop = asyncio.new_event_loop()
_settings, _metrics = ServerSettings(data_dir=FOLDER), Metrics()  # the slowest parts to make


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run something to its end."""
    _loop.run_until_complete(work)


class Wire(asyncio.Transport):
    """The server's end of a connection; keeps what is written to it.

    Attributes:
        over: Set once the server ended its side, or closed.
    """

    def __init__(self) -> None:
        super().__init__({"peername": ("203.0.113.9", 40_000)})
        self.written = bytearray()
        self.over = asyncio.Event()
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.over.is_set()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.over.set()

    def close(self) -> None:
        self.over.set()

    def abort(self) -> None:
        self.over.set()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""


class HandedOver:
    """What takes a connection whose request is no webhook, and only notes what it gets."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.on_lost: list[object] = []
        self.give_back: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is handed over."""

    def data_received(self, data: bytes) -> None:
        self.got += data


class NotingStore(MemoryStore):
    """A store in memory.

    Attributes:
        taken: Name of the channel and webhook, in the order in which they came; repeats, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[str, NewEvent]] = []

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        super().append_for(channel, event, waiter)
        name = next(c.name for c in self.catalog.channels.values() if c.number == channel)
        self.taken.append((name, event))


class World:
    """A server's parts around a store in memory, with three channels and two tokens."""

    def __init__(self) -> None:
        self.clock = VirtualClock(now=1_000.0)
        self.store = NotingStore()
        hub = Hub(self.store, self.clock, _metrics)
        self.context = Context(
            _settings, Sources((), ()), self.store, hub, _metrics, self.clock, Sealer(FOLDER)
        )
        self.handed = HandedOver()
        self.front = Front(self.context, lambda: cast(BoundedHandler, self.handed))

    async def fill(self) -> None:
        """Make the channels and the tokens."""
        other, chatwoot = SenderKind.OTHER, SenderKind.CHATWOOT
        configs = (
            ChannelConfig(sender=chatwoot),
            ChannelConfig(sender=chatwoot, token=False),
            ChannelConfig(sender=other, token=False, key_pointer="/a/0/b~1c~0", max_body_bytes=64),
        )
        for name, config in zip(CHANNELS, configs, strict=True):
            await self.store.create_channel(name, config, START_MS)
        for name, secret, scope in (
            ("sender", SEND_TOKEN, Scope.SEND),
            ("root", ADMIN_TOKEN, Scope.ADMIN),
        ):
            token = Token(name, digest(secret.encode()), frozenset({scope}), None, START_MS)
            await self.store.create_token(token)


async def open_world() -> World:
    """A new one."""
    world = World()
    await world.fill()
    return world


async def talk(door: FrontDoor, wire: Wire, pieces: list[bytes]) -> None:
    """Send pieces over a connection, each once what came before is answered."""
    for piece in pieces:
        if wire.over.is_set() or wire.protocol is not None:
            break
        door.data_received(piece)
        if door._phase is ANSWERING:
            await settled()
