"""The thread that stores webhooks, in the database or, while that is away, in the spool.

    append ─▶ queue ─ all that waits ─┬─ there is a link ──▶ append_v2, one call ──▶ answers, feed
                                      │                            │ no answer in time
                                      └─ there is none ──▶ spool ◀─┘ ─▶ answers
                                                             │
                               link ◀── once it is empty ── `Draining`, a link of its own

A commit is a round trip, and with a standby a second one behind it. So all webhooks that came since
the last call go with the next (group commit).

**One link passes between two threads.** This one has it while webhooks go to the database. With the
first call that fails it is closed, and `Draining` makes another, brings all that is spooled, and
hands it over. Meanwhile all that comes goes to the spool, whatever the database does: so what came
first is stored first, and nobody waits for a connection to be made.

**A webhook waits for `APPEND_S`** from when it came: a call gets what is left of that to the oldest
of its batch. What a call without an answer has stored, nobody knows. It is spooled under the same
ids, and found again when it is drained.

What a channel refuses (it is full, or gone) is refused, and never spooled.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

import structlog

from relay_protocol.errors import RelayError
from relay_protocol.values import EventHead
from relay_server.errors import (
    ChannelFull,
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
)
from relay_server.store.bodies import BodyKeys
from relay_server.store.feed import Change, EventsStored
from relay_server.store.interface import Space
from relay_server.store.postgres.draining import Draining
from relay_server.store.postgres.link import Link, Unstorable
from relay_server.store.postgres.rows import Answer, Row, append_rows, row_of
from relay_server.store.postgres.spool import Spool
from relay_server.store.postgres.waiting import Queue
from relay_server.store.sql.jobs import Arrival
from relay_server.store.sql.positions import sequence_of
from relay_server.values import Appended, Event

log = structlog.get_logger()

APPEND_S = 1.0  # for a webhook to be stored by the database, from when it came
LEAST_S = 0.1  # for a call, whatever its webhooks have waited before


class Appending:
    """The thread, and its spool.

    Args:
        connect: Makes a link.
        spool: Open; closed with this.
        bodies: Seals what is stored of them.
        space: Told how much is spooled, and whether there is room for more.
        tell: Called in the event loop with each change that was committed.
        tell_others: Called in a thread that writes, with its link, to tell other replicas.
        fail: Told that the spool's disk failed.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        spool: Spool,
        bodies: BodyKeys,
        space: Space,
        tell: Callable[[Change], None],
        tell_others: Callable[[Link, Sequence[Change], int | None], None],
        fail: Callable[[StoreBroken], None],
    ) -> None:
        self._spool = spool
        self._bodies = bodies
        self._space = space
        self._tell = tell
        self._tell_others = tell_others
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._handing = threading.Lock()
        self._why = ""  # the database is away
        self._refusal = ""  # of what the spool has no room for
        self._limit = ""  # is reached
        self._link = None if spool.waiting else self._first_link(connect)
        self._arrivals = Queue[Arrival]("relay-append", self._append)
        self._draining = Draining(spool, bodies, connect, self._drained, self._take, fail)
        self._tell_space()
        if self._link is None:
            self._draining.need()

    def put(self, arrival: Arrival) -> None:
        """Have a webhook stored; raises StoreFull."""
        self._arrivals.put(arrival)

    def limit(self, reason: str) -> None:
        """Say that no webhook is taken any more, and why; with no reason that they are again."""
        self._limit = reason
        self._tell_space()

    async def close(self, *, abandon: bool) -> None:
        """Store what waits, and end; abandon the files of a failed disk as they are."""
        await self._arrivals.close()
        await asyncio.to_thread(self._draining.close)
        if self._link is not None:
            self._link.close()
        if abandon:
            self._spool.abandon()
        await asyncio.to_thread(self._spool.close)

    def _first_link(self, connect: Callable[[], Link]) -> Link | None:
        try:
            return connect()
        except StoreUnavailable as exc:
            self._why = str(exc)
            return None

    # In the thread that stores webhooks

    def _append(self, batch: Sequence[Arrival]) -> None:
        try:
            rows = [row_of(arrival, self._bodies) for arrival in batch]
            while not self._put_in_spool(batch, rows):
                if self._put_in_database(batch, rows):
                    break
        except Exception as exc:  # a thread that is gone would keep all waiting
            log.error("webhooks could not be stored", exc_info=exc)
            self._refuse(batch, StoreUnavailable(f"the webhook could not be stored: {exc!r}"))

    def _put_in_database(self, batch: Sequence[Arrival], rows: Sequence[Row]) -> bool:
        """Store a batch, unless the database is away by now."""
        link = self._link
        assert link is not None
        pairs = sorted(zip(batch, rows, strict=True), key=lambda pair: pair[1].channel)
        within_s = max(LEAST_S, APPEND_S - (time.monotonic() - self._arrivals.oldest))
        try:
            given = [row for _, row in pairs]
            answers = append_rows(link, given, self._bodies, within_s=within_s)
        except (Unstorable, ValueError) as exc:
            if len(batch) == 1:
                self._refuse(batch, exc)
            else:
                for one in batch:
                    self._append([one])
            return True
        except (StoreUnavailable, StoreBroken) as exc:  # what is broken may be mended, or replaced
            self._suspend(link, exc)
            return False
        ordered = [arrival for arrival, _ in pairs]
        changes = _results(ordered, answers)
        self._loop.call_soon_threadsafe(self._answer, batch, changes)
        if changes:
            self._tell_others(link, changes, None)
        return True

    def _suspend(self, link: Link, why: RelayError) -> None:
        log.warning("the database does not take webhooks: they are spooled", error=str(why))
        link.close()
        with self._handing:
            self._link, self._why = None, str(why)
        self._draining.need()

    def _put_in_spool(self, batch: Sequence[Arrival], rows: Sequence[Row]) -> bool:
        """Keep a batch for later, unless there is a link by now."""
        with self._handing:  # what is put in is seen by who looks whether it is empty
            if self._link is not None:
                return False
            try:
                self._spool_all(batch, rows)
            except StoreBroken as exc:
                self._fail(exc)
                self._refuse(batch, exc)
            except RelayError as exc:
                self._refuse(batch, exc)
        self._tell_space()
        return True

    def _spool_all(self, batch: Sequence[Arrival], rows: Sequence[Row]) -> None:
        fitting = list[tuple[Arrival, Row]]()
        for arrival, row in zip(batch, rows, strict=True):
            limit = arrival.held.full_at(self._spool.of_channel(row.channel))
            if limit is None:
                fitting.append((arrival, row))
            else:
                arrival.result = ChannelFull(limit)
        count = self._spool.put([row for _, row in fitting])
        for arrival, row in fitting[:count]:
            arrival.result = Appended(row.id, 0)
        if fitting[count:]:
            self._refusal = f"the spool is full, and the database is away: {self._why}"
        for arrival, _ in fitting[count:]:
            arrival.result = StoreFull(self._refusal)
        self._loop.call_soon_threadsafe(self._answer, batch, ())

    def _refuse(self, batch: Sequence[Arrival], failure: Exception) -> None:
        for arrival in batch:
            arrival.result = failure
        self._loop.call_soon_threadsafe(self._answer, batch, ())

    # In the thread that drains

    def _take(self, link: Link) -> bool:
        with self._handing:
            if self._spool.waiting:
                return False
            self._link, self._refusal = link, ""
        self._tell_space()
        return True

    def _drained(self, link: Link, changes: Sequence[Change]) -> None:
        self._refusal = ""  # there is room again
        self._tell_space()
        self._loop.call_soon_threadsafe(self._tell_all, changes)
        if changes:
            self._tell_others(link, changes, None)

    # In all of them, and in the event loop

    def _tell_space(self) -> None:
        now = (
            self._link is None,
            self._spool.waiting,
            self._spool.refused,
            self._refusal or self._limit,
        )
        self._loop.call_soon_threadsafe(self._space.spool, *now)

    def _answer(self, batch: Sequence[Arrival], changes: Sequence[Change]) -> None:
        # A sender waits for its answer, and what a reader does first it would wait for as well.
        self._arrivals.answer(batch)
        self._tell_all(changes)

    def _tell_all(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._tell(change)


def _results(batch: Sequence[Arrival], answers: Sequence[Answer]) -> list[Change]:
    """Give each its result; what is to be told of it, channel by channel."""
    changes = list[Change]()
    each = zip([arrival.channel for arrival in batch], batch, answers, strict=True)
    for channel, group in groupby(each, itemgetter(0)):
        events, weights = list[Event](), list[int]()
        for _, arrival, answer in group:
            arrival.result = _result(arrival, answer)
            if answer.state == "s":
                new, sequence = arrival.new, sequence_of(answer.place)
                head = EventHead(new.id, sequence, new.received_at, new.key, new.kind, new.request)
                events.append(Event(channel, head, new.body, answer.differs, answer.first))
                weights.append(arrival.weight)
        if events:
            last = events[-1].head.sequence
            changes.append(EventsStored(channel, last, tuple(events), tuple(weights)))
    return changes


def _result(arrival: Arrival, answer: Answer) -> Appended | RelayError:
    match answer.state:
        case "g":
            return ChannelNotFound(f"number {arrival.channel}")
        case "f":
            limit = arrival.held.channel.config.max_bytes or 0
            arrival.held.refuse(arrival.weight, limit)
            return ChannelFull(limit)
        case state:
            return Appended(answer.event, sequence_of(answer.place), duplicate=state == "d")
