"""The writer groups what waits, and nobody pays for a neighbour's mistake."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from relay_server.configs import ChannelConfig
from relay_server.errors import ChannelNotFound, StoreBroken, StoreFull, StoreUnavailable
from relay_server.store.cache import Held
from relay_server.store.feed import Change, ReplaysChanged
from relay_server.store.sql.jobs import Arrival
from relay_server.store.sqlite import checkpointer
from relay_server.store.sqlite import database as database_module
from relay_server.store.sqlite import writer as writer_module
from relay_server.store.sqlite.database import Database, prepare
from relay_server.store.sqlite.room import BATCH_BYTES, ROW_BYTES
from relay_server.store.sqlite.writer import Writer
from relay_server.values import Appended, Channel
from tests.support.events import new_event
from tests.support.waiting import LONG_S, Stopwatch, until


class Ledger:
    """Counts transactions; its gate holds the writer inside one."""

    def __init__(self) -> None:
        self.begun = 0
        self.kept: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def before_commit(self, _: Database, _for_webhooks: bool) -> Callable[[bool], None]:
        self.begun += 1
        self.gate.wait(LONG_S)
        self.meanwhile()
        if self.fail is not None:
            raise self.fail
        return self.kept.append


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty database with a table of distinct numbers."""
    file = tmp_path / "relay.db"
    with closing(Database(file)) as database:
        prepare(database)
        database.connection.execute("CREATE TABLE numbers (n INTEGER UNIQUE, blob BLOB)")
    return file


@pytest.fixture
def ledger() -> Ledger:
    """What happens inside the writer."""
    return Ledger()


@pytest.fixture
def broken() -> list[StoreBroken]:
    """What the server was told."""
    return []


@pytest.fixture
def changes() -> list[Change]:
    """What the feed was told."""
    return []


@pytest.fixture
async def writer(
    path: Path, ledger: Ledger, broken: list[StoreBroken], changes: list[Change]
) -> AsyncIterator[Writer]:
    """A running writer."""
    writer = Writer(path, ledger.before_commit, broken.append, changes.append)
    yield writer
    ledger.gate.set()
    await writer.close()


