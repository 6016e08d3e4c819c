"""What readers of the feed see, and what waits to be written to each of them.

A *view* is what a reader asked for and may see: channels, filter, with or without what becomes of
deliveries. Readers with equal views share one: each message is rendered once for all of them, and
what waits for them are the same bytes. A *viewer* is one connection. It is written to by its own
task, so that none waits for another; one that takes nothing is sent away, and loses nothing, as it
comes back with its position.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from relay_server.filters.language import Filter
from relay_server.live.messages import Bye, farewell
from relay_server.operations import Caller
from relay_server.values import Channel

MAX_BEHIND_BYTES = 4_194_304  # that wait for one reader of the feed; more, and it is sent away
MAX_BEHIND_S = 10.0  # that the oldest of them may wait; longer, and the reader is sent away
FAREWELL_S = 0.5  # for a connection to take the last message
RETRY_MS = 1_000  # after which a reader that was sent away may come back

Write = Callable[[bytes], Awaitable[None]]


class Viewer:
    """One connection that a feed goes to.

    Args:
        owner: Whose it is: the token's name, empty for somebody on the host.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._waiting: deque[tuple[float, bytes]] = deque()  # since when, by the loop's clock
        self._bytes = 0  # of these
        self._wake = asyncio.Event()
        self._bye: Bye | None = None
        self._writing: asyncio.Timeout | None = None

    def offer(self, chunk: bytes) -> None:
        """Have whole messages written, behind what waits."""
        if self._bytes > MAX_BEHIND_BYTES:
            self.end("too slow")
        if self._bye is None:
            self._waiting.append((asyncio.get_running_loop().time(), chunk))
            self._bytes += len(chunk)
            self._wake.set()

    def end(self, why: str, retry_ms: int | None = RETRY_MS) -> None:
        """Say goodbye, once what is being written is."""
        if self._bye is not None:
            return
        self._bye = Bye(why, retry_ms)
        self._wake.set()
        if self._writing is not None:
            self._writing.reschedule(asyncio.get_running_loop().time())

    async def write(self, chunk: bytes, write: Write, since: float | None = None) -> bool:
        """Write whole messages to the connection; False where that is over, or takes too long."""
        if self._bye is not None:
            return False
        began = asyncio.get_running_loop().time() if since is None else since
        try:
            async with asyncio.timeout_at(began + MAX_BEHIND_S) as self._writing:
                await write(chunk)
        except TimeoutError:
            self.end("too slow")
        finally:
            self._writing = None
        return self._bye is None

    async def write_all(self, write: Write) -> None:
        """Write what is offered, until the end."""
        while self._bye is None:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._write_next(write)

    async def _write_next(self, write: Write) -> None:
        """Apart from the wait for more, which is long, and would keep what was written."""
        since, chunk = self._waiting.popleft()
        self._bytes -= len(chunk)
        await self.write(chunk, write, since)

    def gone(self) -> None:
        """The connection is lost: nothing can be written."""
        self.end("gone")

    async def say_goodbye(self, write: Write) -> bool:
        """Write the last message; False where the connection does not take it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await write(farewell(self._bye or Bye("error", RETRY_MS)))
                return True
        return False


@dataclass(eq=False)
class View:
    """What some viewers see.

    Attributes:
        who: One of those who watch; of each other the same may be seen.
        wanted: Names of channels; None for all that may be seen.
        filter: Which events.
        state: What becomes of deliveries, subscriptions and channels is told, too.
        version: Beats say whether what lists show may be another.
        edited: Edited events are told of, too.
    """

    who: Caller
    wanted: frozenset[str] | None
    filter: Filter
    state: bool
    version: bool = False
    edited: bool = False
    viewers: dict[Viewer, None] = field(default_factory=dict)

    @property
    def key(self) -> Hashable:
        """Equal for views that show the same."""
        token = self.who.token
        rights = (token.scopes, token.channels) if token else ()
        return rights, self.wanted, self.filter.text, self.state, self.version, self.edited

    def shows(self, channel: Channel) -> bool:
        """True if a channel is part of it; canaries never are."""
        asked = self.wanted is None or channel.name in self.wanted
        return asked and not channel.config.owner and self.who.may_read(channel)

    def positions(self, at: Mapping[int, int]) -> dict[str, int]:
        """Where its viewers are, of where all channels are, by number."""
        known = self.who.store.catalog.channels.values()
        return {c.name: at[c.number] for c in known if c.number in at and self.shows(c)}

    def offer(self, chunk: bytes) -> None:
        """Have whole messages written to all of them."""
        if chunk:
            for viewer in self.viewers:
                viewer.offer(chunk)
