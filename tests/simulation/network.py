"""WebSocket connections without sockets: frames that are late, lost, held up or cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

from relay_client.websocket import Listener
from relay_protocol.limits import SUBPROTOCOL
from tests.simulation.kernel import Kernel

BUFFER_BYTES = 65_536  # on the way at once before a sender has to wait
CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A WebSocket frame, or the end of the connection.

    Attributes:
        kind: `data`, `ping`, `pong`, `close` or `end`.
    """

    kind: str
    data: bytes = b""
    code: int = 0


class Pipe:
    """One direction of a connection: in order, each frame after a while."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        delays: Callable[[int], float],
        arrived: Callable[[Frame], None],
    ) -> None:
        self.held = False
        self.swallows = False
        self.closed = False
        self.frames_left: int | None = None  # until it is cut
        self.on_cut: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None
        self._kernel = kernel
        self._name = name
        self._delays = delays
        self._arrived = arrived
        self._on_way: deque[Frame] = deque()
        self._stopped: deque[Frame] = deque()  # arrived while it was held
        self.bytes = 0
        self._last = 0.0
        self._room = asyncio.Event()
        self._room.set()

    def send(self, frame: Frame) -> None:
        if self.closed:
            return
        if self.frames_left is not None:
            self.frames_left -= 1
            if self.frames_left < 0:  # the frame is cut in two, which no receiver takes for one
                self.on_cut()
                return
        if self.swallows:
            self._kernel.note("frame swallowed", pipe=self._name)
            return
        self.bytes += len(frame.data)
        if self.bytes > BUFFER_BYTES:
            self._room.clear()
        self._on_way.append(frame)
        self._last = max(self._last, self._kernel.now + self._delays(len(frame.data)))
        self._kernel.loop.call_at(self._last, self._arrive)

    async def room(self) -> None:
        await self._room.wait()

    def hold(self) -> None:
        """Let nothing arrive for now."""
        self.held = True

    def let_go(self) -> None:
        """Let everything arrive that was held."""
        self.held = False
        while self._stopped and not self.held:
            self._hand_over(self._stopped.popleft())

    def close(self) -> None:
        """What is on its way is lost."""
        self.closed = True
        self._on_way.clear()
        self._stopped.clear()
        self._room.set()

    def _arrive(self) -> None:
        if not self._on_way:
            return
        frame = self._on_way.popleft()
        if self.held or self._stopped:
            self._stopped.append(frame)
        else:
            self._hand_over(frame)

    def _hand_over(self, frame: Frame) -> None:
        self.bytes -= len(frame.data)
        if self.bytes <= BUFFER_BYTES and not self._room.is_set():
            self._room.set()
            self.on_room()
        self._arrived(frame)


class Link:
    """A connection between a client and the server.

    Attributes:
        client: What the client's tunnel takes for its socket.
        server: What the server's connection takes for its own.
    """

    def __init__(
        self,
        kernel: Kernel,
        machine: int,
        delays: Callable[[int], float],
        disturbed: Callable[[], None],
    ) -> None:
        self.number = kernel.number()
        self.machine = machine
        self.disturbed = disturbed
        self.kernel = kernel
        self.client = ClientEnd(self)
        self.server = ServerEnd(self)
        name = f"{self.number}"
        self.up = Pipe(kernel, f"{name}.up", delays, self.server.arrived)
        self.down = Pipe(kernel, f"{name}.down", delays, self.client.arrived)
        self.up.on_cut = self.down.on_cut = self.cut

    @property
    def alive(self) -> bool:
        """Whether either end still believes in it."""
        return not (self.client.lost and self.server.lost)

    def cut(self) -> None:
        """Both ends learn that it is gone."""
        self.kernel.note("link cut", link=self.number)
        self._close()
        self.client.lose()
        self.server.lose()

    def half_open(self, *, client_knows: bool) -> None:
        """It is gone, and one end does not know."""
        self.kernel.note("link half open", link=self.number, client_knows=client_knows)
        self._close()
        (self.client if client_knows else self.server).lose()

    def aborted(self, end: _End) -> None:
        """One end hangs up; the other hears of it, if anything comes through."""
        self.disturbed()
        pipe = self.up if end is self.client else self.down
        pipe.send(Frame("end"))
        end.lose()

    def _close(self) -> None:
        self.disturbed()
        self.up.close()
        self.down.close()


class _End:
    """What both ends of a link have in common; each is its own transport, too.

    Attributes:
        lost: The connection is gone, as far as this end knows.
    """

    def __init__(self, link: Link) -> None:
        self.lost = False
        self._link = link
        self._news = asyncio.Event()

    @property
    def transport(self) -> _End:
        return self

    def abort(self) -> None:
        if not self.lost:
            self._link.aborted(self)

    def lose(self) -> None:
        self.lost = True
        self._news.set()

    async def _wait_for_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _wait_for_goodbye(self) -> None:
        """Wait for the answer to a close for a while, then do without."""
        try:
            async with asyncio.timeout(CLOSE_S):
                while not self.lost:
                    await self._wait_for_news()
        except TimeoutError:
            self.abort()


class ClientEnd(_End):
    """As much of the tunnel's `Socket` as it uses."""

    subprotocol = SUBPROTOCOL

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._received: deque[Frame] = deque()
        self._listener: Listener | None = None
        self._reads = False
        self._closed: Close | None = None

    def listen(self, listener: Listener) -> None:
        """Tell at once what comes."""
        self._listener = listener
        self._link.up.on_room = listener.has_room
        self.read(go_on=True)
        if self.lost:
            listener.lost()

    def read(self, *, go_on: bool) -> None:
        """Take what comes, or leave it for later."""
        self._reads = go_on
        while self._reads and self._received:
            self._take(self._received.popleft())

    @property
    def paused(self) -> bool:
        """Whether whoever sends has to wait."""
        return self._link.up.bytes > BUFFER_BYTES

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Send messages."""
        for message in messages:
            if not self.lost:
                self._link.up.send(Frame("data", message))

    def send_ping(self) -> None:
        """Send a ping."""
        if not self.lost:
            self._link.up.send(Frame("ping"))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, and wait for the answer for a while."""
        if self.lost:
            return
        self._link.disturbed()
        self._link.up.send(Frame("close", reason.encode(), code))
        await self._wait_for_goodbye()

    @property
    def close_exc(self) -> ConnectionClosed:
        """How it ended."""
        if self._closed is None:
            return ConnectionClosedError(None, None)
        return ConnectionClosedOK(self._closed, self._closed, True)

    def arrived(self, frame: Frame) -> None:
        if self.lost:
            return
        match frame.kind:
            case "ping":
                self._link.up.send(Frame("pong", frame.data))
            case "close":
                self._closed = Close(frame.code, frame.data.decode(errors="replace"))
                self._link.up.send(frame)
                self.lose()
            case "end":
                self.lose()
            case _ if self._reads:
                self._take(frame)
            case _:
                self._received.append(frame)

    def lose(self) -> None:
        """The connection is gone."""
        if not self.lost:
            super().lose()
            if self._listener is not None:
                self._listener.lost()

    def _take(self, frame: Frame) -> None:
        assert self._listener is not None
        if frame.kind == "data":
            self._listener.received(frame.data)
        else:
            self._listener.ponged()


