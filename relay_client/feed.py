"""The live feed of one channel, which goes on where it was, whatever cut it off.

    relay ──messages──▶ Feed ──▶ a command
            gap ──▶ list of events ──▶ as if the feed had brought them

A message is taken once it is whole, and with it the position behind it. What ends a feed is told,
and the next one is asked to begin there: no event is missed, and none comes twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

import msgspec

from relay_client.answers import UNREADABLE, Events
from relay_client.api import Api
from relay_client.backoff import Backoff
from relay_client.errors import (
    CHECK_URL,
    ClientError,
    RelayProblem,
    RelayUnreachable,
    UsageError,
)
from relay_client.reasons import token_refused
from relay_protocol.text import harmless
from relay_terminal.words import _

PAGE = 500  # events of a gap that are asked for at once
MAX_MESSAGE_BYTES = 1_048_576  # of the feed; a longer one is no relay's
BUSY = 503  # it comes back


@dataclass(frozen=True, slots=True)
class Message:
    """What the feed says, under the names of its page.

    Attributes:
        cursor: Where it moves the reader; empty where it does not.
    """

    name: str
    data: dict[str, Any]
    cursor: str = ""


class Feed:
    """Follows a channel for as long as it is asked.

    Args:
        q: A filter: which events; empty for all.
        cursor: Behind what it begins; empty for now.
        state: What becomes of deliveries is told, too.
        lost: Called once when the relay is away, with the reason, and with None when it is back.
    """

    def __init__(
        self,
        api: Api,
        channel: str,
        q: str = "",
        cursor: str = "",
        *,
        state: bool = False,
        lost: Callable[[ClientError | None], None] = lambda exc: None,
    ) -> None:
        self.channel, self.cursor = channel, cursor
        self._api, self._q, self._lost = api, q, lost
        self._query = urlencode({"channel": channel, "q": q, "state": "1" if state else "0"})
        self._is_away = False

    async def messages(self) -> AsyncGenerator[Message]:
        """Everything that the feed says, and instead of a gap the events of it.

        Raises:
            RelayProblem, TokenRefused: The relay refuses for good.
        """
        backoff = Backoff()
        while True:
            try:
                async with aclosing(self._one_feed(backoff)) as messages:
                    async for message in messages:
                        yield message
            except (RelayUnreachable, RelayProblem) as exc:
                if isinstance(exc, RelayProblem) and exc.status != BUSY:
                    raise
                self._tell(exc)
            await asyncio.sleep(backoff.delay(time.monotonic()))

    async def _one_feed(self, backoff: Backoff) -> AsyncGenerator[Message]:
        async with self._api.feed(self._query, self.cursor) as chunks:
            async for message in _parsed(chunks):
                backoff.opened(time.monotonic())
                self._tell(None)
                if message.name == "bye":
                    await _take_leave(message.data)
                    return
                async with aclosing(self._whole(message)) as told:
                    async for one in told:
                        yield one
                self.cursor = message.cursor or self.cursor

    async def _whole(self, message: Message) -> AsyncGenerator[Message]:
        """The message, or the events of a gap in the order in which they came."""
        first, last = message.data.get("from"), message.data.get("to")
        if message.name != "gap" or not isinstance(first, int) or not isinstance(last, int):
            yield message
            return
        if last < first:  # the channel is another one
            yield message
        after = first - 1
        while after < last:
            query = {"channel": self.channel, "q": self._q, "after": after, "limit": PAGE}
            page = await self._api.ask("GET", "events", Events, **query)
            for event in reversed(page.whole.get("events", ())):
                if event["sequence"] <= last:
                    cursor = cursor_at(self.channel, event["sequence"])
                    yield Message("event", event, cursor)
                    self.cursor = cursor
            after = max(after + 1, page.read().scanned_to)

    def _tell(self, exc: ClientError | None) -> None:
        if (exc is not None) != self._is_away:
            self._is_away = exc is not None
            self._lost(exc)


def cursor_at(channel: str, sequence: int) -> str:
    """The position of who was told of a channel's events up to a sequence."""
    return f"{quote(channel, safe='')}={sequence}"


def channel_at(cursor: str) -> str:
    """The channel that a position is of.

    Raises:
        UsageError: It is none, or of several.
    """
    name, equals, sequence = cursor.partition("=")
    if not (name and equals and sequence.isascii() and sequence.isdigit()):
        raise UsageError(
            _("{cursor!r} is no cursor").format(cursor=cursor),
            _("relay-client send prints one, such as chatwoot=8123."),
        )
    return unquote(name)


async def _parsed(chunks: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """Messages, each once it is whole."""
    raw = b""
    async for chunk in chunks:
        *whole, raw = (raw + chunk).split(b"\n\n")
        if len(raw) > MAX_MESSAGE_BYTES:
            raise RelayProblem(_("what answers there is no relay"), CHECK_URL)
        for lines in whole:
            yield _message(lines)


def _message(lines: bytes) -> Message:
    try:
        fields = dict(line.split(": ", 1) for line in lines.decode().split("\n"))
        data = msgspec.json.decode(fields["data"], type=dict[str, Any])
        return Message(fields["event"], data, fields.get("id", ""))
    except (*UNREADABLE, ValueError, KeyError) as exc:
        raise RelayProblem(_("what answers there is no relay"), CHECK_URL) from exc


async def _take_leave(bye: dict[str, Any]) -> None:
    """Wait as long as the relay says."""
    why, retry_ms = str(bye.get("why", "")), bye.get("retry_ms")
    if why == "revoked":
        raise token_refused(_("the relay accepts the token no more"))
    if not isinstance(retry_ms, int):
        raise RelayProblem(_("the relay ends the feed: {why}").format(why=harmless(why)), CHECK_URL)
    await asyncio.sleep(min(retry_ms / 1_000, 15.0))
