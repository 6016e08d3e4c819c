"""Clients that share a subscription are served by one server, whichever each of them reached.

A subscription has one reader, which knows what is under way and in which order (`delivery.hub`). So
a client that wants to share one that another server reads is *bridged*: this server connects to
that one as the client, with its token and its hello, and passes frames on, both ways and whole.

    client ◀──frames──▶ this server ◀──frames──▶ the server whose reader it is

The other server checks the token again, and sees a client like any other. When either end goes, or
says nothing any more (`SILENT_S`), so does the other one: a client whose bridge broke comes back,
and is served by whoever reads then. No bridge leads over another one (`HEADER`). Where the other
server cannot be reached in `CONNECT_S`, the client is served here, and those that share there are
sent here; unless that one took the subscription from here before: then the client is refused.

Servers find each other's addresses in their database. A token is not to go where somebody wrote
that it should who can write there: each server seals its own with the key that they have in common.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import aiohttp
import structlog
from aiohttp import WSMsgType, web

from relay_protocol.limits import (
    HEARTBEAT_S,
    MAX_FRAME_BYTES,
    MISSED_HEARTBEATS,
    SUBPROTOCOL,
)
from relay_protocol.messages import CloseCode, Wanted
from relay_protocol.session import Close
from relay_server.errors import InvalidValue
from relay_server.sealing import OpenSealed, Sealer
from relay_server.store.interface import Store

log = structlog.get_logger()

HEADER = "Relay-Bridged"
CONNECT_S = 1.0  # for the other server to take a connection
CLOSE_S = 1.0  # for its answer to a close
SILENT_S = HEARTBEAT_S * (MISSED_HEARTBEATS + 1)  # it pings: after so long without it is gone
BROKEN = Close(CloseCode.RESTART, "the server that serves this is gone")

_ANNOUNCED = b"replica at "  # before an address: nothing else that is sealed is one

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


def announced(url: str, sealer: Sealer) -> str:
    """An address as other servers read it in their database; empty for none."""
    return sealer.seal(_ANNOUNCED + url.encode()).decode() if url else ""


async def owner_of(
    store: Store, asked: Iterable[tuple[Wanted, str]], open_sealed: OpenSealed
) -> str | None:
    """Where the server is that reads what is to be shared; None where that is this one, or none.

    Args:
        store: Knows who reads what.
        asked: What a client wants, with the names of the subscriptions.
        open_sealed: Opens what servers announced.

    Raises:
        StoreUnavailable: It cannot be known now.
    """
    for wanted, name in asked:
        if wanted.share and (address := await store.reader_address(wanted.channel, name)):
            return _known(address, open_sealed)
    return None


def _known(address: str, open_sealed: OpenSealed) -> str | None:
    try:
        said = open_sealed(address.encode())
    except InvalidValue:
        said = b""
    if not said.startswith(_ANNOUNCED):
        log.warning("no bridge to an address that no server of this store has announced")
        return None
    return said.removeprefix(_ANNOUNCED).decode()


@asynccontextmanager
async def opened(
    address: str, authorization: str, hello: bytes
) -> AsyncIterator[aiohttp.ClientWebSocketResponse | None]:
    """A connection to another server, which has the hello; None where that cannot be reached."""
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    f"{address.rstrip('/')}/connect",
                    protocols=(SUBPROTOCOL,),
                    headers={"Authorization": authorization, HEADER: "1"},
                    autoping=False,
                    max_msg_size=MAX_FRAME_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_receive=SILENT_S, ws_close=CLOSE_S),
                )
                await socket.send_bytes(hello)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            log.warning("no bridge to another server", address=address, error=str(exc))
            yield None
            return
        try:
            yield socket
        finally:
            with suppress(TimeoutError):  # it takes nothing, not even a close
                async with asyncio.timeout(2 * CLOSE_S):
                    await socket.close()


async def bridge(
    client: web.WebSocketResponse,
    other: aiohttp.ClientWebSocketResponse,
    heard: Callable[[], None],
) -> Close:
    """Pass frames on until either end goes, or the other server is silent.

    Args:
        client: Whose they are.
        other: The server that serves it.
        heard: Called with each frame of the client.

    Returns:
        How the client's connection is to be closed.
    """
    there = asyncio.create_task(_pass(client, other, heard), name="bridge there")
    back = asyncio.create_task(_pass(other, client, lambda: None), name="bridge back")
    try:
        await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        return back.result() if back.done() else BROKEN
    finally:
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)


async def _pass(source: Socket, sink: Socket, heard: Callable[[], None]) -> Close:
    try:
        async for message in source:
            heard()
            match message.type:
                case WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
                case WSMsgType.PING:
                    await sink.ping(message.data)
                case WSMsgType.PONG:
                    await sink.pong(message.data)
                case _:
                    break
    except (ConnectionError, TimeoutError, aiohttp.ClientError):
        return BROKEN
    code = source.close_code
    return Close(CloseCode(code), "") if code in set(CloseCode) else BROKEN
