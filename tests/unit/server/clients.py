"""Clients of the WebSocket: one that speaks the protocol, and one that reads nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType

from relay_protocol.codec import decode_server, encode
from relay_protocol.messages import (
    ClientMessage,
    Deliver,
    Hello,
    Result,
    ServerMessage,
    Wanted,
    Welcome,
)
from relay_protocol.values import Response
from relay_server.web import gateway
from relay_server.web.gateway import VERSION
from tests.support.events import new_event
from tests.support.senders import handshake
from tests.support.waiting import settled, until
from tests.unit.server.support import Served


@dataclass
class Client:
    """One end of the WebSocket."""

    socket: aiohttp.ClientWebSocketResponse

    async def say(self, message: ClientMessage) -> None:
        await self.socket.send_bytes(encode(message))

    async def hello(self, *channels: str, window: int = 32, name: str | None = None) -> None:
        wanted = tuple(Wanted(c, name) for c in channels or ("chatwoot",))
        await self.say(Hello(VERSION, "laptop", wanted, window))

    async def join(self, *channels: str, window: int = 32, name: str | None = None) -> Welcome:
        await self.hello(*channels, window=window, name=name)
        welcome = await self.next()
        assert isinstance(welcome, Welcome)
        return welcome

    async def next(self) -> ServerMessage:
        return decode_server(await self.socket.receive_bytes(timeout=20))

    async def deliver(self) -> Deliver:
        message = await self.next()
        assert isinstance(message, Deliver), message
        return message

    async def take(self) -> Deliver:
        """Take a delivery and say that the target took it."""
        deliver = await self.deliver()
        await self.say(Result(deliver.delivery, Response(200)))
        return deliver

    async def closed(self) -> tuple[int | None, list[ServerMessage]]:
        """Read until the server closes: its code, and what it said before."""
        async with asyncio.timeout(20):
            said = [message async for message in self.socket]
        frames = [message.data for message in said if message.type is WSMsgType.BINARY]
        return self.socket.close_code, [decode_server(frame) for frame in frames]


@asynccontextmanager
async def client(served: Served, token: str) -> AsyncIterator[Client]:
    """A client that is connected, and says nothing yet."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{served.port}/connect",
            headers={"Authorization": f"Bearer {token}"},
            protocols=("relay.v1",),
            autoping=False,
            max_msg_size=0,
        ) as ws,
    ):
        assert ws.protocol == "relay.v1"
        yield Client(ws)


async def store(served: Served, count: int, channel: str = "chatwoot", size: int = 2) -> None:
    """Store events, each of a key of its own."""
    number = served.store.catalog.channels[channel].number
    for key in range(count):
        await served.store.append(number, new_event(b"x" * size, key=str(key)))


def tick(served: Served, seconds: float) -> None:
    """Let time pass, and the connections look at it."""
    served.clock.advance(seconds)
    for reader in list(served.context.hub._peers):
        reader.tick(served.clock.monotonic())


async def join_deaf(
    served: Served, token: str
) -> tuple[asyncio.StreamWriter, gateway.Connection, socket.socket]:
    """A client that reads nothing, with more for it than the system takes.

    Returns:
        What it writes by, the server's end, and the socket of that.
    """
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.connect(("127.0.0.1", served.port))
    deaf.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=deaf, limit=4_096)
    writer.write(handshake(token))
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    await until(lambda: served.context.hub.connections == 1)
    [there] = served.context.hub._peers
    assert isinstance(there, gateway.Connection)
    assert there._transport is not None
    ours = there._transport.get_extra_info("socket")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    hello = Hello(VERSION, "x", (Wanted("chatwoot"),), 32)
    assert there._receive(encode(hello), served.clock.now) == hello
    await there._join(hello, encode(hello))
    await store(served, 20, size=200_000)
    await until(lambda: there._sending_since is not None)
    await settled()
    return writer, there, ours


async def joined(served: Served, ana: Client) -> tuple[gateway.Connection, int]:
    """Join, and return the server's end and the subscription."""
    [granted] = (await ana.join()).subscriptions
    [connected] = served.context.hub._peers
    assert isinstance(connected, gateway.Connection)
    return connected, granted.subscription
