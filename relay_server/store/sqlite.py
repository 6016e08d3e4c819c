"""The store in one SQLite file: group commit, an fsync before each answer."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from relay_server.errors import (
    ChannelExists,
    ChannelNotFound,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
    TokenExists,
    TokenNotFound,
)
from relay_server.store import housekeeping, report
from relay_server.store.arrivals import Arrival, Stored, append_all
from relay_server.store.base import Listener
from relay_server.store.database import Database, prepare, translate
from relay_server.store.lock import DirLock
from relay_server.store.pending import Pending
from relay_server.store.positions import first, last, position, sequence_of
from relay_server.store.recent import Recent
from relay_server.store.rows import decode_channel, decode_event, decode_mark, decode_token, encode
from relay_server.store.writer import Operation, Writer
from relay_server.values import (
    Appended,
    Catalog,
    Channel,
    ChannelConfig,
    ChannelNumber,
    ChannelStatus,
    Claim,
    DeliveryState,
    Event,
    EventSummary,
    NewEvent,
    Outline,
    Progress,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)

T = TypeVar("T")

FILE_NAME = "relay.db"
RECORD_WITHIN_S = 0.05  # progress rides along with the next webhook, or goes alone after this


class SqliteStore:
    """An `EventStore` in `relay.db` of a data dir, which it locks.

    Made by `open_sqlite`. `on_broken` is called once the disk or the database failed: nothing more
    can be promised then, and the server must stop.
    """

    def __init__(
        self, data_dir: Path, lock: DirLock, on_broken: Callable[[StoreBroken], None]
    ) -> None:
        self._path = path = data_dir / FILE_NAME
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._pending = Pending()
        self._writer = Writer(path, self._write_pending, on_broken)
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix="relay-reader")
        self._reader = Database(path, readonly=True)
        self._listeners: list[Listener] = []
        self._recent: dict[ChannelNumber, Recent] = defaultdict(Recent)
        self._last: dict[ChannelNumber, int] = {}  # the last committed sequence of each
        self._write_timer: asyncio.TimerHandle | None = None
        self._catalog = Catalog()
        self._load()

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    async def append(self, channel: ChannelNumber, event: NewEvent) -> Appended:
        item = Arrival(channel, event, encode(event.request))
        stored = await self._writer.submit_bulk(append_all, item, self._publish, item.weight)
        return stored.appended

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        if after >= self._last.get(channel, 0):
            return ()
        recent = self._recent[channel].outlines(after, limit)
        if recent is not None:
            return recent
        rows = await self._read(
            lambda db: db.all("outlines", position(channel, after), last(channel), limit)
        )
        return [Outline(sequence_of(at), key, size) for at, key, size in rows]

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        recent = self._recent[channel].fetch(sequences)
        if recent is not None:
            return recent
        wanted = json.dumps([position(channel, sequence) for sequence in sequences])
        return [decode_event(row) for row in await self._read(lambda db: db.all("fetch", wanted))]

    async def claim(self, subscription: SubscriptionNumber) -> Claim | None:
        def operation(database: Database) -> Claim | None:
            row = database.one("claim", subscription)
            if row is None:
                return None
            epoch, floor = row
            marks = tuple(decode_mark(r) for r in database.all("marks_above", subscription, floor))
            return Claim(subscription, epoch, Progress(floor, marks))

        return await self._writer.submit(operation)

    def record(self, claim: Claim, progress: Progress) -> None:
        if self._pending.add(claim, progress):
            self._write_within()

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def flush(self) -> None:
        await self._writer.submit(_nothing)

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        def operation(database: Database) -> Channel:
            if database.one("find_channel", name):
                raise ChannelExists(name)
            number = database.value("create_channel", name, encode(config), now)
            return Channel(number, name, config, now)

        return await self._writer.submit(operation, self._show_channel)

    async def set_channel(self, name: str, config: ChannelConfig) -> Channel:
        def operation(database: Database) -> Channel:
            channel = _channel(database, name)
            database.run("set_channel", encode(config), channel.number)
            return msgspec.structs.replace(channel, config=config)

        return await self._writer.submit(operation, self._show_channel)

    async def delete_channel(self, name: str) -> None:
        def operation(database: Database) -> Channel:
            channel = _channel(database, name)
            housekeeping.delete_channel(database, channel.number)
            return channel

        await self._writer.submit(operation, self._hide_channel)
        await self._purge()

    async def create_token(self, token: Token) -> None:
        def operation(database: Database) -> Token:
            if database.one("find_token", token.name):
                raise TokenExists(token.name)
            channels = None if token.channels is None else json.dumps(sorted(token.channels))
            scopes = json.dumps(sorted(token.scopes))
            database.run(
                "create_token", token.name, token.digest, scopes, channels, token.created_at
            )
            return token

        await self._writer.submit(operation, self._show_token)

    async def revoke_token(self, name: str) -> None:
        def operation(database: Database) -> str:
            if not database.one("find_token", name):
                raise TokenNotFound(name)
            database.run("revoke_token", name)
            return name

        await self._writer.submit(operation, self._hide_token)

    async def subscribe(
        self, channel: str, name: str, since: int | None, now: int
    ) -> tuple[Subscription, bool]:
        def operation(database: Database) -> tuple[Subscription, bool]:
            number = _channel(database, channel).number
            row = database.one("find_subscription", number, name)
            if row is not None:
                return Subscription(row[0], channel, name, row[1]), False
            start = _start(database, channel, number, since)
            created = database.value("create_subscription", number, name, now, start, start)
            return Subscription(created, channel, name, now), True

        return await self._writer.submit(operation)

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        await self._writer.submit(lambda db: housekeeping.unsubscribe(db, subscription))

    async def channel_status(self) -> Sequence[ChannelStatus]:
        channels = list(self._catalog.channels.values())
        return await self._read(lambda db: report.channel_status(db, channels))

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        await self.flush()
        names = {channel.number: channel.name for channel in self._catalog.channels.values()}
        wanted = None if only is None else frozenset(only)
        return await self._read(lambda db: report.subscription_status(db, names, wanted))

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        end = last(channel) + 1 if before is None else position(channel, before)
        return await self._read(lambda db: report.list_events(db, first(channel), end, limit))

    async def find_event(self, event: str) -> Event | None:
        def read(database: Database) -> Event | None:
            at = database.value("find_event", event)
            rows = [] if at is None else database.all("fetch", json.dumps([at]))
            return decode_event(rows[0]) if rows else None

        return await self._read(read)

    async def deliveries(self, channel: ChannelNumber, sequence: int) -> Sequence[DeliveryState]:
        await self.flush()
        return await self._read(lambda db: report.deliveries(db, channel, sequence))

    async def trim(self, channel: ChannelNumber, received_before: int, limit: int) -> int:
        await self._purge()  # what a crash in the middle of `delete_channel` left

        def operation(database: Database) -> int:
            return housekeeping.trim(database, channel, received_before, limit)

        return await self._writer.submit(operation)

    async def _purge(self) -> None:
        """Delete the events of deleted channels, a few at a time, so that webhooks wait little."""
        while await self._writer.submit(housekeeping.purge):
            pass

    async def backup(self, file: Path) -> None:
        await self.flush()
        await asyncio.to_thread(housekeeping.backup, self._path, file)

    async def close(self) -> None:
        try:
            await self.flush()
        finally:
            await self._writer.close()
            if self._write_timer is not None:
                self._write_timer.cancel()
            await asyncio.to_thread(self._reader_thread.shutdown)
            self._reader.close()
            self._lock.release()

    def _load(self) -> None:
        channels, tokens = {}, {}
        for row in self._reader.all("load_channels"):
            channel, self._last[row[0]] = decode_channel(row), row[-1]
            channels[channel.name] = channel
        for row in self._reader.all("load_tokens"):
            token = decode_token(row)
            tokens[token.digest] = token
        self._catalog = Catalog(channels, tokens)

    def _publish(self, stored: Stored) -> None:
        event = stored.event
        if event is None:
            return  # a duplicate: nothing new
        self._recent[event.channel].add(event, stored.weight)
        self._last[event.channel] = event.head.sequence
        for listener in tuple(self._listeners):
            listener(event.channel)

    def _write_pending(self, database: Database) -> Callable[[bool], None]:
        """In the writer's thread; what could not be written is tried again."""

        def finish(committed: bool) -> None:
            if not committed:
                self._pending.put_back(taken)
                self._loop.call_soon_threadsafe(self._write_within)

        try:
            taken = self._pending.write(database)
        except Exception:
            self._loop.call_soon_threadsafe(self._write_within)
            raise
        return finish

    def _write_within(self) -> None:
        if self._write_timer is None:
            self._write_timer = self._loop.call_later(RECORD_WITHIN_S, self._write_soon)

    def _write_soon(self) -> None:
        self._write_timer = None
        if not self._pending.waiting:
            return
        try:
            self._writer.submit(_nothing).add_done_callback(_look)
        except StoreFull:
            self._write_within()

    async def _read(self, query: Operation[T]) -> T:
        try:
            return await self._loop.run_in_executor(self._reader_thread, query, self._reader)
        except apsw.Error as exc:
            raise translate(exc) from exc

    def _show_channel(self, channel: Channel) -> None:
        channels = {**self._catalog.channels, channel.name: channel}
        self._catalog = Catalog(channels, self._catalog.tokens)

    def _hide_channel(self, channel: Channel) -> None:
        channels = {n: c for n, c in self._catalog.channels.items() if n != channel.name}
        self._catalog = Catalog(channels, self._catalog.tokens)
        self._recent.pop(channel.number, None)
        self._last.pop(channel.number, None)

    def _show_token(self, token: Token) -> None:
        tokens = {**self._catalog.tokens, token.digest: token}
        self._catalog = Catalog(self._catalog.channels, tokens)

    def _hide_token(self, name: str) -> None:
        tokens = {d: t for d, t in self._catalog.tokens.items() if t.name != name}
        self._catalog = Catalog(self._catalog.channels, tokens)


