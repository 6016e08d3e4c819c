"""Readers of the live feed, as a browser's `EventSource` is one; they can be cut off anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.senders import Answer, Connection, connection, head, read_answer
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a feed."""

    name: str
    data: Any
    id: str = ""


class FeedReader:
    """Reads feeds, one after the other, and goes on from where it was.

    Attributes:
        messages: All that came whole.
        position: The last id among them, which is brought back.
        answer: What the last request was answered with: status and header fields.
    """

    def __init__(self, port: int, token: str, **query: object) -> None:
        self.port, self.token, self.query = port, token, query
        self.messages: list[Message] = []
        self.position = ""
        self.answer: Answer

    def of(self, name: str) -> list[Any]:
        """What came under a name."""
        return [message.data for message in self.messages if message.name == name]

    @property
    def sequences(self) -> list[int]:
        """Of the events that came."""
        return [event["sequence"] for event in self.of("event")]

    async def got(self, name: str, count: int = 1) -> list[Any]:
        """Wait for as many messages of a name."""
        await until(lambda: len(self.of(name)) >= count)
        return self.of(name)

    def request(self) -> bytes:
        fields = [("Host", "relay"), ("Authorization", f"Bearer {self.token}")]
        if self.position:
            fields.append(("Last-Event-ID", self.position))
        return head(f"GET /api/v1/feed?{urlencode(self.query)} HTTP/1.1", fields)

    async def read(self, limit: int = 1 << 40) -> None:
        """Read a feed until it ends, or so many bytes of it came."""
        async with connection(self.port) as one:
            await self.read_from(one, limit)

    async def read_from(self, one: Connection, limit: int = 1 << 40) -> None:
        await one.send(self.request())
        self.answer = await read_answer(one.reader)
        if self.answer.status != 200:
            return
        unread = _Chunks(), _Messages()
        while limit > 0 and (raw := await one.reader.read(min(limit, 65_536))):
            limit -= len(raw)
            for message in unread[1].add(unread[0].add(raw)):
                self.messages.append(message)
                self.position = message.id or self.position

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[asyncio.Task[None]]:
        """Read meanwhile; begins once the feed does."""
        before = len(self.messages)
        task = asyncio.create_task(self.read())
        try:
            await until(lambda: len(self.messages) > before or task.done())
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task


class _Chunks:
    """Takes the chunks of a body apart, wherever they were cut."""

    def __init__(self) -> None:
        self._raw, self._left = b"", 0  # `_left`: of a chunk, with the line end behind it

    def add(self, raw: bytes) -> bytes:
        self._raw += raw
        found = b""
        while self._raw:
            if self._left:
                taken = self._raw[: self._left]
                self._raw, self._left = self._raw[len(taken) :], self._left - len(taken)
                found += taken[: len(taken) - max(0, 2 - self._left)]
                continue
            size, end, rest = self._raw.partition(b"\r\n")
            if not end:
                break
            self._raw, self._left = rest, int(size, 16) + 2
        return found


class _Messages:
    """Reads messages: one that was cut off never was."""

    def __init__(self) -> None:
        self._raw = b""

    def add(self, raw: bytes) -> list[Message]:
        *whole, self._raw = (self._raw + raw).split(b"\n\n")
        return [_message(one.decode()) for one in whole]


def _message(text: str) -> Message:
    fields = dict(line.split(": ", 1) for line in text.split("\n"))
    return Message(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
