"""Moves one subscription's events from the store to whoever reads it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import WINDOW_BYTES, WINDOW_DELIVERIES
from relay_protocol.values import Delivery, Failure, Outcome, Response
from relay_server.clock import Clock
from relay_server.delivery.retry import GIVEN_BACK
from relay_server.delivery.schedule import LOOK_AHEAD, Entry, Schedule
from relay_server.metrics import Metrics
from relay_server.store.base import EventStore
from relay_server.values import (
    Attempt,
    Channel,
    Claim,
    Event,
    Progress,
    Subscription,
    SubscriptionNumber,
)

log = structlog.get_logger()

READ_AHEAD = 512  # outlines read at once
STORE_RETRY_S = 1.0
TEXT_BYTES = 1_024  # of a failed answer that is kept to be looked at


class Sink(Protocol):
    """Where deliveries go: a connection, or a URL."""

    def accepts(self, size: int) -> bool:
        """Whether a body of so many bytes may be sent now."""

    def deliver(self, delivery: Delivery) -> None:
        """Send it, without waiting; the result comes to the pump's `finish`."""


def delivery_id(subscription: SubscriptionNumber, sequence: int) -> str:
    """The id of a delivery, the same for each of its attempts."""
    return f"{subscription}.{sequence}"


def subscription_of(delivery: str) -> SubscriptionNumber:
    """The subscription that a delivery's id holds."""
    return int(delivery.partition(".")[0])


def sequence_of(delivery: str) -> int:
    """The sequence that a delivery's id holds."""
    return int(delivery.rpartition(".")[2])


