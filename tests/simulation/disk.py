"""A store whose commits are late, fail, find no room, or are lost in a crash.

What was committed is a `MemoryStore`: a crash loses what waits to be committed, and nothing else.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_protocol.errors import RelayError
from relay_server.errors import StoreFull, StoreUnavailable
from relay_server.store.feed import Change, Feed
from relay_server.store.memory import MemoryStore
from relay_server.store.space import Space
from relay_server.values import (
    Appended,
    Catalog,
    ChannelNumber,
    Claim,
    NewEvent,
    Progress,
    Subscription,
)
from tests.simulation.kernel import Kernel

RECORD_S = 0.05  # as the SQLite store has it
MAX_BATCH = 256
WRITES = frozenset(
    {
        "claim",
        "create_channel",
        "change_channel",
        "delete_channel",
        "create_token",
        "revoke_token",
        "subscribe",
        "change_subscription",
        "unsubscribe",
        "create_replay",
        "end_replay",
        "discard",
        "remove",
        "drop_oldest",
        "forget_dead",
        "sweep",
    }
)
FLUSHED_READS = frozenset({"replays", "dead", "subscription_status", "deliveries"})
READS = frozenset(
    {
        "outlines",
        "fetch",
        "select",
        "subscriptions",
        "channel_status",
        "list_events",
        "find_event",
        "removable",
    }
)


class Weather:
    """How the disk is just now."""

    def __init__(self) -> None:
        self.slow_s = 0.0  # a commit may take so much longer
        self.failing = 0.0  # how likely one is to fail
        self.full = False


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[], Coroutine[Any, Any, Any]]
    future: asyncio.Future[Any]
    channel: ChannelNumber | None = None  # of a webhook


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that never waits."""
    try:
        work.send(None)
    except StopIteration as exc:
        return exc.value
    raise AssertionError("a store in memory waited")


class _Told(Feed):
    """Keeps what is committed until the life of the server that is to hear of it tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Change] = []

    def tell(self, change: Change) -> None:
        """Part of the feed."""
        self.told.append(change)


class KeptStore(MemoryStore):
    """What is committed; it remembers what a subscription that begins with the past could find.

    Attributes:
        begun_with: Of each subscription, the events of its channel when it was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.feed: _Told = _Told()
        self.begun_with: dict[int, tuple[int, frozenset[int]]] = {}

    async def subscribe(self, channel: str, *args: Any, **kwargs: Any) -> tuple[Subscription, bool]:
        """Part of the store; notes the last sequence, and which events there still were."""
        subscription, made = await super().subscribe(channel, *args, **kwargs)
        if made:
            kept = frozenset(self._events.get(self.catalog.channels[channel].number, {}))
            self.begun_with[subscription.number] = (max(kept, default=0), kept)
        return subscription, made

    def had_gone(self, subscription: int, sequence: int) -> bool:
        """Whether an event was deleted before a subscription was made."""
        last, kept = self.begun_with[subscription]
        return sequence <= last and sequence not in kept