class ServerEnd(_End):
    """As much of aiohttp's WebSocketResponse, and of its transport, as a connection uses."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._received: deque[WSMessage] = deque()
        self._closing = False

    async def receive(self) -> WSMessage:
        while not self._received:
            if self.lost or self._closing:
                return WSMessage(WSMsgType.CLOSED, None, None)
            await self._wait_for_news()
        return self._received.popleft()

    def write(self, frames: bytes) -> None:
        """Send frames with a message each, whose headers say how long it is (RFC 6455 §5.2)."""
        while frames:
            head = {126: 4, 127: 10}.get(frames[1], 2)
            size = int.from_bytes(frames[2:head], "big") if head > 2 else frames[1]
            assert len(frames) >= head + size
            self._link.down.send(Frame("data", frames[head : head + size]))
            frames = frames[head + size :]

    def get_write_buffer_size(self) -> int:
        return self._link.down.bytes

    def is_closing(self) -> bool:
        """The connection is gone, or about to be."""
        return self.lost or self._closing

    async def drain(self) -> None:
        if self.lost:
            raise ClientConnectionResetError("Cannot write to closing transport")
        await self._link.down.room()

    async def ping(self) -> None:
        await self._send(Frame("ping"))

    async def pong(self, data: bytes) -> None:
        await self._send(Frame("pong", data))

    async def close(self, *, code: int = 1000, message: bytes = b"") -> None:
        """Say goodbye, and wait for the answer for a while."""
        if self.lost or self._closing:
            return
        self._link.disturbed()
        self._closing = True
        self._news.set()
        self._link.down.send(Frame("close", message, code))
        await self._wait_for_goodbye()

    def arrived(self, frame: Frame) -> None:
        if self.lost:
            return
        match frame.kind:
            case "data":
                self._take(WSMsgType.BINARY, frame.data)
            case "ping":
                self._take(WSMsgType.PING, frame.data)
            case "pong":
                self._take(WSMsgType.PONG, frame.data)
            case "close":
                if not self._closing:
                    self._link.down.send(frame)
                self.lose()
            case _:
                self.lose()
        self._news.set()

    def lose(self) -> None:
        """The connection is gone, which may explain repeats."""
        super().lose()
        self._link.disturbed()

    def _take(self, kind: WSMsgType, data: Any) -> None:
        if not self._closing:
            self._received.append(WSMessage(kind, data, None))

    async def _send(self, frame: Frame) -> None:
        await self.drain()
        self._link.down.send(frame)