class Pump:
    """The one reader of a subscription: takes what is ready as fast as its sink takes it.

    The store is the queue: nothing waits in memory but outlines. Made with a fresh claim; `run`
    it in a task until `stop`.
    """

    def __init__(
        self,
        store: EventStore,
        channel: Channel,
        subscription: Subscription,
        claim: Claim,
        sink: Sink,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.channel = channel
        self.subscription = subscription
        self.claim = claim
        self._store = store
        self._sink = sink
        self._clock = clock
        self._metrics = metrics
        self._schedule = Schedule(claim, clock.monotonic(), clock.unix_ms())
        self._noted_floor = claim.progress.floor
        self._attempts: list[Attempt] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._held = False
        self._stopped = False

    @property
    def held(self) -> bool:
        """Its target is not there: it waits."""
        return self._held

    async def run(self) -> None:
        """Send what is ready, again and again, until `stop`."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stopped:
                return
            try:
                await self._turn()
            except RelayError as exc:
                log.warning("store did not answer a reader", error=str(exc), **self._facts())
                self._wake_at(self._clock.monotonic() + STORE_RETRY_S)

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def tick(self, now: float) -> None:
        """Look at leases and retries; call this about once a second."""
        self._schedule.tick(now)
        self._wake.set()

    def hold(self) -> None:
        """The target is not there: send nothing until `let_go`."""
        self._held = True

    def let_go(self) -> None:
        """The target is back."""
        self._held = False
        self._wake.set()

    def extend(self, deliveries: Iterable[str]) -> None:
        """The sink still has these."""
        sequences = [sequence_of(delivery) for delivery in deliveries]
        self._schedule.extend(sequences, self._sink, self._clock.monotonic())

    def finish(self, delivery: str, outcome: Outcome) -> None:
        """Take the result of an attempt; one that comes late changes nothing."""
        now = self._clock.monotonic()
        sequence = sequence_of(delivery)
        jitter = random.uniform(-1, 1)  # noqa: S311  (it spreads retries, it guards nothing)
        entry = self._schedule.finish(sequence, self._sink, outcome, now, jitter)
        if entry is None:
            return
        if not (isinstance(outcome, Failure) and outcome.kind in GIVEN_BACK):
            self._attempts.append(_attempt(entry, outcome, self._clock.unix_ms()))
        self._metrics.attempt(self.channel.name, outcome)
        self._wake.set()

    def stop(self) -> None:
        """Free what is under way, note how far it came, and end `run`."""
        self._stopped = True
        self._schedule.release(self._sink)
        self._record()
        if self._timer is not None:
            self._timer.cancel()
        self._wake.set()

    async def _turn(self) -> None:
        self._schedule.tick(self._clock.monotonic())
        await self._load()
        if not self._held:
            await self._send()
        self._record()
        if (due := self._schedule.next_timer) is not None:
            self._wake_at(due)

    async def _load(self) -> None:
        """Keep enough in view that a key which waits does not hide the others."""
        schedule = self._schedule
        while (room := min(schedule.room, READ_AHEAD)) > 0:
            after = schedule.read_up_to
            outlines = await self._store.outlines(self.channel.number, after, room)
            if outlines:
                schedule.load(outlines, self._clock.monotonic())
            if len(outlines) < room or schedule.unsettled >= LOOK_AHEAD:
                return

    async def _send(self) -> None:
        while not (self._stopped or self._held) and self._sink.accepts(0):
            picked = self._pick()
            if not picked:
                return
            try:
                events = await self._fetch(picked)
            except RelayError:
                self._schedule.put_back(picked)
                raise
            if not self._send_picked(picked, events):
                return

    def _pick(self) -> list[Entry]:
        """No more than a window holds: what is read and not sent only costs memory."""
        fitting, total = list[Entry](), 0
        for entry in self._schedule.pick(WINDOW_DELIVERIES):
            alone = not fitting
            if self._sink.accepts(entry.size) and (alone or total + entry.size <= WINDOW_BYTES):
                fitting.append(entry)
                total += entry.size
            else:
                self._schedule.put_back((entry,))
        return fitting

    async def _fetch(self, picked: Sequence[Entry]) -> dict[int, Event]:
        wanted = [entry.sequence for entry in picked]
        events = await self._store.fetch(self.channel.number, wanted)
        return {event.head.sequence: event for event in events}

    def _send_picked(self, picked: Sequence[Entry], events: dict[int, Event]) -> bool:
        """Send what the sink accepts; False when that was nothing.

        A body that is too large for now does not hold up the smaller ones behind it.
        """
        progressed = False
        for entry in picked:
            event = events.get(entry.sequence)
            if event is None:
                log.warning("event is gone", sequence=entry.sequence, **self._facts())
                self._schedule.vanish(entry)
                progressed = True
            elif self._stopped or self._held or not self._sink.accepts(entry.size):
                self._schedule.put_back((entry,))
            elif self._schedule.begin(entry, self._sink, self._clock.monotonic()):
                self._sink.deliver(self._delivery(entry, event))
                progressed = True
        return progressed

    def _delivery(self, entry: Entry, event: Event) -> Delivery:
        return Delivery(
            id=delivery_id(self.subscription.number, entry.sequence),
            subscription=self.subscription.number,
            channel=self.channel.name,
            attempt=entry.attempt,
            replay=False,
            event=event.head,
            body=event.body,
        )

    def _record(self) -> None:
        marks = self._schedule.changes()
        floor = self._schedule.floor
        if not (marks or self._attempts or floor > self._noted_floor):
            return
        self._noted_floor = floor
        progress = Progress(floor, tuple(marks), tuple(self._attempts))
        self._attempts.clear()
        self._store.record(self.claim, progress)

    def _wake_at(self, when: float) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            if self._timer_at == when:
                return
            self._timer.cancel()
        delay = max(0.0, when - self._clock.monotonic())
        self._timer_at = when
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._wake.set()

    def _facts(self) -> dict[str, str]:
        return {"channel": self.channel.name, "subscription": self.subscription.name}


def _attempt(entry: Entry, outcome: Outcome, now_ms: int) -> Attempt:
    return Attempt(
        sequence=entry.sequence,
        attempt=entry.attempt,
        started_at=now_ms - outcome.elapsed_ms,
        elapsed_ms=outcome.elapsed_ms,
        outcome="response" if isinstance(outcome, Response) else outcome.kind.value,
        status=outcome.status if isinstance(outcome, Response) else None,
        text=_text(outcome),
    )


def _text(outcome: Outcome) -> str:
    """What helps to see why an attempt failed."""
    match outcome:
        case Response(body=body):
            return "" if outcome.delivered else body[:TEXT_BYTES].decode("utf-8", "replace")
        case Failure(text=text):
            return text[:TEXT_BYTES]