class SimStore:
    """An `Store` over what is committed, for as long as the server lives."""

    def __init__(self, kernel: Kernel, kept: KeptStore, weather: Weather) -> None:
        self.space = Space()
        self.weather = weather
        self._kernel = kernel
        self._kept = kept
        self._rng = kernel.rng(f"disk {kernel.number()}")
        self._jobs: deque[_Job] = deque()
        self._pending: list[tuple[Claim, Progress]] = []
        self.feed = Feed()
        self._committing = False
        self._timer: asyncio.TimerHandle | None = None
        self._dead = False

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            return functools.partial(self._write, name)
        if name in READS:
            return functools.partial(self._read, name)
        if name in FLUSHED_READS:
            return functools.partial(self._flush_and_read, name)
        raise AttributeError(name)

    @property
    def catalog(self) -> Catalog:
        """Channels and tokens."""
        return self._kept.catalog

    @property
    def pending(self) -> int:
        """How much is not committed."""
        return len(self._pending) + len(self._jobs)

    def usage(self, channel: ChannelNumber) -> int:
        """Bytes of a channel."""
        return self._kept.usage(channel)

    def refused(self, channel: ChannelNumber) -> int:
        """Bytes of the largest webhook that was refused."""
        return self._kept.refused(channel)

    async def append(self, channel: ChannelNumber, event: NewEvent) -> Appended:
        """Store a webhook."""
        if self.weather.full:
            raise StoreFull("the disk is full")
        call = functools.partial(self._kept.append, channel, event)
        stored: Appended = await self._submit(call, channel)
        return stored

    def record(self, claim: Claim, progress: Progress) -> None:
        """Note progress, to be written soon."""
        if self._dead:
            return
        self._pending.append((claim, progress))
        self._record_within()

    async def flush(self) -> None:
        """Wait until all is committed."""
        await self._submit(_nothing)

    async def backup(self, file: Path) -> None:
        """Not of a simulation."""
        raise NotImplementedError

    async def close(self) -> None:
        """Commit what waits."""
        await self.flush()
        self.crash()

    def crash(self) -> None:
        """From now on nothing is committed, and nobody gets an answer."""
        self._dead = True
        if self._timer is not None:
            self._timer.cancel()

    def heal(self) -> None:
        """The disk is well again."""
        if not self.space.taking:
            self.space.change("")

    def fill(self) -> None:
        """The disk is full from now on."""
        if self.space.taking:
            self.space.change("the disk is full")

    def _record_within(self) -> None:
        if self._timer is None and self._pending:
            self._timer = self._kernel.loop.call_later(RECORD_S, self._record_soon)

    def _record_soon(self) -> None:
        self._timer = None
        self._start()

    async def _write(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return await self._submit(functools.partial(getattr(self._kept, name), *args, **kwargs))

    async def _read(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._dead:
            await self._never()
        if name not in ("outlines", "fetch") or self._rng.random() < 0.2:  # else it is in memory
            await asyncio.sleep(self._rng.uniform(0.0001, 0.002) + self._late())
        if self._dead:
            await self._never()
        return at_once(getattr(self._kept, name)(*args, **kwargs))

    async def _flush_and_read(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if not self.weather.full:
            await self.flush()
        return await self._read(name, *args, **kwargs)

    async def _submit(
        self,
        call: Callable[[], Coroutine[Any, Any, Any]],
        channel: ChannelNumber | None = None,
    ) -> Any:
        if self._dead:
            await self._never()
        future: asyncio.Future[Any] = self._kernel.loop.create_future()
        self._jobs.append(_Job(call, future, channel))
        self._start()
        return await future

    async def _never(self) -> None:
        await self._kernel.loop.create_future()

    def _late(self) -> float:
        return self._rng.random() * self.weather.slow_s if self.weather.slow_s else 0.0

    def _start(self) -> None:
        if not self._committing and not self._dead:
            self._committing = True
            delay = self._rng.uniform(0.0005, 0.004) + self._late()
            self._kernel.loop.call_later(delay, self._commit)

    def _commit(self) -> None:
        if self._dead:
            return
        batch = [self._jobs.popleft() for _ in range(min(MAX_BATCH, len(self._jobs)))]
        if self._rng.random() < self.weather.failing:
            self._kernel.note("commit failed", jobs=len(batch))
            results: list[Any] = [StoreUnavailable("the commit failed")] * len(batch)
            self._record_within()
        else:
            for claim, progress in self._pending:
                self._kept.record(claim, progress)
            self._pending.clear()
            results = self._perform(batch)
        delay = self._rng.uniform(0.0001, 0.001)  # a crash may come between commit and answer
        changes, self._kept.feed.told = self._kept.feed.told, []
        self._kernel.loop.call_later(delay, self._answer, batch, results, changes)

    def _perform(self, batch: list[_Job]) -> list[Any]:
        """Webhooks first, as the SQLite store does."""
        results: dict[int, Any] = {}
        for index in sorted(range(len(batch)), key=lambda i: batch[i].channel is None):
            try:
                results[index] = self._attempt(batch[index])
            except RelayError as exc:
                results[index] = exc
        return [results[index] for index in range(len(batch))]

    def _attempt(self, job: _Job) -> Any:
        if self.weather.full and job.channel is not None:
            raise StoreFull("the disk is full")
        return at_once(job.call())

    def _answer(self, batch: list[_Job], results: list[Any], changes: list[Change]) -> None:
        if self._dead:
            return
        for change in changes:
            self.feed.tell(change)
        for job, result in zip(batch, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        self._committing = False
        if self._jobs or (self._pending and self._timer is None):
            self._start()


async def _nothing() -> None:
    """Progress that waits is written with every commit."""
