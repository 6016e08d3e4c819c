"""Moves one subscription's events from the store to whoever reads it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from relay_protocol.errors import RelayError
from relay_protocol.limits import WINDOW_BYTES
from relay_protocol.values import Delivery, Outcome
from relay_server.clock import Clock
from relay_server.configs import Policy
from relay_server.delivery import retry
from relay_server.delivery.backoff import StoreBackoff
from relay_server.delivery.lanes import Entry, Keys
from relay_server.delivery.stream import Stream
from relay_server.errors import ReplayNotFound
from relay_server.metrics import Metrics
from relay_server.store.interface import Store
from relay_server.values import (
    Channel,
    Claim,
    Event,
    ReaderNumber,
    Replay,
    ReplayState,
    Subscription,
)

log = structlog.get_logger()

# Deliveries of replays lent at once. A target gets 8 at once unless told otherwise, and may take
# long for each: most of them are for live traffic.
REPLAY_UNDER_WAY = 2


class Sink(Protocol):
    """Where deliveries go: a connection, or a URL."""

    def accepts(self, size: int) -> bool:
        """Whether a body of so many bytes may be sent now."""

    def deliver(self, delivery: Delivery) -> None:
        """Send it, without waiting; the result comes to the pump's `finish`."""


def delivery_id(reader: ReaderNumber, sequence: int) -> str:
    """The id of a delivery, the same for each of its attempts; that of a replay is another."""
    return f"{reader}.{sequence}"


def reader_of(delivery: str) -> ReaderNumber:
    """The subscription or replay that a delivery's id holds."""
    return int(delivery.partition(".")[0])


def sequence_of(delivery: str) -> int:
    """The sequence that a delivery's id holds."""
    return int(delivery.rpartition(".")[2])


