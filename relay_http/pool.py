"""Connections to one target, kept for a moment between events."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable

from relay_http.connection import Connection
from relay_http.reach import open_socket
from relay_http.target import Target
from relay_http.tls import make_context

Opener = Callable[[Target], Awaitable[socket.socket]]

# Servers close idle connections after 2 s (gunicorn) and more, and a request sent into one just
# then fails: be done with it before.
_IDLE_S = 1.0


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