async def open_sqlite(
    data_dir: Path, on_broken: Callable[[StoreBroken], None] = lambda _: None
) -> SqliteStore:
    """Open the store of a data dir, made if need be, and bring it to this version's shape.

    The data dir itself must be there.

    Raises:
        StoreLocked: Another process has it open.
        StoreTooNew: A later version wrote it.
        StoreBroken: It is damaged, or no store of ours.
        StoreUnavailable: It cannot be written to.
    """
    lock = DirLock(data_dir)
    try:
        lock.acquire()
    except OSError as exc:
        raise StoreUnavailable(f"{data_dir} cannot be used: {exc.strerror}") from exc
    try:
        _prepare(data_dir / FILE_NAME)
        return SqliteStore(data_dir, lock, on_broken)
    except apsw.Error as exc:
        lock.release()
        raise translate(exc) from exc
    except BaseException:
        lock.release()
        raise


def _prepare(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # payloads are for the owner's eyes
    database = Database(path)
    try:
        prepare(database)
    finally:
        database.close()


def _channel(database: Database, name: str) -> Channel:
    row = database.one("find_channel", name)
    if row is None:
        raise ChannelNotFound(name)
    return decode_channel(row)


def _start(database: Database, name: str, number: ChannelNumber, since: int | None) -> int:
    """The sequence after which a new subscription begins."""
    if since is None:
        row = database.one("find_channel", name)
        return int(row[-1]) if row else 0
    if since <= 0:
        return 0
    before = database.value("sequence_before", first(number), last(number), since)
    return 0 if before is None else sequence_of(before)


def _nothing(_database: Database) -> None:
    """Progress that waits is written with every transaction, so also with this one."""


def _look(future: asyncio.Future[None]) -> None:
    """A failure was told to whoever must know; here it only has to be looked at."""
    if not future.cancelled():
        future.exception()
