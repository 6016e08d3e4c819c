"""A disk whose commits are late, fail, find no room, or are lost in a crash.

What was committed is a database in memory, which outlives the server: a crash loses what waits to
be committed, and nothing else. On top of it is SQLite's own store, a new one for each life.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import apsw

from relay_server.errors import StoreBroken, StoreFull, StoreUnavailable
from relay_server.store.feed import Change
from relay_server.store.interface import Space
from relay_server.store.sql.jobs import Arrival, Call, Job, Operation, answer
from relay_server.store.sql.positions import position, sequence_of
from relay_server.store.sqlite.batch import Batches, First
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.store import SqliteStore
from relay_server.values import ChannelNumber, SubscriptionNumber
from tests.simulation.kernel import Kernel
from tests.support.stores import IN_MEMORY, MemoryStore

T = TypeVar("T")

MAX_BATCH = 256
# What a subscription that begins with the past can find: what its channel has when it is made.
NOTE_THE_BEGIN = """
CREATE TEMP TABLE begun (subscription INTEGER PRIMARY KEY, last INTEGER);
CREATE TEMP TABLE found (subscription INTEGER, position INTEGER);
CREATE TEMP TRIGGER begin AFTER INSERT ON main.subscriptions BEGIN
    INSERT INTO begun SELECT NEW.number, last_sequence FROM counted WHERE number = NEW.channel;
    INSERT INTO found SELECT NEW.number, position FROM events WHERE position >> 40 = NEW.channel;
END;
"""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that never waits."""
    try:
        work.send(None)
    except StopIteration as exc:
        result: T = exc.value
        return result
    raise AssertionError("what is kept in memory waited")


class Weather:
    """How the disk is just now."""

    def __init__(self) -> None:
        self.slow_s = 0.0  # a commit may take so much longer
        self.failing = 0.0  # how likely one is to fail
        self.full = False


class _Committed(Database):
    """All that is committed.

    Attributes:
        fails: A commit does not succeed.
    """

    fails = False

    def commit(self) -> None:
        if self.fails:
            raise apsw.BusyError("the commit failed")
        super().commit()


@functools.cache
def _the_database() -> _Committed:
    """The same for every run: SQLite knows its queries by then."""
    database = _Committed(IN_MEMORY)
    prepare(database)
    database.connection.execute(NOTE_THE_BEGIN)
    return database


def _emptied(database: _Committed) -> _Committed:
    """As it was when it was made; what refers to another table goes before that."""
    database.rollback()
    for schema in ("sqlite_schema", "sqlite_temp_schema"):
        tables = f"SELECT name FROM {schema} WHERE type = 'table' ORDER BY rowid DESC"
        for (table,) in database.connection.execute(tables).fetchall():
            database.connection.execute(f"DELETE FROM {table}")
    return database