class Pump:
    """The one reader of a subscription: takes what is ready as fast as its sinks take it.

    The store is the queue: nothing waits in memory but outlines. Made with a fresh claim; `run`
    it in a task until `stop`. Live traffic goes before replays.

    Args:
        store: Where events are.
        channel: Whose events.
        subscription: Whose deliveries.
        claim: Fresh.
        clock: For durations.
        metrics: Counts attempts.
        on_gone: Called when the target said that it wants no more, with what it said.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        subscription: Subscription,
        claim: Claim,
        clock: Clock,
        metrics: Metrics,
        on_gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.channel = channel
        self.subscription = subscription
        self.claim = claim
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._on_gone = on_gone
        self._keys = Keys()
        self._live = Stream(store, channel.number, claim, self._policy, clock, self._keys)
        self._streams: dict[ReaderNumber, Stream] = {claim.reader: self._live}
        self._sinks: dict[Sink, str | None] = {}  # why one takes nothing now; None if it does
        self._open: list[Sink] = []  # those that take something; who was served last is the last
        self._replays_changed = True
        self._trouble = StoreBackoff(clock, "store did not answer a reader", **self._facts())
        self._replays_trouble = StoreBackoff(
            clock, "store did not answer a reader's replays", **self._facts()
        )
        self._draining = False
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._stopped = False

    @property
    def _policy(self) -> Policy:
        return self.subscription.config.policy.applied_to(self.channel.config.policy)

    @property
    def paused(self) -> str:
        """Why nothing is sent until `resume`; empty when it is not paused."""
        return self.subscription.config.paused

    @property
    def waits_for_target(self) -> str | None:
        """Why none of its sinks takes anything now; None if one does, or there is none."""
        reasons = list(self._sinks.values())
        return reasons[0] if reasons and None not in reasons else None

    @property
    def under_way(self) -> int:
        """How many deliveries are lent."""
        return sum(stream.schedule.under_way for stream in self._streams.values())

    def add(self, sink: Sink) -> None:
        """Deliver to this one, too."""
        self._sinks.setdefault(sink, None)
        self._open_some()

    def remove(self, sink: Sink) -> None:
        """A sink is gone: what was lent to it is freed."""
        self._sinks.pop(sink, None)
        for stream in self._streams.values():
            stream.schedule.release(sink)
        self._open_some()

    async def run(self) -> None:
        """Send what is ready, again and again, until `stop`."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stopped:
                return
            await self._turn()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def tick(self, now: float) -> None:
        """Look at leases and retries; call this about once a second."""
        for stream in self._streams.values():
            stream.schedule.tick(now)
        self._wake.set()

    def hold(self, sink: Sink, why: str = "") -> None:
        """The sink's target is not there: send it nothing until `let_go`."""
        if sink in self._sinks:
            self._sinks[sink] = why
            self._open_some()

    def let_go(self, sink: Sink) -> None:
        """The target is back."""
        if sink in self._sinks:
            self._sinks[sink] = None
            self._open_some()

    def extend(self, sink: Sink, deliveries: Iterable[str]) -> None:
        """The sink still has these."""
        now = self._clock.monotonic()
        for delivery in deliveries:
            stream = self._streams.get(reader_of(delivery))
            if stream is not None:
                stream.schedule.extend((sequence_of(delivery),), sink, now)

    def finish(self, sink: Sink, delivery: str, outcome: Outcome) -> None:
        """Take the result of an attempt; one that comes late changes nothing."""
        self._wake.set()  # whatever it was, the sink has room again
        stream = self._streams.get(reader_of(delivery))
        if stream is None:
            return
        jitter = random.uniform(-1, 1)  # noqa: S311  (it spreads retries, it guards nothing)
        finished = stream.finish(sequence_of(delivery), sink, outcome, jitter)
        if finished is None:
            return
        self._metrics.attempt(self.channel.name, outcome)
        if isinstance(finished.verdict, retry.Pause) and not self.paused:
            self.pause(finished.verdict.reason)
            self._on_gone(finished.verdict.reason)

    def pause(self, reason: str) -> None:
        """Send nothing until `resume`."""
        config = msgspec.structs.replace(self.subscription.config, paused=reason)
        self.subscription = msgspec.structs.replace(self.subscription, config=config)

    def resume(self) -> None:
        """Go on after `pause`."""
        self.pause("")
        self._wake.set()

    def drain(self) -> None:
        """Send nothing more, and go on taking results."""
        self._draining = True

    def configure(self, channel: Channel, subscription: Subscription) -> None:
        """Go on with other rules."""
        self.channel, self.subscription = channel, subscription
        for stream in self._streams.values():
            stream.schedule.set_policy(self._policy, self._clock.monotonic())
        self._wake.set()

    def replays_changed(self) -> None:
        """A replay was asked for, or stopped."""
        self._replays_changed = True
        self._wake.set()

    def stop(self) -> None:
        """Free what is under way, note how far it came, and end `run`."""
        self._stopped = True
        self._sinks.clear()
        self._open.clear()
        for stream in self._streams.values():
            stream.close()
        if self._timer is not None:
            self._timer.cancel()
        self._wake.set()

    async def _turn(self) -> None:
        """Live traffic first: it goes on where the store can do nothing for replays."""
        try:
            if await self._trouble.run(self._move_live) and self._may_replay:
                await self._replays_trouble.run(self._replay)
        finally:
            self._record()  # what was done has been done, whatever failed
        self._wake_when_due()

    async def _move_live(self) -> None:
        await self._move(self._live)

    async def _move(self, stream: Stream) -> None:
        stream.schedule.tick(self._clock.monotonic())
        if await stream.load():
            self._wake.set()  # live traffic goes first, then some more of a replay
        await self._send(stream)

    @property
    def _may_replay(self) -> bool:
        return self._replays_changed or len(self._streams) > 1

    async def _replay(self) -> None:
        if self._replays_changed:
            await self._take_up_replays()
        for stream in [s for s in self._streams.values() if s is not self._live]:
            if stream.stopped:
                stream.schedule.tick(self._clock.monotonic())
            else:
                await self._move(stream)
        if not self._stopped:
            self._record()  # how far one came is stored before its end is
            await self._end_replays()

    @property
    def _may_send(self) -> bool:
        return not (self._stopped or self._draining or self.paused)

    async def _send(self, stream: Stream) -> None:
        while self._may_send and (count := self._allowance(stream)) > 0 and self._sink_for(0):
            picked = self._pick(stream, count)
            if not picked:
                return
            try:
                events = await self._fetch(picked)
            except RelayError:
                stream.schedule.put_back(picked)
                raise
            if not self._send_picked(stream, picked, events):
                return

    def _allowance(self, stream: Stream) -> int:
        """How many deliveries a stream may begin now."""
        allowed = stream.allowance()
        if stream is self._live:
            return allowed
        live = self._live.schedule.under_way
        return min(allowed, REPLAY_UNDER_WAY - (self.under_way - live))

    def _pick(self, stream: Stream, count: int) -> list[Entry]:
        """No more than a window holds: what is read and not sent only costs memory."""
        fitting, total = list[Entry](), 0
        for entry in stream.schedule.pick(count):
            alone = not fitting
            if self._sink_for(entry.size) and (alone or total + entry.size <= WINDOW_BYTES):
                fitting.append(entry)
                total += entry.size
            else:
                stream.schedule.put_back((entry,))
        return fitting

    async def _fetch(self, picked: Sequence[Entry]) -> dict[int, Event]:
        wanted = [entry.sequence for entry in picked]
        events = await self._store.fetch(self.channel.number, wanted)
        return {event.head.sequence: event for event in events}

    def _send_picked(
        self, stream: Stream, picked: Sequence[Entry], events: dict[int, Event]
    ) -> bool:
        """Send what the sinks accept; False when that was nothing.

        A body that is too large for now does not hold up the smaller ones behind it.
        """
        progressed, may_send = False, self._may_send
        for entry in picked:
            event = events.get(entry.sequence)
            sink = self._sink_for(entry.size) if may_send else None
            if event is None:
                log.warning("event is gone", sequence=entry.sequence, **self._facts())
                stream.schedule.vanish(entry)
                progressed = True
            elif sink is None:
                stream.schedule.put_back((entry,))
            elif stream.begin(entry, sink):
                self._served(sink, stream)
                sink.deliver(self._delivery(stream, entry, event))
                progressed = True
        return progressed

    def _served(self, sink: Sink, stream: Stream) -> None:
        """Others come first the next time; but live traffic always does."""
        if len(self._open) > 1:
            self._open.remove(sink)
            self._open.append(sink)
        if stream is not self._live:
            self._streams[stream.number] = self._streams.pop(stream.number)

    def _sink_for(self, size: int) -> Sink | None:
        """A sink that takes a body of so many bytes now."""
        for sink in self._open:
            if sink.accepts(size):
                return sink
        return None

    def _open_some(self) -> None:
        """Sinks came, went, or have changed their minds."""
        self._open = [sink for sink, held in self._sinks.items() if held is None]
        self._wake.set()

    def _delivery(self, stream: Stream, entry: Entry, event: Event) -> Delivery:
        return Delivery(
            id=delivery_id(stream.number, entry.sequence),
            subscription=self.subscription.number,
            channel=self.channel.name,
            attempt=entry.attempt,
            replay=stream.replay is not None,
            event=event.head,
            body=event.body,
        )

    def _record(self) -> None:
        for stream in self._streams.values():
            stream.record()

    async def _take_up_replays(self) -> None:
        """Bring the streams in line with the replays that the store has."""
        self._replays_changed = False
        try:
            running = await self._store.replays(self.subscription.number, running=True)
            for replay in running:
                if replay.number not in self._streams:
                    await self._take_up(replay)
        except RelayError:
            self._replays_changed = True
            raise
        numbers = {self._live.number, *(replay.number for replay in running)}
        for stream in [s for s in self._streams.values() if s.number not in numbers]:
            stream.stop()

    async def _take_up(self, replay: Replay) -> None:
        if self._stopped:
            return  # whoever came after this pump has claimed it, or will
        claim = await self._store.claim(replay.number)
        if claim is not None and not self._stopped:
            self._streams[replay.number] = Stream(
                self._store,
                self.channel.number,
                claim,
                self._policy,
                self._clock,
                self._keys,
                replay,
            )

    async def _end_replays(self) -> None:
        """What a stopped one has under way keeps its keys until the target is done with it."""
        for stream in [s for s in self._streams.values() if s.stopped]:
            if not stream.schedule.under_way:
                self._streams.pop(stream.number).close()
        for stream in [s for s in self._streams.values() if s.over]:
            with suppress(ReplayNotFound):  # its subscription was deleted meanwhile
                await self._store.end_replay(stream.number, ReplayState.DONE, self._clock.unix_ms())
            self._streams.pop(stream.number, stream).close()
            log.info("replay done", replay=-stream.number, **self._facts())

    def _wake_when_due(self) -> None:
        if (waits_until := self._trouble.wait_until) is not None:
            self._wake_at(waits_until)
            return
        times = [self._live.schedule.next_timer]
        if (waits_until := self._replays_trouble.wait_until) is not None:
            times.append(waits_until)
        else:
            times += self._times_of_replays()
        if due := [when for when in times if when is not None]:
            self._wake_at(min(due))

    def _times_of_replays(self) -> list[float | None]:
        replays = [s for s in self._streams.values() if s is not self._live]
        times = [s.schedule.next_timer for s in replays]
        if self._may_send:  # otherwise they were not asked
            times += [s.throttled_until for s in replays]
        return times

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
