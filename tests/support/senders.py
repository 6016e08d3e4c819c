"""Senders of webhooks on raw sockets: what they write is what is on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.waiting import LONG_S, until

Headers = Sequence[tuple[str, str]]

ANSWER_S = LONG_S


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def without_date(self) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """All of it but what changes with the time alone."""
        kept = tuple(field for field in self.headers if field[0].lower() != "date")
        return self.status, kept, self.body


def request(
    target: str = "/webhook",
    body: bytes = b"{}",
    headers: Headers = (),
    *,
    method: str = "POST",
    token: str | None = None,
    length: int | None = None,
) -> bytes:
    """A request's bytes; `token` goes as a bearer's, and Content-Length says `length` if given."""
    fields = [("Host", "relay.example.com"), ("Content-Type", "application/json"), *headers]
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    fields.append(("Content-Length", str(len(body) if length is None else length)))
    return head(f"{method} {target} HTTP/1.1", fields) + body


def head(first_line: str, fields: Headers) -> bytes:
    """The bytes of a request up to its body; characters are sent as Latin-1 when they can be."""
    lines = [first_line, *(f"{name}: {value}" for name, value in fields), "", ""]
    text = "\r\n".join(lines)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def chunked(parts: Iterable[bytes], target: str, token: str | None, headers: Headers = ()) -> bytes:
    """The bytes of a request whose body goes in chunks."""
    fields = [("Host", "relay.example.com"), *headers, ("Transfer-Encoding", "chunked")]
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head(f"POST {target} HTTP/1.1", fields) + body + b"0\r\n\r\n"


def handshake(token: str, *more: tuple[str, str]) -> bytes:
    """The bytes that ask for the WebSocket."""
    fields = [
        ("Host", "relay"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "relay.v1"),
        ("Authorization", f"Bearer {token}"),
    ]
    return head("GET /connect HTTP/1.1", [*fields, *more])


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer.

    Raises:
        IncompleteReadError: The connection ended before.
    """
    async with asyncio.timeout(ANSWER_S):
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        fields = tuple((name, value) for name, _, value in (li.partition(": ") for li in lines))
        length = next((int(v) for n, v in fields if n.lower() == "content-length"), 0)
        return Answer(int(first.split(" ")[1]), fields, await reader.readexactly(length))


class Connection:
    """A connection to the relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        """Write; one that is no longer read is no error here."""
        try:
            self.writer.write(raw)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def exchange(self, raw: bytes) -> Answer:
        """Send a request and read its answer."""
        sending = asyncio.create_task(self.send(raw))
        try:
            return await read_answer(self.reader)
        finally:
            sending.cancel()

    async def closed(self, within_s: float = ANSWER_S) -> bytes:
        """What comes until the other end closes the connection."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Connection]:
    """A connection to a port of the loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(port: int, raw: bytes) -> Answer:
    """Send a request on a connection of its own, and read the answer."""
    async with connection(port) as one:
        return await one.exchange(raw)


async def post_all(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send requests in order over one kept connection."""
    async with connection(port) as one:
        return [await one.exchange(raw) for raw in requests]


class Load:
    """Conversations that go on until stopped; what is not answered 2xx is not said again.

    Attributes:
        accepted: Event ids of what was answered 2xx.
        refused: Other answers' statuses.
        cut: How many got no answer on a connection that was made.
    """

    def __init__(
        self,
        port: int,
        make: Callable[[int, int], bytes],
        conversations: int,
        pause_s: float,
        *,
        keep: bool,
    ) -> None:
        self.accepted: set[str] = set()
        self.refused: list[int] = []
        self.cut = 0
        self._keep = keep
        self._port = port
        self._make = make
        self._pause_s = pause_s
        self._going = True
        self._tasks = [asyncio.create_task(self._talk(c)) for c in range(conversations)]

    async def accepts(self, count: int) -> None:
        """Wait until so many more were answered 2xx."""
        goal = len(self.accepted) + count
        await until(lambda: len(self.accepted) >= goal)

    async def stop(self) -> None:
        """Let each conversation end its last sentence."""
        self._going = False
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _talk(self, conversation: int) -> None:
        number = 0
        while self._going:
            try:
                async with connection(self._port) as one:
                    while self._going:
                        number += 1
                        kept = await self._post(one, conversation, number)
                        await asyncio.sleep(self._pause_s)  # the pace of a load, not a wait
                        if not kept:
                            break
            except OSError:
                await asyncio.sleep(self._pause_s)  # the server is away

    async def _post(self, one: Connection, conversation: int, number: int) -> bool:
        """Send one; whether the connection may be used again."""
        try:
            answer = await one.exchange(self._make(conversation, number))
        except (OSError, asyncio.IncompleteReadError):
            self.cut += 1
            return False
        if 200 <= answer.status < 300:
            self.accepted.add(answer.json["id"])
        else:
            self.refused.append(answer.status)
        return self._keep and ("Connection", "close") not in answer.headers


@asynccontextmanager
async def load(
    port: int,
    make: Callable[[int, int], bytes],
    *,
    conversations: int = 8,
    pause_s: float = 0.02,
    keep: bool = True,
) -> AsyncIterator[Load]:
    """Conversations that are going on for as long as the block; `keep`: each on one connection."""
    going = Load(port, make, conversations, pause_s, keep=keep)
    try:
        yield going
    finally:
        going.cancel()
