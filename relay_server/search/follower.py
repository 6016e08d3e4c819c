"""Keeps the index level with the store, behind ingest; and answers from it.

    store's changes ──▶ wake ──▶ outlines, fetch ──▶ parse, rest, … ──▶ a thread: write, rest ──▶ …
                                                                        another: find, facts

**Level, not edge.** A change says that there is something new. What that is, is read from the store
in its order: the newest events are in its memory, all others (after a start, or a rebuild) on its
disk. How far a channel is indexed is committed with its rows: whatever moment a process is killed
at, the next one goes on from there.

**Never wrong.** `indexed_to` is up to where the index and the store are level. What lies behind it
is looked at event by event by whoever asks (`operations.finding`): so an answer is the same however
far behind the index is, and without one.

**At a start** a channel is taken for level where the index has as many of its events as the store,
and the newest of them under the same id. Where there are not as many (events were deleted, and the
index killed before it forgot them) it goes through all of the channel again, and adds or forgets
what differs. Another id means another store: then all is built anew, as for a file that is lost,
damaged or of another version.

**What keeps no bodies** is not indexed: deleted words stay in the file until others overwrite them.
Once a channel that is indexed keeps none any more, the file is thrown away, and built anew.

**Giving way.** Bodies are parsed by the loop itself, in slices of `SLICE_S` between which it serves
whoever comes. In a thread, the parsing would want the interpreter's lock all the time, and each
webhook wait for it as often as it waits for a disk or a socket. Only large bodies are parsed there,
and up to `BATCH` events written together, which SQLite does without the lock. All of it is rested
for, longer while webhooks come or go fast: then it takes a twentieth of a core, and is the further
behind. So a laptop that wakes up gets its backlog first. While the disk is too full for webhooks,
nothing is written.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.filters.facts import Facts
from relay_server.filters.language import Filter
from relay_server.search.index import (
    FILE_NAME,
    Entry,
    Index,
    Looked,
    Patience,
    Seen,
    Unusable,
    delete,
    entry_of,
)
from relay_server.store.feed import ChannelChanged, ChannelGone, EventsRemoved, EventsStored
from relay_server.store.interface import Store
from relay_server.values import Channel, ChannelNumber, Range

log = structlog.get_logger()

GATHER_S = 1.0  # between a webhook and its indexing, so that one commit takes many
BATCH = 512  # events that are indexed by one commit
BATCH_BYTES = 2_097_152  # of their bodies; a larger one is read by itself
READ_AT_ONCE = 128  # of them, so that a delivery's question to the store waits little
SLICE_S = 0.0002  # of parsing by the loop, before it looks after others
SLICED_BYTES = 8_192  # of a body that the loop parses; a larger one is parsed in a thread
CHECKED = 1_000  # events that are compared by number at once, where some may be missing
REST = 0.5  # times as long as it worked
BUSY_REST = 19.0  # the same while webhooks come or go fast
LEAST_REST_S = 0.002  # that a timer is worth: until it is due, the loop only has its turns
BUSY_PER_S = 200.0  # webhooks that come and deliveries that end, together: that is fast
BUSY_OVER_S = 0.1  # at least, over which they are counted
RETRY_S = 10.0  # after the index could not be written
SEEN_AMONG = 1_000  # of a channel's newest events, which say what there is to choose from
PREFIX_S = 0.02  # for a query by words' beginnings; one that takes longer is asked another way
# The thread that writes is nice, but not very: it may hold the interpreter's lock, and whoever
# waits for that waits until it was given the processor.
NICE = 5

UNKEPT = "a channel that is in it keeps no bodies any more"

T = TypeVar("T")


class Search:
    """The index of a store, kept level with it by `run`."""

    def __init__(self, data_dir: Path, store: Store, clock: Clock, done: Callable[[], int]) -> None:
        self._clock = clock
        self._path = data_dir / FILE_NAME
        self._store = store
        self._writer = ThreadPoolExecutor(1, "relay-index", initializer=_be_nice)
        self._reader = ThreadPoolExecutor(1, "relay-search")
        self._index: Index | None = None
        self._changing = asyncio.Lock()  # held by who opens it, or throws it away
        self._level = dict[ChannelNumber, int]()
        self._written = dict[ChannelNumber, int]()  # behind the level it was so once, perhaps
        self._gone = defaultdict[ChannelNumber, set[int]](set)  # events that are to be forgotten
        self._channels_gone = list[ChannelNumber]()  # the same
        self._wake = asyncio.Event()
        self._since = dict[ChannelNumber, int]()  # when the oldest event that waits came
        self._done = _Rate(done)
        self._owed_s = 0.0  # rest, since the last one
        self._listeners = list[Callable[[ChannelNumber], None]]()
        store.space.listen(lambda _: self._wake.set())
        feed = store.feed
        self._unlisten = (
            feed.listen(EventsStored, self._stored),
            feed.listen(EventsRemoved, self._removed),
            feed.listen(ChannelChanged, lambda _: self._wake.set()),
            feed.listen(ChannelGone, self._channel_gone),
        )

    async def open(self) -> None:
        """Open the file, and find out how far each channel is; it is built anew where it must."""
        async with self._changing:
            if self._index is not None:
                return
            try:
                await self._open()
            except (apsw.Error, Unusable, OSError) as exc:
                log.warning("the search index is built anew", reason=str(exc))
                await self._discard()
                await self._open()
            except RelayError:  # the store's database is away: nothing is known of the file yet
                await self._let_go()
                raise

    async def begin(self) -> None:
        """Open it before there are webhooks; what cannot be opened must not keep them out."""
        try:
            await self.open()
        except (apsw.Error, Unusable, OSError) as exc:
            log.error("there is no search index, which makes answers slow", reason=str(exc))
        except RelayError as exc:
            log.info("indexing is put off", error=str(exc))
        self._wake.set()

    async def run(self) -> None:
        """Follow the store until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            try:
                await self.open()
                await self._follow()
            except apsw.FullError as exc:
                log.warning("the search index is behind: there is no room", error=str(exc))
            except (apsw.Error, Unusable, OSError) as exc:
                await self._failed(self._index, exc)
            except RelayError as exc:  # of the store, which says so itself
                log.info("indexing is put off", error=str(exc))
            else:
                continue
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)

    async def close(self) -> None:
        """Write what is under way, and close the file."""
        for unlisten in self._unlisten:
            unlisten()
        await asyncio.to_thread(self._reader.shutdown)
        if self._index is not None:
            with suppress(apsw.Error, OSError):
                await self._write(self._index.close)
        await asyncio.to_thread(self._writer.shutdown)

    def listen(self, listener: Callable[[ChannelNumber], None]) -> None:
        """Have it told whenever `indexed_to` of a channel changed."""
        self._listeners.append(listener)

    def indexed_to(self, channel: ChannelNumber) -> int:
        """The sequence up to which a channel's index is level with the store."""
        return self._level.get(channel, 0) if self._index is not None else 0

    @property
    def behind(self) -> int:
        """How many sequences are not indexed yet, of all channels."""
        channels = [c.number for c in self._store.catalog.channels.values() if c.config.keep_bodies]
        return sum(max(0, self._store.newest(c) - self.indexed_to(c)) for c in channels)

    def lag_ms(self, channel: ChannelNumber) -> int:
        """How old the oldest event of a channel is that is not indexed; 0 where all are."""
        since = self._since.get(channel)
        return 0 if since is None else max(0, self._clock.unix_ms() - since)

    async def find(self, asked: Filter, of: Range, limit: int, until: float) -> Looked | None:
        """The next events that a filter may mean; None where the index cannot say.

        Behind a moment of the monotonic clock no further query is begun.
        """
        if self._index is None:
            return None
        gone = self._gone.get(of.channel, set()).copy()  # what is forgotten meanwhile, too
        looked = await self._find(self._index, asked, of, limit, until)
        gone |= self._gone.get(of.channel, set())
        if looked is None or not gone:
            return looked
        return looked._replace(sequences=[s for s in looked.sequences if s not in gone])

    async def facts(self, channel: ChannelNumber, sequences: Sequence[int]) -> dict[int, Facts]:
        """What the index knows of events, by sequence."""
        index = self._index
        if index is None or not sequences:
            return {}
        return await self._read(index, lambda: index.facts(channel, sequences)) or {}

    async def seen(self, channel: ChannelNumber) -> list[Seen]:
        """Which kinds and inboxes a channel's newest events are of; none where it cannot say."""
        index = self._index
        if index is None:
            return []
        return await self._read(index, lambda: index.seen(channel, SEEN_AMONG)) or []

    async def _find(
        self, index: Index, asked: Filter, of: Range, limit: int, until: float
    ) -> Looked | None:
        patience = Patience()
        timer = asyncio.get_running_loop().call_later(PREFIX_S, patience.lose)
        try:
            return await self._read(index, lambda: index.find(asked, of, limit, until, patience))
        finally:
            timer.cancel()

    async def _read(self, index: Index, query: Callable[[], T]) -> T | None:
        """Ask the index; None where it cannot answer. Damage is seen to."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, query)
        except (apsw.SQLError, apsw.BusyError, apsw.FullError) as exc:
            log.error("the search index could not be asked", error=str(exc))
        except apsw.Error as exc:
            await self._failed(index, exc)
            self._wake.set()
        return None

    def _write(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _open(self) -> None:
        """Open the file, and find out up to where it can be taken for level with the store."""
        index = self._index = await self._write(lambda: Index(self._path))
        known = await self._write(index.progress)
        self._written = {channel: up_to for channel, (up_to, _) in known.items()}
        counts = {status.channel: status.events for status in await self._store.channel_status()}
        for channel in self._store.catalog.channels.values():
            if not channel.config.keep_bodies:
                if channel.number in known:
                    raise Unusable(UNKEPT)
                continue
            up_to, events = known.pop(channel.number, (0, 0))
            if await self._is_level(index, channel, up_to, events, counts.get(channel.name, 0)):
                self._level[channel.number] = up_to
        self._channels_gone.extend(known)

    async def _is_level(
        self, index: Index, channel: Channel, up_to: int, events: int, stored: int
    ) -> bool:
        """Whether the index has just the channel's events up to a sequence.

        Raises:
            Unusable: It has those of another store.
        """
        number = channel.number
        if newest := await self._store.list_events(number, up_to + 1, 1):
            id_ = await self._write(lambda: index.id_at(number, newest[0].sequence))
            if id_ not in (None, newest[0].id):
                raise Unusable("it is of another store")
        behind = await self._store.outlines(number, up_to, CHECKED)
        return len(behind) < CHECKED and events == stored - len(behind)

    async def _follow(self) -> None:
        """Go on until every channel is level; channels take turns."""
        while self._store.space.taking and await self._forget_some():
            pass
        behind = True
        while behind:
            behind = False
            for channel in tuple(self._store.catalog.channels):
                if not self._store.space.taking:
                    return  # told when it does again
                behind |= await self._step(channel)

    async def _step(self, name: str) -> bool:
        """Index the next events of a channel; whether there may be more."""
        channel = self._store.catalog.channels.get(name)
        if channel is None or self._index is None:
            return False
        number, newest = channel.number, self._store.newest(channel.number)
        if not channel.config.keep_bodies:
            self._since.pop(number, None)
            if self._level.pop(number, 0):
                raise Unusable(UNKEPT)
            return False
        level = self._level.get(number, 0)
        if level >= newest:
            return False
        index, again = self._index, level < self._written.get(number, 0)
        limit = CHECKED if again else BATCH
        outlines = await self._store.outlines(number, level, limit)
        last = outlines[-1].sequence if outlines else newest
        of = Range(number, level + 1, last if len(outlines) == limit else max(last, newest))
        missing = {outline.sequence: outline.size for outline in outlines}
        if again:
            known = await self._rested(lambda: index.known(of))
            if surplus := known - missing.keys():
                await self._write(lambda: index.remove(number, surplus))
            missing = {s: size for s, size in missing.items() if s not in known}
        self._level[number] = level = await self._add(index, of, missing)
        if level >= self._store.newest(number):
            self._since.pop(number, None)
        await self._forget_some()
        for listener in self._listeners:
            listener(number)
        return True

    async def _add(self, index: Index, of: Range, missing: dict[int, int]) -> int:
        """Index the first of some events, given by sequence and size; up to where it is level."""
        batch, size = list[int](), 0
        for sequence, weight in missing.items():
            if len(batch) == BATCH or (batch and size + weight > BATCH_BYTES):
                break
            batch.append(sequence)
            size += weight
        up_to = of.last if len(batch) == len(missing) else batch[-1]
        entries = list[Entry]()
        for start in range(0, len(batch), READ_AT_ONCE):
            entries += await self._parsed(of.channel, batch[start : start + READ_AT_ONCE])
        if entries:
            await self._rested(lambda: index.add(of.channel, up_to, entries))
        return up_to

    async def _parsed(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Entry]:
        """What is written of events; some may be deleted by now."""
        events, entries = await self._store.fetch(channel, sequences), list[Entry]()
        if events:
            self._since[channel] = events[-1].head.received_at
        began = time.monotonic()
        for event in events:
            if len(event.body) > SLICED_BYTES:
                entries.append(await self._rested(partial(entry_of, event)))
                began = time.monotonic()
                continue
            entries.append(entry_of(event))
            if (worked_s := time.monotonic() - began) >= SLICE_S:
                await self._rest(worked_s)
                began = time.monotonic()
        return entries

    async def _forget_some(self) -> bool:
        """Forget some of what was deleted; whether there may be more."""
        index = self._index
        if index is None:
            return False
        for number, sequences in tuple(self._gone.items()):
            some = sorted(sequences)[:BATCH]
            await self._write(lambda n=number, s=some: index.remove(n, s))  # type: ignore[misc]
            sequences.difference_update(some)
            if not sequences:
                del self._gone[number]
            return True
        if self._channels_gone:
            number = self._channels_gone[0]
            if not await self._rested(lambda: index.forget(number, BATCH)):
                self._channels_gone.remove(number)
            return True
        return False

    async def _rested(self, work: Callable[[], T]) -> T:
        """Have the writer's thread do some work, and rest for it."""
        began = time.monotonic()
        done = await self._write(work)
        await self._rest(time.monotonic() - began)
        return done

    async def _rest(self, worked_s: float) -> None:
        """Rest for some work, once that is worth a timer; until then let the loop have a turn."""
        busy = self._done.per_s(time.monotonic()) > BUSY_PER_S
        self._owed_s += min(worked_s, 1.0) * (BUSY_REST if busy else REST)
        if self._owed_s < LEAST_REST_S:
            await asyncio.sleep(0)
        else:
            rest_s, self._owed_s = self._owed_s, 0.0
            await asyncio.sleep(rest_s)

    async def _failed(self, index: Index | None, error: Exception) -> None:
        """An index cannot be read or written: it is thrown away, and built anew."""
        async with self._changing:
            if index is not None and self._index is index:  # else somebody was here before
                log.warning("the search index is built anew", reason=str(error))
                await self._discard()

    async def _let_go(self) -> None:
        """Close the file, and keep it."""
        index, self._index = self._index, None
        if index is not None:
            await self._write(index.close)

    async def _discard(self) -> None:
        """Let go of the file, and delete it."""
        index, self._index = self._index, None
        self._level.clear()
        self._written.clear()
        self._gone.clear()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reader, lambda: None)  # what reads ends first
        if index is not None:
            await self._write(index.abandon)
        await self._write(lambda: delete(self._path))

    def _stored(self, change: EventsStored) -> None:
        if change.channel not in self._since:
            self._since[change.channel] = self._clock.unix_ms()
        self._wake.set()

    def _removed(self, change: EventsRemoved) -> None:
        if change.sequences:
            self._gone[change.channel].update(change.sequences)
        else:  # whoever deleted them does not say which
            self._level.pop(change.channel, None)
        self._wake.set()

    def _channel_gone(self, change: ChannelGone) -> None:
        number = change.channel.number
        self._level.pop(number, None)
        self._gone.pop(number, None)
        self._channels_gone.append(number)
        self._wake.set()


class _Rate:
    """How fast a count grew of late."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._since, self._before, self._last = time.monotonic(), count(), 0.0

    def per_s(self, now: float) -> float:
        """By how much, over the last `BUSY_OVER_S` or more."""
        if now - self._since >= BUSY_OVER_S:
            count = self._count()
            self._last = (count - self._before) / (now - self._since)
            self._since, self._before = now, count
        return self._last


def _be_nice() -> None:
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
