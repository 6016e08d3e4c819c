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
An address may lead to another server than the one that announced it, as a balancer's does: so the
one that is meant is named, and any other refuses (`gateway`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
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
from relay_server.reported import Neighbour
from relay_server.sealing import OpenSealed, Sealer
from relay_server.store.interface import Store

log = structlog.get_logger()

HEADER = "Relay-Bridged"  # names the server that is meant
ANYBODY = "1"  # what a server says instead that knows of no names
CONNECT_S = 1.0  # for the other server to take a connection
CLOSE_S = 1.0  # for its answer to a close
SILENT_S = HEARTBEAT_S * (MISSED_HEARTBEATS + 1)  # it pings: after so long without it is gone
BROKEN = Close(CloseCode.RESTART, "the server that serves this is gone")

_ANNOUNCED = b"replica at "  # before an address: nothing else that is sealed is one

REACHED, UNKNOWN, MISDIRECTED = 204, 401, 421  # what servers answer who brings no token
FIX_KEY = "give all servers the same RELAY_SERVER_SECRET_KEY"
FIX_WAY = (
    "on the server that is not reached, set RELAY_SERVER_REPLICA_URL to a host and port that the"
    " other one reaches, with no firewall between"
)
FIX_NAME = (
    "on the server that is not reached, set RELAY_SERVER_REPLICA_URL to what leads to it alone: not"
    " to a balancer, nor to the name of a service"
)

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class NoBridge(Exception):
    """Another server is not reached, and why.

    Attributes:
        fix: What to do about it.
        status: That it answered, if it did.
    """

    def __init__(self, why: str, fix: str, status: int = 0) -> None:
        super().__init__(why)
        self.fix, self.status = fix, status


def announced(url: str, sealer: Sealer) -> str:
    """An address as other servers read it in their database; empty for none."""
    return sealer.seal(_ANNOUNCED + url.encode()).decode() if url else ""


async def owner_of(
    store: Store, asked: Iterable[tuple[Wanted, str]], open_sealed: OpenSealed
) -> Neighbour | None:
    """The server that reads what is to be shared; None where that is this one, or none.

    Raises:
        StoreUnavailable: It cannot be known now.
    """
    for wanted, name in asked:
        if wanted.share and (owner := await store.reading_server(wanted.channel, name)):
            try:
                return found(owner, open_sealed) if owner.address else None
            except NoBridge as exc:
                log.warning("no bridge to another server", server=owner.name, error=str(exc))
    return None


def found(owner: Neighbour, open_sealed: OpenSealed) -> Neighbour:
    """A server, by the address that it announced; raises `NoBridge`."""
    try:
        said = open_sealed(owner.address.encode())
    except InvalidValue:
        said = b""
    if not said.startswith(_ANNOUNCED):
        raise NoBridge("its address is sealed with another key, or no server wrote it", FIX_KEY)
    return Neighbour(owner.name, said.removeprefix(_ANNOUNCED).decode())


async def ask(owner: Neighbour) -> None:
    """See that a server is reached, by the way of a bridge; raises `NoBridge`."""
    async with aiohttp.ClientSession() as session:
        try:
            socket = await _connected(session, owner, {})
        except NoBridge as exc:
            if exc.status not in (REACHED, UNKNOWN):
                raise
        else:
            await socket.close()


async def _connected(
    session: aiohttp.ClientSession, owner: Neighbour, headers: Mapping[str, str]
) -> aiohttp.ClientWebSocketResponse:
    address = owner.address
    try:
        async with asyncio.timeout(CONNECT_S):
            return await session.ws_connect(
                f"{address.rstrip('/')}/connect",
                protocols=(SUBPROTOCOL,),
                headers={HEADER: owner.name, **headers},
                autoping=False,
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_receive=SILENT_S, ws_close=CLOSE_S),
            )
    except aiohttp.WSServerHandshakeError as exc:
        if exc.status == MISDIRECTED:
            raise NoBridge(f"another server answers at {address}", FIX_NAME, exc.status) from exc
        why = f"{address} answers with the status {exc.status}, as no server of this store does"
        raise NoBridge(why, FIX_WAY, exc.status) from exc
    except TimeoutError as exc:
        why = f"{address} does not answer within {CONNECT_S:g} s"
        raise NoBridge(why, FIX_WAY) from exc
    except (aiohttp.ClientError, OSError, ValueError) as exc:  # the last of what is no host's name
        raise NoBridge(f"{address} cannot be reached: {_reason(exc)}", FIX_WAY) from exc


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error)


@asynccontextmanager
async def opened(
    owner: Neighbour, authorization: str, hello: bytes
) -> AsyncIterator[aiohttp.ClientWebSocketResponse | None]:
    """A connection to another server, which has the hello; None where that cannot be reached."""
    async with aiohttp.ClientSession() as session:
        try:
            socket = await _connected(session, owner, {"Authorization": authorization})
            await socket.send_bytes(hello)
        except (NoBridge, ConnectionError) as exc:
            log.warning("no bridge to another server", server=owner.name, error=str(exc))
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
