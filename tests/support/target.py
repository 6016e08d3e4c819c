"""A target on a raw socket, which keeps what it got as it was on the wire."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.processes import free_port
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nbroken"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that came.

    Attributes:
        headers: In order, as written.
        at: Monotonic seconds when it was whole.
    """

    method: str
    request_target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    def header(self, name: bytes) -> bytes:
        """The one value of a header."""
        [value] = [v for n, v in self.headers if n.lower() == name.lower()]
        return value

    @property
    def event_id(self) -> str:
        return self.header(b"Relay-Event-Id").decode()

    @property
    def attempt(self) -> int:
        return int(self.header(b"Relay-Attempt"))


Answering = Callable[[Arrival], Awaitable[bytes]]
Saying = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


async def say(raw: bytes, writer: asyncio.StreamWriter) -> None:
    """Write an answer as one should."""
    writer.write(raw)
    await writer.drain()


def always(raw: bytes) -> Answering:
    """The same answer to everything, at once."""

    async def answer(_: Arrival) -> bytes:
        return raw

    return answer


def gated(target: Target, raw: bytes = OK) -> asyncio.Event:
    """Have a target answer nothing until the event is set."""
    gate = asyncio.Event()

    async def answer(_: Arrival) -> bytes:
        await gate.wait()
        return raw

    target.answer = answer
    return gate


class Target:
    """Listens on a port of its own, and answers as it is told to.

    Attributes:
        answer: Gives the raw answer to what came.
        saying: Gives the way in which an answer is written.
        arrivals: Everything that came whole, in order.
        under_way: What came and is not answered.
        seen: Event ids of what came.
        connections: How many were made, ever.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.answer: Answering = always(OK)
        self.saying: Callable[[Arrival], Saying] = lambda _: say
        self.arrivals: list[Arrival] = []
        self.under_way: list[Arrival] = []
        self.seen: set[str] = set()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """As `--to` takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        return [arrival.body for arrival in self.arrivals]

    @property
    def event_ids(self) -> list[str]:
        """Event ids in the order they came, repeats included."""
        return [arrival.event_id for arrival in self.arrivals]

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=1 << 20, backlog=512
        )

    async def stop(self) -> None:
        """Be gone at once, as a program that is killed."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        self.under_way.clear()

    async def received(self, count: int) -> None:
        """Wait until so many requests came, repeats included."""
        await until(lambda: len(self.arrivals) >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                arrival = await _read(reader)
                self.arrivals.append(arrival)
                self.under_way.append(arrival)
                self.seen.add(arrival.event_id)
                try:
                    answer = await self.answer(arrival)
                finally:
                    if arrival in self.under_way:
                        self.under_way.remove(arrival)
                await self.saying(arrival)(answer, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Arrival:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.split(b"\r\n")[:-2]
    method, request_target, _ = first.decode("latin-1").split(" ")
    headers = tuple((n, v) for n, _, v in (line.partition(b": ") for line in lines))
    lengths = [int(v) for n, v in headers if n.lower() == b"content-length"]
    body = await reader.readexactly(lengths[0]) if lengths else b""
    return Arrival(method, request_target, headers, body)


@asynccontextmanager
async def open_target() -> AsyncIterator[Target]:
    """A target that listens for as long as the block, and may be stopped and started in it."""
    target = Target()
    await target.start()
    try:
        yield target
    finally:
        await target.stop()


def attempts(arrivals: Iterable[Arrival]) -> dict[str, list[int]]:
    """The attempts of each event, in the order they came."""
    found: dict[str, list[int]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.event_id].append(arrival.attempt)
    return found