class Kept(MemoryStore):
    """A look at what is committed that no server knows of, and that never takes time."""

    def __init__(self) -> None:
        self.committed = _emptied(_the_database())
        super().__init__(self.committed)

    async def flush(self) -> None:
        """Nothing is ever late here."""

    def sequences(self, channel: ChannelNumber) -> list[int]:
        """Every event that there is."""
        query = "SELECT position FROM events WHERE position >> 40 = ? ORDER BY position"
        return [sequence_of(at) for (at,) in self._ask(query, channel)]

    def is_gone(self, channel: ChannelNumber, sequence: int) -> bool:
        """Whether an event was deleted."""
        query = "SELECT 1 FROM events WHERE position = ?"
        return not self._ask(query, position(channel, sequence))

    def could_have(self, subscription: SubscriptionNumber, sequence: int) -> bool:
        """Whether an event comes after the start of a subscription, and was there by then."""
        query = """
            SELECT 1 FROM main.subscriptions s JOIN begun b ON b.subscription = s.number
            WHERE s.number = ?1 AND ?2 > s.start AND (?2 > b.last OR EXISTS (
                SELECT 1 FROM found WHERE subscription = ?1 AND position & 1099511627775 = ?2))
        """
        return bool(self._ask(query, subscription, sequence))

    def _ask(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        return self.committed.connection.execute(query, values).fetchall()


class _Life:
    """A disk under one life of the server: once that is over, nobody gets an answer."""

    def __init__(self, kernel: Kernel, database: _Committed, weather: Weather) -> None:
        self.kernel = kernel
        self.database = database
        self.weather = weather
        self.rng = kernel.rng(f"disk {kernel.number()}")
        self.over = False

    def late(self, least_s: float, most_s: float) -> float:
        """How long something takes."""
        slow_s = self.weather.slow_s
        more_s = self.rng.random() * slow_s if slow_s else 0.0
        return self.rng.uniform(least_s, most_s) + more_s

    def later(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        """Do something after a while, unless it is over by then."""
        self.kernel.loop.call_later(delay_s, self._unless_over, do, args)

    def _unless_over(self, do: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self.over:
            do(*args)


class _Reading:
    """Answers questions after a while."""

    def __init__(self, life: _Life) -> None:
        self.database: Database = life.database
        self._life = life

    async def ask(self, query: Callable[[Database], T]) -> T:
        """Have it answered, of what is committed by then."""
        await asyncio.sleep(self._life.late(0.0001, 0.002))
        if self._life.over:
            await self._life.kernel.loop.create_future()
        return self.database.ask(query)

    async def close(self, *, abandon: bool) -> None:
        self._life.over = True


class _Writer:
    """Commits what waits after a while, and answers after another.

    Attributes:
        jobs: What waits.
    """

    broken = False

    def __init__(self, life: _Life, first: First, tell: Callable[[Change], None]) -> None:
        self.jobs: deque[Job] = deque()
        self._batches = Batches(life.database, first)
        self.commits = life.database.commits
        self._life = life
        self._tell = tell
        self._committing = False

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Have it done with the next commit."""
        call = Call(operation, self._life.kernel.loop.create_future())
        self._submit(call)
        return call.future

    def append(self, arrival: Arrival) -> None:
        """Have it stored with the next commit, if there is room."""
        if self._life.weather.full:
            raise StoreFull("the disk is full")
        self._submit(arrival)

    def lean_rows(self) -> int | None:
        """Progress always finds room, be it little."""
        return 1 if self._life.weather.full else None

    def fail(self, error: StoreBroken) -> None:
        self._life.kernel.violate("the store broke", error=error)

    async def close(self) -> None:
        """All is done by now: the store has flushed."""

    def _submit(self, job: Job) -> None:
        self.jobs.append(job)
        self._start()

    def _start(self) -> None:
        if self.jobs and not self._committing:
            self._committing = True
            self._life.later(self._life.late(0.0005, 0.004), self._commit)

    def _commit(self) -> None:
        batch = [self.jobs.popleft() for _ in range(min(MAX_BATCH, len(self.jobs)))]
        if self._life.weather.full:
            for job in [job for job in batch if isinstance(job, Arrival)]:
                batch.remove(job)
                job.result = StoreFull("the disk is full")
                answer([job])
        changes = self._try(batch)
        # A crash may come between commit and answer.
        delay_s = self._life.rng.uniform(0.0001, 0.001)
        self._life.later(delay_s, self._answer, batch, changes)

    def _try(self, batch: Sequence[Job]) -> Sequence[Change]:
        self._life.database.fails = self._life.rng.random() < self._life.weather.failing
        try:
            return self._batches.commit(batch)
        except StoreUnavailable as exc:
            self._life.kernel.note("commit failed", jobs=len(batch))
            for job in batch:
                job.result = exc
            return ()
        finally:
            self._life.database.fails = False

    def _answer(self, batch: Sequence[Job], changes: Sequence[Change]) -> None:
        for change in changes:
            self._tell(change)
        answer(batch)
        self._committing = False
        self._start()


class SimStore(SqliteStore):
    """SQLite's store over what is committed, for as long as the server lives."""

    _writer: _Writer

    def __init__(self, kernel: Kernel, kept: Kept, weather: Weather) -> None:
        self.life = life = _Life(kernel, kept.committed, weather)
        super().__init__(
            IN_MEMORY,
            functools.partial(_Writer, life),
            _Reading(life),
            _Reading(life),
            Space(),
            lambda: None,
        )

    @property
    def pending(self) -> int:
        """How much is not committed."""
        return len(self._writer.jobs) + len(self._pending._changes)

    def crash(self) -> None:
        """From now on nothing is committed, and nobody gets an answer."""
        self.life.over = True

    def heal(self) -> None:
        if not self.space.taking:
            self.space.change("")

    def fill(self) -> None:
        """The disk is full from now on."""
        if self.space.taking:
            self.space.change("the disk is full")
