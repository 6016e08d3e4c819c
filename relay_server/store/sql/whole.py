"""All parts of a store in one, and how a webhook comes to it; what is left is a backend's own."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from relay_protocol.errors import RelayError
from relay_server.errors import ChannelNotFound
from relay_server.store.interface import Waiter
from relay_server.store.sql.catalogue import SqlCatalogue
from relay_server.store.sql.edited import SqlEdited
from relay_server.store.sql.events import SqlEvents
from relay_server.store.sql.jobs import Arrival, tell
from relay_server.store.sql.people import SqlPeople
from relay_server.store.sql.pins import SqlPins
from relay_server.store.sql.readers import SqlReaders
from relay_server.store.sql.reports import SqlReports
from relay_server.store.sql.resealing import SqlResealing
from relay_server.store.sql.rows import encode
from relay_server.values import Appended, ChannelNumber, NewEvent


class SqlStore(
    SqlEvents,
    SqlReaders,
    SqlCatalogue,
    SqlReports,
    SqlEdited,
    SqlPins,
    SqlPeople,
    SqlResealing,
):
    """A `Store`, but for how it is written to, opened and closed.

    Attributes:
        row_bytes: What a row takes on the disk of this process besides what is in it.
    """

    row_bytes: ClassVar[int] = 0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looking = set[asyncio.Task[None]]()  # for webhooks that are refused, if they are new

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        raise NotImplementedError

    async def _find_duplicate(self, arrival: Arrival) -> Appended | None:
        """The event that a webhook is a duplicate of, if there is one."""
        raise NotImplementedError

    def append(self, channel: ChannelNumber, event: NewEvent) -> asyncio.Future[Appended]:
        future: asyncio.Future[Appended] = self._loop.create_future()
        self.append_for(channel, event, future)
        return future

    def refuse_for(
        self, channel: ChannelNumber, event: NewEvent, waiter: Waiter, refusal: RelayError
    ) -> None:
        if (arrival := self._arrival(channel, event, waiter)) is not None:
            self._refuse(arrival, refusal)

    def _arrival(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> Arrival | None:
        """What is to be stored; None where its channel is gone, and its waiter knows."""
        held = self._cache.of(channel)
        if held is None:
            waiter.set_exception(ChannelNotFound(f"number {channel}"))
            return None
        request = encode(event.request)
        weight = len(event.body) + len(request)
        return Arrival(channel, event, request, weight, weight + self.row_bytes, held, waiter)

    def _refuse(self, arrival: Arrival, refusal: RelayError, full_at: int | None = None) -> None:
        looking = self._loop.create_task(self._refuse_unknown(arrival, refusal, full_at))
        self._looking.add(looking)  # the loop itself keeps no task
        looking.add_done_callback(self._looking.discard)

    async def _refuse_unknown(
        self, arrival: Arrival, refusal: RelayError, full_at: int | None
    ) -> None:
        """What is stored already needs no room, and nobody to read it."""
        result: Appended | Exception | None
        try:
            result = await self._find_duplicate(arrival)
        except RelayError as exc:
            result = exc
        if result is None and full_at is not None:
            arrival.held.refuse(arrival.weight, full_at)
        tell(arrival.waiter, result or refusal)
