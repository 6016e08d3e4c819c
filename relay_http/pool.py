"""Connections to one target: its addresses found, opened, and kept for a moment between events."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from aiohappyeyeballs import AddrInfoType, start_connection

from relay_http.connection import Connection
from relay_http.target import Target
from relay_http.tls import make_context

Address = tuple[int, str]  # family, and the address as text
Opener = Callable[[Target], Awaitable[socket.socket]]

# Servers close idle connections after 2 s (gunicorn) and more, and a request sent into one just
# then fails: be done with it before.
_IDLE_S = 1.0
_SECOND_ADDRESS_S = 0.25  # an address that is slow to refuse must not hold up the next


class Unreachable(OSError):
    """Nothing was opened, and the message says why."""


async def addresses(host: str, port: int) -> list[Address]:
    """Find the addresses of a host.

    `localhost` is always both loopbacks: resolvers leave `::1` out on a machine that is offline
    or knows no IPv6 beyond itself, and servers that listen there alone could not be found.

    Raises:
        OSError: The name is not known.
    """
    if host.lower() == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a part of the name is empty, or longer than 63 characters
        raise Unreachable(f"{host} is no name of a host") from exc
    return [(family, str(address[0])) for family, _, _, _, address in found]


async def open_socket(target: Target) -> socket.socket:
    """Connect to the target at whichever of its addresses takes it, or raise OSError."""
    return await connect_any(await addresses(target.host, target.port), target.port)


async def connect_any(found: Sequence[Address], port: int) -> socket.socket:
    """Connect to whichever of these addresses takes it and to no other, or raise OSError."""
    choices = [_choice(family, address, port) for family, address in found]
    try:
        opened = await start_connection(choices, happy_eyeballs_delay=_SECOND_ADDRESS_S)
    except RuntimeError as exc:  # uvloop's word for some of them
        raise OSError(str(exc)) from exc
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A port in the range of outgoing connections can, very rarely, be connected to itself.
    if opened.getsockname() == opened.getpeername():
        opened.close()
        raise ConnectionRefusedError
    return opened


def _choice(family: int, address: str, port: int) -> AddrInfoType:
    # Windows wants all four of an IPv6 address.
    place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)


class Pool:
    """Opens connections to a target, and to nothing else.

    Args:
        most: How many idle connections are kept.
        opener: Connects to the target; raises OSError when it cannot.
        tls: Whom to trust, for a target that is spoken to by TLS.
        usable: Says whether a kept connection may be used once more.
    """

    def __init__(
        self,
        target: Target,
        most: int,
        *,
        opener: Opener = open_socket,
        tls: ssl.SSLContext | None = None,
        usable: Callable[[Connection], bool] | None = None,
    ) -> None:
        self._target = target
        self._most = most
        self._opener = opener
        self._tls = (tls or make_context()) if target.secure else None
        self._usable = usable
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()  # the longest idle first
        self._broom: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """Give the kept connection that was used last, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_open:
                continue
            if not connection.is_stale() and (self._usable is None or self._usable(connection)):
                return connection
            connection.close()
        return None

    async def connect(self) -> Connection:
        """Open a new connection.

        Raises:
            OSError: The target does not take it.
        """
        opened = await self._opener(self._target)
        name = None if self._tls is None else self._target.host
        _, connection = await self._loop.create_connection(
            Connection, sock=opened, ssl=self._tls, server_hostname=name
        )
        return connection

    def give_back(self, connection: Connection) -> None:
        """Take a connection after its use; one that cannot be used again is let go."""
        if not connection.is_open:
            return
        if len(self._idle) >= self._most:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._broom is None:
            self._broom = self._loop.call_later(_IDLE_S, self._sweep)

    def close(self) -> None:
        """Close what is idle, and keep nothing more."""
        self._most = 0
        if self._broom is not None:
            self._broom.cancel()
        while self._idle:
            self._idle.pop().close()

    def _sweep(self) -> None:
        long_ago = self._loop.time() - _IDLE_S
        while self._idle and self._idle[0].idle_since <= long_ago:
            self._idle.popleft().close()
        self._broom = None
        if self._idle:
            self._broom = self._loop.call_at(self._idle[0].idle_since + _IDLE_S, self._sweep)