def insert(number: int, size: int = 0) -> Callable[[Database], int]:
    """An operation that writes a number."""

    def operation(database: Database) -> int:
        database.connection.execute("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, size))
        return number

    return operation


def numbers(path: Path) -> list[int]:
    """What is committed, seen by another connection."""
    with closing(apsw.Connection(str(path))) as connection:
        rows = connection.execute("SELECT n FROM numbers ORDER BY n").fetchall()
    return [n for (n,) in rows if isinstance(n, int)]


async def hold(writer: Writer, ledger: Ledger) -> asyncio.Future[None]:
    """Hold the writer inside a transaction, so that what comes next has to wait."""
    ledger.gate.clear()
    held = writer.submit(lambda _: None)
    await until(lambda: ledger.begun == 1)
    return held


async def test_what_waits_goes_into_one_transaction(
    writer: Writer, ledger: Ledger, path: Path
) -> None:
    await hold(writer, ledger)
    waiting = [writer.submit(insert(n)) for n in range(200)]

    ledger.gate.set()
    results = await asyncio.gather(*waiting)

    assert results == list(range(200))
    assert ledger.begun == 2
    assert numbers(path) == results


async def test_so_many_go_into_one_transaction_and_the_rest_into_the_next(
    writer: Writer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the commit of a long queue."""
    monkeypatch.setattr(writer_module, "MAX_BATCH", 4)
    await hold(writer, ledger)
    waiting = [writer.submit(insert(n)) for n in range(10)]

    ledger.gate.set()
    await asyncio.gather(*waiting)

    assert ledger.begun == 1 + 3


async def test_an_answer_comes_after_the_commit(writer: Writer, path: Path) -> None:
    answered = writer.submit(insert(1))
    seen: list[list[int]] = []
    answered.add_done_callback(lambda _: seen.append(numbers(path)))

    await answered

    assert seen == [[1]]


async def test_a_change_is_told_though_nobody_waits_any_more(
    writer: Writer, ledger: Ledger, changes: list[Change]
) -> None:
    held = await hold(writer, ledger)
    abandoned = writer.submit(lambda database: database.changes.append(ReplaysChanged(1)))
    abandoned.cancel()

    ledger.gate.set()
    await held

    await until(lambda: changes == [ReplaysChanged(1)])


async def test_one_operation_that_sqlite_refuses_fails_alone(
    writer: Writer, ledger: Ledger, path: Path
) -> None:
    await hold(writer, ledger)
    waiting = [writer.submit(insert(n)) for n in (1, 2, 2, 3)]

    ledger.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [r for r in results if isinstance(r, int)] == [1, 2, 3]
    assert isinstance(results[2], StoreUnavailable)
    assert numbers(path) == [1, 2, 3]


@pytest.mark.parametrize("mistake", [1 << 80, "\ud800"])
async def test_a_value_that_no_database_takes_fails_alone(
    writer: Writer, ledger: Ledger, path: Path, mistake: object
) -> None:
    """Such an error is not SQLite's, and must not end the thread that everybody waits for."""
    await hold(writer, ledger)

    def bad(database: Database) -> None:
        insert(99)(database)
        database.connection.execute("INSERT INTO numbers VALUES (?, NULL)", (mistake,))

    one, other, two = writer.submit(insert(1)), writer.submit(bad), writer.submit(insert(2))

    ledger.gate.set()
    first, second, third = await asyncio.gather(one, other, two, return_exceptions=True)

    assert (first, third) == (1, 2)
    assert isinstance(second, OverflowError | UnicodeEncodeError)
    assert numbers(path) == [1, 2]
    assert await writer.submit(insert(3)) == 3


async def test_an_operation_that_says_no_leaves_the_others_in_their_transaction(
    writer: Writer, ledger: Ledger, path: Path
) -> None:
    await hold(writer, ledger)

    def refuse(_: Database) -> None:
        raise ChannelNotFound("nowhere")

    refused, stored = writer.submit(refuse), writer.submit(insert(1))
    ledger.gate.set()

    with pytest.raises(ChannelNotFound):
        await refused
    assert await stored == 1
    assert ledger.begun == 2


async def test_too_many_waiting_operations_are_refused(
    writer: Writer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_WAITING", 3)
    await hold(writer, ledger)
    waiting = [writer.submit(insert(n)) for n in range(2)]

    with pytest.raises(StoreFull):
        writer.submit(insert(9))
    ledger.gate.set()
    await asyncio.gather(*waiting)

    assert await writer.submit(insert(9)) == 9


async def test_too_many_waiting_bytes_are_refused(writer: Writer, ledger: Ledger) -> None:
    await hold(writer, ledger)
    heavy = append(writer, writer_module.MAX_WAITING_BYTES)

    with pytest.raises(StoreFull):
        append(writer, 1)
    ledger.gate.set()
    with pytest.raises(ChannelNotFound):  # it was tried
        await heavy

    with pytest.raises(ChannelNotFound):
        await append(writer, 1)


async def test_webhooks_of_one_transaction_are_not_too_large_together(
    writer: Writer, ledger: Ledger
) -> None:
    """One by itself may be larger; what such a transaction takes is what room is measured by."""
    await hold(writer, ledger)
    heavy = [append(writer, size) for size in (1, BATCH_BYTES // 2, BATCH_BYTES, 1)]

    ledger.gate.set()
    await asyncio.gather(*heavy, return_exceptions=True)

    assert ledger.begun == 1 + 3


def append(writer: Writer, weight: int) -> asyncio.Future[Appended]:
    """Append a webhook for a channel that is not there."""
    held = Held(Channel(1, "gone", ChannelConfig(), 0), 0, 0)
    future = asyncio.get_running_loop().create_future()
    writer.append(Arrival(1, new_event(), b"", weight, weight + ROW_BYTES, held, future))
    return future


async def test_a_failed_transaction_is_told_to_whoever_rides_along(
    writer: Writer, ledger: Ledger
) -> None:
    await writer.submit(insert(1))

    with pytest.raises(StoreUnavailable):
        await writer.submit(insert(1))

    assert ledger.kept == [True, False]


@pytest.mark.parametrize(
    ("error", "told", "stops"),
    [
        (apsw.FullError("disk full"), StoreFull, False),
        (apsw.IOError("fsync"), StoreBroken, True),
        (apsw.CorruptError("malformed"), StoreBroken, True),
        (apsw.BusyError("locked"), StoreUnavailable, False),
    ],
)
async def test_a_disk_that_fails_fails_everybody_once(
    writer: Writer,
    ledger: Ledger,
    broken: list[StoreBroken],
    path: Path,
    error: apsw.Error,
    told: type[Exception],
    stops: bool,
) -> None:
    ledger.fail = error
    ledger.gate.clear()  # all are submitted before it fails
    waiting = [writer.submit(insert(n)) for n in range(5)]
    ledger.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    ledger.fail = None

    assert all(type(r) is told for r in results)
    await until(lambda: bool(broken) == stops)
    assert numbers(path) == []
    if stops:  # nothing that is written after that can be believed
        with pytest.raises(StoreBroken):
            await writer.submit(insert(7))
    else:
        assert await writer.submit(insert(7)) == 7


async def test_closing_does_what_was_submitted_and_takes_nothing_more(
    path: Path, ledger: Ledger
) -> None:
    writer = Writer(path, ledger.before_commit, lambda _: None)
    waiting = [writer.submit(insert(n)) for n in range(600)]  # more than one batch

    await writer.close()

    assert await asyncio.gather(*waiting) == list(range(600))
    with pytest.raises(StoreUnavailable):
        writer.submit(insert(601))


# The log


class Log:
    """A small log, written to without pause.

    Attributes:
        largest: Bytes it held at the begin of a transaction, at most.
    """

    WRITES = 1_500

    def __init__(self, writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpointer, "CHECKPOINT_PAGES", 50)  # 200 KiB
        monkeypatch.setattr(checkpointer, "MAX_LOG_PAGES", 200)
        self.checkpointer = writer._checkpointer
        self.largest = self.written = 0
        self._writer = writer
        self._file = path.with_name("relay.db-wal")

    async def write(self, number: int) -> None:
        """Write a row."""
        await self._writer.submit(insert(number, 4_000))
        self.written += 8_000  # the page and its overflow
        self.largest = max(self.largest, self._file.stat().st_size)


@pytest.fixture
async def stepped(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Log]:
    """A log whose checkpointer's thread gets no time at all: what it does is left to the test."""
    monkeypatch.setattr(checkpointer.Checkpointer, "_run", lambda _: None)
    monkeypatch.setattr(database_module, "KEPT_LOG_BYTES", 1_000_000)
    writer = Writer(path, ledger.before_commit, lambda _: None)
    yield Log(writer, path, monkeypatch)
    await writer.close()


async def test_the_log_stays_bounded_under_steady_writes(
    stepped: Log, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins anew, long before anybody would have to wait for that.

    By itself it does so only where all of it was copied before a transaction began. Here that is
    never so: it is copied while one goes on.
    """
    monkeypatch.setattr(checkpointer, "MAX_LOG_PAGES", 1_000_000)

    def copy() -> None:
        if stepped.checkpointer._wanted.is_set():
            stepped.checkpointer.copy()

    ledger.meanwhile = copy
    for n in range(stepped.WRITES):
        await stepped.write(n)

    assert stepped.largest < stepped.written / 4


async def test_the_log_stays_bounded_though_nobody_copies_it_in_time(stepped: Log) -> None:
    for n in range(stepped.WRITES):
        await stepped.write(n)

    assert stepped.largest < 210 * 4_200, "in pages, each with its frame's head"


async def test_the_log_stays_bounded_though_copying_it_takes_long(stepped: Log) -> None:
    """Who writes waits then, and goes on afterwards."""
    copying, turnstile = threading.Event(), Turnstile()
    stepped.checkpointer._copying = turnstile  # type: ignore[assignment]

    def copy_slowly(_database: Database, _mode: int) -> bool:
        copying.set()
        return turnstile.somebody_waits.wait(10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stepped.checkpointer, "_checkpoint", copy_slowly)
        slow = asyncio.create_task(asyncio.to_thread(stepped.checkpointer.copy))
        await asyncio.to_thread(copying.wait, 10)
    for n in range(400):
        await stepped.write(n)
    await slow

    assert stepped.largest < 210 * 4_200


class Turnstile:
    """A lock that tells when somebody waits for it."""

    def __init__(self) -> None:
        self.somebody_waits = threading.Event()
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        if blocking:
            self.somebody_waits.set()
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


async def test_a_log_that_grew_is_cut_when_its_reader_is_gone(
    stepped: Log, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM numbers").fetchall()
        for n in range(400):
            await stepped.write(n)
    assert stepped.largest > 400 * 8_000

    for n in range(400, 500):
        await stepped.write(n)

    assert stepped._file.stat().st_size <= 1_000_000


async def test_no_sender_waits_for_a_long_reader(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup reads for long; the log cannot begin anew then, and must not try with patience."""
    monkeypatch.setattr(checkpointer, "CHECKPOINT_PAGES", 10)
    await writer.submit(insert(0))
    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM numbers").fetchall()

        watch = Stopwatch()
        for n in range(1, 30):
            await writer.submit(insert(n, 8_000))
        assert watch.elapsed_s < 4.5, "SQLite's patience alone would be five"

    assert len(numbers(path)) == 30
