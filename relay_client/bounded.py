"""The client's WebSocket with bounds that its library lacks."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection

# What the writer sends waits for room above 64 KiB, so a frame more is all that is ever here.
MAX_UNSENT_BYTES = 1_048_576


class BoundedConnection(ClientConnection):
    """Cuts a relay that pings and reads no pong, and one that is told to go and stays.

    The library keeps each pong until it is read, and after a frame that is none it waits for the
    other end to close for as long as nothing is to be sent.
    """

    _goodbye: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol; answers pings, and closes when something is wrong."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()
        elif self._goodbye is None and self.protocol.close_expected():
            assert self.close_timeout is not None
            self._goodbye = self.loop.call_later(self.close_timeout, self.transport.abort)
