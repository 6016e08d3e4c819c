"""The store in a PostgreSQL: what happens many times a second, and how it is opened and closed.

Its parts are those of every database (`store.sql`). What is its own is how webhooks are stored (one
call, `append_v2`), that progress is not written by the way of them, and that other replicas change
the same tables: what they do comes by `Neighbours`, what this one does is told to them.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.values import RequestHead
from relay_server.errors import InvalidValue, StoreBroken, StoreFull, StoreUnavailable
from relay_server.reported import DatabaseStatus, Missed, Neighbour, Replica, Standby, Unreached
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.cache import Cache
from relay_server.store.feed import (
    ChannelChanged,
    ChannelGone,
    Feed,
    Progressed,
    Promoted,
    TokenMade,
    TokenRevoked,
)
from relay_server.store.interface import Space, Waiter
from relay_server.store.postgres.database import Database, prepare
from relay_server.store.postgres.finding import Place
from relay_server.store.postgres.known import Memory
from relay_server.store.postgres.link import Link, Watch
from relay_server.store.postgres.neighbours import (
    Catalogue,
    Neighbours,
    read_catalogue,
    sealed_otherwise,
    take_place,
)
from relay_server.store.postgres.primary import Primary
from relay_server.store.postgres.reading import ReadingThread
from relay_server.store.postgres.rows import digest_of
from relay_server.store.postgres.spool import FOLDER_NAME, Spool
from relay_server.store.postgres.trust import check
from relay_server.store.postgres.turns import ALIVE_S
from relay_server.store.postgres.writer import Writer
from relay_server.store.sql.database import Database as AnyDatabase
from relay_server.store.sql.jobs import Arrival
from relay_server.store.sql.part import asks, nothing, reports, writes
from relay_server.store.sql.pending import Pending
from relay_server.store.sql.whole import SqlStore
from relay_server.values import (
    Appended,
    Channel,
    ChannelNumber,
    Claim,
    NewEvent,
    Progress,
    SubscriptionNumber,
    Token,
)

log = structlog.get_logger()

RECORD_WITHIN_S = 0.05  # for progress to be written, together
RECORD_AGAIN_S = 1.0  # after it could not be
REMEMBER_WITHIN_S = 0.2  # for a changed catalogue to be written to this server's disk, too
TELL_S = 0.25  # for others to be told of webhooks: the next ones wait meanwhile
OPERATE_S = 10.0  # for a statement of anything else; its senders have deadlines of their own
LISTEN_S = 2.0  # for a look at what others did
READ_S = 5.0  # for a question to be answered
AGAIN_BYTES = 4_194_304  # below the cap, from which on webhooks are taken again
FULL = "the store holds as much as RELAY_SERVER_MAX_STORE_BYTES allows"


class PostgresStore(SqlStore):
    """A `Store` in a PostgreSQL."""

    _writer: Writer

    def __init__(
        self,
        replica: str,
        primary: Primary,
        watch: Watch,
        on_broken: Callable[[StoreBroken], None],
        spool: Spool,
        bodies: BodyKeys,
        max_bytes: int,
        known: Catalogue,
        memory: Memory,
    ) -> None:
        super().__init__()
        self._max_bytes, self._size, self._limit = max_bytes, 0, ""
        self._bodies = bodies
        self.replica = replica
        self._watch = watch
        connect = primary.connect
        primary.on_promoted = self._promoted
        self._reading = ReadingThread(lambda: connect("read"), "relay-reader", bodies)
        self._reports = ReadingThread(lambda: connect("report"), "relay-reports", bodies)
        self._pending = Pending(lambda: self.feed.wants(Progressed))
        self._knows_skips = False
        self.space = Space()
        self.feed = Feed()
        self._record_timer: asyncio.TimerHandle | None = None
        self._cache = Cache(known.channels, known.tokens, self.feed)
        self._memory = memory
        self._remember_timer: asyncio.TimerHandle | None = None
        for kind in (ChannelChanged, ChannelGone, TokenMade, TokenRevoked):
            self.feed.listen(kind, self._remember_soon)
        listen = functools.partial(connect, "listen")
        its_own = known, self._cache, self.feed, spool, bodies
        self._neighbours = Neighbours(replica, memory.store, listen, self._read_catalogue, *its_own)
        first, tell, tell_others = self._write_pending, self.feed.tell, self._neighbours.tell
        needed = on_broken, spool, bodies, self.space
        self._writer = Writer(connect, first, tell, tell_others, *needed)
        self._neighbours.on_measured = self._measured
        self._begin_resealing()

    async def begun(self) -> None:
        """Return once other replicas are known, as far as they can be."""
        await self._neighbours.begun()

    def read_elsewhere(self, subscription: SubscriptionNumber) -> bool:
        return self._neighbours.reads(subscription)

    def is_heard(self) -> bool:
        return self._neighbours.is_heard

    @asks
    def _read_catalogue(self, database: Database) -> Catalogue:
        return read_catalogue(database)

    def append_for(self, channel: ChannelNumber, event: NewEvent, waiter: Waiter) -> None:
        if (arrival := self._arrival(channel, event, waiter)) is None:
            return
        if self._limit:
            self._refuse(arrival, StoreFull(self._limit))
            return
        arrival.held.arriving += arrival.weight  # until it is answered
        try:
            self._writer.append(arrival)
        except RelayError as exc:
            arrival.held.arriving -= arrival.weight
            waiter.set_exception(exc)

    def record(self, claim: Claim, progress: Progress) -> None:
        if self._pending.add(claim, progress):
            self._record_within(RECORD_WITHIN_S)

    def size(self) -> int:
        return self._size

    async def backup(self, file: Path) -> Sequence[str]:
        raise InvalidValue(
            "the store is in PostgreSQL, which backs it up by itself: pg_dump --schema=relay"
        )

    async def close(self) -> None:
        try:
            await self.flush()
        except StoreUnavailable as exc:
            log.warning("the last progress was not written: deliveries may repeat", error=str(exc))
        finally:
            self._end_resealing()
            await self._neighbours.close()  # else it would be there again
            await self._writer.close_appending()
            with suppress(StoreUnavailable):
                await self._forget_replica()
            await self._writer.close()
            for timer in (self._record_timer, self._remember_timer):
                if timer is not None:
                    timer.cancel()
            self._memory.note(*self._catalogue())
            await asyncio.to_thread(self._memory.keep)
            for reading in (self._reading, self._reports):
                await reading.close(abandon=False)
            await asyncio.to_thread(self._watch.close)

    def _measured(self, held: int, size: int) -> None:
        self._size = size
        room = self._max_bytes - held - (AGAIN_BYTES if self._limit else 0)
        if self._max_bytes and (room <= 0) is not bool(self._limit):
            self._limit = FULL if room <= 0 else ""
            self._writer.limit(self._limit)

    @asks
    def _find_duplicate(self, database: Database, arrival: Arrival) -> Appended | None:
        new = arrival.new
        if new.sender_id is None:
            return None
        digests = self._bodies.long_digests(new.body)
        found = database.one(
            "duplicate_of",
            channel=arrival.channel,
            sender_id=new.sender_id,
            digests=[digest_of(new.request, digest) for digest in digests],
            received_at=new.received_at,
            window_ms=arrival.held.window_ms,
        )
        return None if found is None else Appended(found[0], found[1], duplicate=True)

    def _stamp(self, bodies: BodyKeys, request: RequestHead, body: bytes) -> bytes:
        return digest_of(request, bodies.long_digest(body))

    def _waits_to_reseal(self, database: AnyDatabase) -> bool:
        return sealed_otherwise(database, self.replica)

    @asks
    def reading_server(self, database: Database, channel: str, name: str) -> Neighbour | None:
        found = database.one("reading_server", channel=channel, name=name, alive_s=ALIVE_S)
        return None if found is None else Neighbour(*found)

    @asks
    def neighbours(self, database: Database) -> Sequence[Neighbour]:
        return [Neighbour(*row) for row in database.all("neighbours", alive_s=ALIVE_S)]

    @writes
    def note_unreached(self, database: Database, found: Mapping[str, Missed]) -> None:
        database.run("are_reached", others=list(found))
        for other, missed in found.items():
            database.run("is_unreached", other=other, **msgspec.structs.asdict(missed))

    @reports
    def database_status(self, database: Database) -> DatabaseStatus:
        return DatabaseStatus(
            database.link.host,
            database.link.timeline,
            tuple(Standby(*row) for row in database.all("standbys")),
            tuple(Replica(*row) for row in database.all("replicas", alive_s=ALIVE_S)),
            tuple(Unreached(*row) for row in database.all("unreached", alive_s=ALIVE_S)),
        )

    @writes
    def _forget_replica(self, database: Database) -> None:
        """What this one read, others may have at once."""
        spooled = bool(self.space.spooled or self.space.stuck)
        database.run("forget_replica", replica=self.replica, spooled=spooled, alive_s=ALIVE_S)

    def _write_pending(self, database: Database) -> Callable[[bool], None]:
        """In the thread that writes; what could not be written is tried again."""

        def finish(committed: bool) -> None:
            if committed:
                self._pending.written()
            else:
                self._pending.failed()
                self._loop.call_soon_threadsafe(self._record_within, RECORD_AGAIN_S)

        try:
            if not self._knows_skips:
                readers = database.all("readers_that_skip")
                self._pending.skipping |= {reader for (reader,) in readers}
                self._knows_skips = True
            self._pending.write(database)
        except Exception:
            finish(False)
            raise
        return finish

    def _promoted(self) -> None:
        """In whichever thread finds that another database took over."""
        self._loop.call_soon_threadsafe(self.feed.tell, Promoted())

    def _remember_soon(self, _change: object) -> None:
        if self._remember_timer is None:
            self._remember_timer = self._loop.call_later(REMEMBER_WITHIN_S, self._remember_now)

    def _remember_now(self) -> None:
        self._remember_timer = None
        self._memory.note(*self._catalogue())
        self._loop.run_in_executor(None, self._memory.keep).add_done_callback(_look)

    def _catalogue(self) -> tuple[Sequence[tuple[Channel, int, int]], Sequence[Token]]:
        return self._cache.channels(), list(self._cache.catalog.tokens.values())

    def _record_within(self, within_s: float) -> None:
        if self._record_timer is None:
            self._record_timer = self._loop.call_later(within_s, self._record)

    def _record(self) -> None:
        self._record_timer = None
        if not self._pending.waiting:
            return
        try:
            self._writer.submit(nothing).add_done_callback(_look)
        except RelayError:
            self._record_within(RECORD_AGAIN_S)


def _look(future: asyncio.Future[Any]) -> None:
    """A failure was told to whoever must know; here it only has to be looked at."""
    if not future.cancelled():
        future.exception()


@contextmanager
def link_alone(place: Place) -> Iterator[Link]:
    """A link for a moment, where no store is open."""
    watch = Watch()
    try:
        with closing(Link(place, "relay/alone", OPERATE_S, watch)) as link:
            yield link
    finally:
        watch.close()


def is_made(place: Place) -> bool:
    """Whether a database holds a store of ours."""
    with link_alone(place) as link:
        return bool(link.rows("SELECT 1 WHERE to_regclass('relay.migrated') IS NOT NULL"))


async def open_postgres(
    place: Place,
    on_broken: Callable[[StoreBroken], None],
    data_dir: Path,
    spool_bytes: int,
    trust: Callable[[Link], None] = check,
    bodies: BodyKeys = IN_THE_CLEAR,
    max_bytes: int = 0,
    address: str = "",
) -> PostgresStore:
    """Open the store in a database that may be trusted, as `opening.open_store` says."""
    memory = Memory(data_dir)
    watch, replica = Watch(), f"{socket.gethostname()}/{secrets.token_hex(4)}"
    limits = {
        "listen": LISTEN_S,
        "append": TELL_S,
        "operate": OPERATE_S,
        "read": READ_S,
        "report": READ_S,
    }

    def link(name: str) -> Link:
        reading = name in ("read", "report")
        own = {"replica": replica, "address": address}
        return Link(place, f"relay/{name}", limits[name], watch, reading=reading, **own)

    def recognize(first: Link) -> None:
        trust(first)
        prepare(first)
        database = Database(first, bodies)
        memory.recognize(database.value("store"), place.name)
        take_place(database, replica)

    def recognize_later(_first: Link) -> None:
        with closing(link("operate")) as own:  # the first that reaches it may only read
            recognize(own)

    def begin() -> tuple[Primary, Catalogue, Spool]:
        primary = Primary(link, watch)
        try:
            with closing(primary.connect("operate")) as first:
                recognize(first)
                known = read_catalogue(Database(first))
                memory.note(known.channels, known.tokens)
                memory.keep()
        except StoreUnavailable as exc:
            if memory.known is None or not memory.known.channels:
                raise
            log.error("the database is away: webhooks are spooled until it is back", error=str(exc))
            primary = Primary(link, watch, recognize_later)
            known = Catalogue(0, memory.known.channels, memory.known.tokens, ())
        spool = Spool(data_dir / FOLDER_NAME / replica.replace("/", "-"), spool_bytes)
        return primary, known, spool

    try:
        primary, known, spool = await asyncio.to_thread(begin)
        kept = spool, bodies, max_bytes, known, memory
        store = PostgresStore(replica, primary, watch, on_broken, *kept)
    except BaseException:
        await asyncio.to_thread(watch.close)
        raise
    await store.begun()
    return store
