"""Every store, opened the same way, one in memory without threads, and shortcuts to fill them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from relay_protocol.values import RequestHead
from relay_server.configs import ChannelConfig
from relay_server.errors import StoreBroken
from relay_server.reported import DeliveryState
from relay_server.store.bodies import IN_THE_CLEAR, BodyKeys
from relay_server.store.feed import Change
from relay_server.store.interface import Space, Store
from relay_server.store.postgres.finding import read_place
from relay_server.store.postgres.store import open_postgres
from relay_server.store.sql.jobs import Arrival, Call, Job, Operation, answer
from relay_server.store.sqlite.batch import Batches, First
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.store import SqliteStore, open_sqlite
from relay_server.values import (
    Channel,
    Claim,
    Progress,
    ReaderNumber,
    Replay,
    Selection,
    Subscription,
)
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.postgres import database_of, patient

BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
EVERYTHING = Selection()
T = TypeVar("T")
IN_MEMORY = Path(":memory:")  # SQLite's own name for no file
UNICODE = "conversa-ção 🎉 \N{GREEK SMALL LETTER ALPHA}\x00\u2028'\""


def open_in_memory() -> Database:
    """A new database of this version's shape; it lasts as long as its connection."""
    database = Database(IN_MEMORY)
    with database.connection.backup("main", _template().connection, "main") as copying:
        copying.step()
    return database


@functools.cache
def _template() -> Database:
    """An empty one: to copy it takes a twentieth of the time that every migration does."""
    database = Database(IN_MEMORY)
    prepare(database)
    return database


class InlineWriter:
    """Commits each operation in a transaction of its own, before `submit` returns."""

    broken = False

    def __init__(self, database: Database, first: First, tell: Callable[[Change], None]) -> None:
        self._batches = Batches(database, first)
        self._tell = tell
        self.commits = database.commits

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        call = Call(operation, asyncio.get_running_loop().create_future())
        self._commit(call)
        return call.future

    def append(self, arrival: Arrival) -> None:
        self._commit(arrival)

    def lean_rows(self) -> int | None:
        return None

    def fail(self, error: StoreBroken) -> None:
        raise error

    async def close(self) -> None:
        """Nothing waits."""

    def _commit(self, job: Job) -> None:
        changes: Sequence[Change] = ()
        try:
            changes = self._batches.commit([job])
        except Exception as exc:  # noqa: BLE001  (as the thread does: it is for who waits)
            job.result = exc
        answer([job])
        for change in changes:
            self._tell(change)


class InlineReading:
    """Reads what is committed, at once."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def ask(self, query: Callable[[Database], T]) -> T:
        return self.database.ask(query)

    async def close(self, *, abandon: bool) -> None:
        """It lasts as long as whoever made it."""


class MemoryStore(SqliteStore):
    """SQLite's own store on `:memory:`, without a thread: what is asked for is done at once."""

    def __init__(self, database: Database | None = None) -> None:
        self.database = database or open_in_memory()
        super().__init__(
            IN_MEMORY,
            functools.partial(InlineWriter, self.database),
            InlineReading(self.database),
            InlineReading(self.database),
            Space(),
            lambda: None,
        )


def _fail(error: StoreBroken) -> None:
    raise error


@asynccontextmanager
async def open_test_store(backend: str, data_dir: Path) -> AsyncIterator[Store]:
    """A store of a backend, closed at the end; opened again, it holds what it held."""
    store: Store
    kind, _, sealed = backend.partition("-")
    bodies = BodyKeys(KEY) if sealed else IN_THE_CLEAR
    with patient():
        if kind == "postgres":
            place, no_look = read_place(database_of(data_dir)), lambda _: None
            store = await open_postgres(place, _fail, data_dir, 1 << 20, no_look, bodies)
        else:
            store = await open_sqlite(data_dir, bodies=bodies)
        try:
            yield store
        finally:
            await store.close()


def shows(folder: Path, words: bytes) -> list[str]:
    """The files below a folder that hold some words."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if words in file.read_bytes()]


def weight(request: RequestHead, body: bytes) -> int:
    """Bytes that an event takes."""
    return len(body) + len(msgspec.msgpack.encode(request))


async def make_channel(store: Store, name: str = "chatwoot") -> Channel:
    """A channel with the usual configuration."""
    return await store.create_channel(name, ChannelConfig(), START_MS)


async def make_subscription(
    store: Store, channel: str = "chatwoot", name: str = "ana", since: int | None = None
) -> tuple[Subscription, Claim]:
    """A subscription, and the claim to record its progress."""
    subscription, _ = await store.subscribe(channel, name, since, START_MS)
    claim = await store.claim(subscription.number)
    assert claim is not None
    return subscription, claim


async def make_replay(
    store: Store, subscription: Subscription, selection: Selection = EVERYTHING
) -> tuple[Replay, Claim]:
    """A replay, and the claim to record its progress."""
    replay = await store.create_replay(subscription, selection, 20.0, START_MS, "ana")
    claim = await store.claim(replay.number)
    assert claim is not None
    return replay, claim


async def record(store: Store, claim: Claim, progress: Progress) -> None:
    """Have progress recorded and written."""
    store.record(claim, progress)
    await store.flush()


async def progress_of(store: Store, reader: ReaderNumber) -> Progress:
    """How far a reader is, by a new claim of it."""
    claim = await store.claim(reader)
    assert claim is not None
    return claim.progress


async def append_many(
    store: Store, channel: Channel, count: int, key: str | None = None
) -> list[str]:
    """Append events, each of a key of its own unless one is given; returns their ids in order."""
    events = [new_event(b"%d" % n, key=str(n) if key is None else key) for n in range(count)]
    return [(await store.append(channel.number, event)).id for event in events]


async def deliveries(store: Store, channel: Channel, sequence: int) -> list[DeliveryState]:
    """What became of one event."""
    [states] = await store.deliveries(channel.number, [sequence])
    return list(states)


async def trim(store: Store, channel: Channel, received_before: int, limit: int) -> int:
    """Delete at most so many of the old events that nobody needs; how many that were."""
    found = await store.removable(channel.number, received_before, 0, limit)
    return await store.remove(channel.number, found.sequences)


async def sequences(store: Store, channel: Channel) -> list[int]:
    """Every sequence that is kept."""
    return [o.sequence for o in await store.outlines(channel.number, 0, 10_000)]


async def aged(store: Store, channel: Channel, count: int) -> Sequence[str]:
    """Events received a millisecond apart."""
    events = [new_event(received_at=START_MS + n, sender_id=f"d-{n}") for n in range(count)]
    return [(await store.append(channel.number, event)).id for event in events]


class Stores:
    """A backend's store, which can be closed and opened again."""

    def __init__(self, backend: str, data_dir: Path, stack: AsyncExitStack) -> None:
        self._backend, self._data_dir, self._stack = backend, data_dir, stack

    async def open(self) -> Store:
        context = open_test_store(self._backend, self._data_dir)
        return await self._stack.enter_async_context(context)

    async def reopen(self, store: Store) -> Store:
        """The same store after a restart."""
        await self._stack.aclose()
        return await self.open()
