"""A TCP proxy that does to connections what bad networks do: cut, swallow, delay, refuse.

It stands between a client and a server:

    async with open_proxy(relay.port) as proxy:
        client = await relay.connect(token, "--url", proxy.url, "--to", target.address)
        proxy.link.up.cut_after(7)    # 7 more bytes reach the server, then the link breaks
        proxy.link.down.swallow()     # the server's bytes vanish, and it does not notice
        proxy.link.up.delay_s = 0.2   # what comes from now on takes so much longer

"Up" is from the client to the server, "down" the other way. Bytes are counted in each direction
from the link's first, so that a test can name an offset (`cut_at`) or one from now (`cut_after`).
What is to happen from a link's first byte on is set by `proxy.on_link`, which is called with each
new link before anything passes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from tests.support.processes import free_port

_PIECE_BYTES = 65_536
_PIECES_ON_THE_WAY = 64  # of one direction, while they are delayed; then the sender has to wait
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: a close sends RST


class Way:
    """One direction of a link.

    Attributes:
        passed: Bytes that were handed to the receiver.
        swallowed: Bytes that vanished.
        delay_s: How much later each piece arrives; order is kept.
        cut_at: The link breaks as soon as so many bytes have passed; None for never.
    """

    def __init__(self, link: Link) -> None:
        self.passed = 0
        self.swallowed = 0
        self.delay_s = 0.0
        self.cut_at: int | None = None
        self._link = link
        self._swallows = False
        self._writer: asyncio.StreamWriter | None = None

    def cut_after(self, count: int) -> None:
        """Let so many more bytes pass, then break the link; at once for none."""
        self.cut_at = self.passed + count
        if count == 0:
            self._link.cut()

    def half_close(self) -> None:
        """Tell the receiver that nothing more comes, and let what still comes vanish."""
        self._swallows = True
        if self._writer is not None and self._writer.can_write_eof():
            self._writer.write_eof()

    def swallow(self, on: bool = True) -> None:
        """Let bytes vanish from now on, or no more; both ends believe that all is well."""
        self._swallows = on

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until the sender ends or the link is cut."""
        self._writer = writer
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_ON_THE_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader, pieces))
            group.create_task(self._give(writer, pieces))

    async def _take(
        self, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        piece = b"-"
        while piece:
            piece = await reader.read(_PIECE_BYTES)
            await pieces.put((loop.time() + self.delay_s, piece))

    async def _give(
        self, writer: asyncio.StreamWriter, pieces: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await pieces.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not piece:
                break
            await self._pass(writer, piece)
        if not self._swallows and writer.can_write_eof():
            writer.write_eof()

    async def _pass(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        if self._swallows:
            self.swallowed += len(piece)
            return
        if self.cut_at is not None:
            piece = piece[: max(0, self.cut_at - self.passed)]
        writer.write(piece)
        await writer.drain()
        self.passed += len(piece)
        if self.cut_at is not None and self.passed >= self.cut_at:
            self._link.cut()


class Link:
    """One connection through the proxy.

    Attributes:
        up: From the client to the server.
        down: From the server to the client.
        was_cut: It did not end by itself.
    """

    def __init__(self) -> None:
        self.up = Way(self)
        self.down = Way(self)
        self.was_cut = False
        self._writers: list[asyncio.StreamWriter] = []
        self._over = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self._over.is_set()

    def cut(self) -> None:
        """Break it at once: both ends get an RST."""
        if self.alive:
            self.was_cut = True
            self._over.set()

    async def run(
        self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter], ports: Sequence[int]
    ) -> None:
        """Connect to the first server that is there, and carry bytes both ways, to the end."""
        self._writers.append(client[1])
        try:
            for port in ports:
                with suppress(ConnectionRefusedError):
                    server = await asyncio.open_connection("127.0.0.1", port)
                    self._writers.append(server[1])
                    await self._carry(client, server)
                    break
        except OSError:
            pass  # the server is not there: the client learns it by the close
        finally:
            self._over.set()
            for writer in self._writers:
                self._close(writer)

    async def _carry(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        over = asyncio.create_task(self._over.wait())
        ways = [
            asyncio.create_task(self.up.carry(client[0], server[1])),
            asyncio.create_task(self.down.carry(server[0], client[1])),
        ]
        ended = asyncio.create_task(asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION))
        await asyncio.wait([over, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (over, ended, *ways):
            task.cancel()
        await asyncio.gather(over, ended, *ways, return_exceptions=True)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        opened = writer.get_extra_info("socket")
        if self.was_cut and opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


class Proxy:
    """Listens on a port of its own, and carries every connection to a server's, in turn.

    Attributes:
        port: That clients connect to.
        links: Every connection that came, ended or not, in order.
        on_link: Called with each new one before a byte passes.
        server_ports: Where it carries them to.
    """

    def __init__(self, *server_ports: int) -> None:
        self.port = free_port()
        self.links: list[Link] = []
        self.on_link: Callable[[Link], None] = lambda _: None
        self.server_ports = deque(server_ports)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> Link:
        """The newest one."""
        return self.links[-1]

    @property
    def cuts(self) -> int:
        return sum(link.was_cut for link in self.links)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse new connections, and cut those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in self.links:
            link.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        self.links.append(link)
        self.on_link(link)
        self.server_ports.rotate()
        task = asyncio.create_task(link.run((reader, writer), tuple(self.server_ports)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def open_proxy(*server_ports: int) -> AsyncIterator[Proxy]:
    """A proxy that works for as long as the block, and may be stopped and started in it."""
    proxy = Proxy(*server_ports)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
