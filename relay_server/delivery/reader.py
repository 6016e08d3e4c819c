"""The one reader of a subscription: brings what its queues let go to the sinks that take it.

A reader has one queue for live traffic and one for each running replay, which share the keys that
are under way; and a sink for each connection, or one that is a URL.

What needs no question to the store is done at once, by plain calls: a live queue that had read all
is fed with new events by the change that tells of them, and lends what may go; a result changes its
queue. What results changed is looked at once they all are taken that came together: progress is
recorded, the timer of the next retry set, and the task is woken where it can do something. Sinks
are flushed likewise, once all is lent that may go. Nothing of this is left to another turn of the
event loop: that costs a poll of its sockets for each webhook.

That task runs in *turns*, one after the other. A turn

1. lets each queue read on,
2. takes what may go and fits a sink's credit, and lends it: live traffic first, then replays in
   turn, of which no more than `REPLAY_UNDER_WAY` are lent at once,
3. records what changed, which the store writes within 0.2 s.

Which sink takes a body of some size now, if any, is decided by `_sink_for` alone: a reader that is
stopped, draining or paused has none, nor has one whose targets are not there. A store that does not
answer ends the turn, and is asked again after a second; where it can do nothing for replays, live
traffic goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from relay_protocol.values import Delivery, EventHead, Outcome
from relay_server.clock import Clock
from relay_server.configs import Away, Policy, SenderKind
from relay_server.delivery.backoff import StoreBackoff
from relay_server.delivery.expiry import lifetimes_of
from relay_server.delivery.lanes import Entry
from relay_server.delivery.once import Once
from relay_server.delivery.queue import Ended, Gate, Queue
from relay_server.delivery.replay_queues import ReplayQueues
from relay_server.delivery.resigning import Signer, signer_of
from relay_server.delivery.retry import Next, Verdict
from relay_server.delivery.sifter import filter_of
from relay_server.delivery.sinks import Sink, Sinks
from relay_server.errors import InvalidValue
from relay_server.filters.document import Documents
from relay_server.metrics import Metrics
from relay_server.sealing import OpenSealed, opens_nothing
from relay_server.spans import Span
from relay_server.store.feed import EventsStored, GivenUp
from relay_server.store.interface import Store
from relay_server.values import (
    Channel,
    Claim,
    Event,
    Replay,
    Subscription,
)
from relay_server.wake import Wake

if TYPE_CHECKING:  # what it imports is there only with relay-tunnel[otel]
    from relay_server.tracing import Tracing

log = structlog.get_logger()

# Deliveries of replays lent at once. A target gets 8 at once unless told otherwise, and may take
# long for each: most of them are for live traffic.
REPLAY_UNDER_WAY = 2


class Reader:
    """Takes what is ready as fast as its sinks take it; `run` it in a task until `stop`.

    Args:
        claim: Fresh.
        on_gone: Called when the target said that it wants no more, with what it said.
        tracing: Told of deliveries, where they are traced.
        on_ended: Called with each attempt that ended.
        open_sealed: Opens what deliveries are signed anew with.
        gate: Asked whether an event may go, where people may have its conversation.

    Attributes:
        alive_at: When a target took something last, came or went, or had something that may still
            end well: none has failed since; monotonic seconds.
        delivered: How many deliveries, but for replays.
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
        tracing: Tracing | None = None,
        on_ended: Ended = lambda *_: None,
        open_sealed: OpenSealed = opens_nothing,
        gate: Gate | None = None,
    ) -> None:
        self.alive_at = clock.monotonic()
        self.delivered = 0
        self._failing = False  # the last attempt ended otherwise than well, or without a result
        self._gate = gate
        self.channel = channel
        self.subscription = subscription
        self.claim = claim
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._on_gone = on_gone
        self._tracing = tracing
        self._on_ended = on_ended
        self._open_sealed = open_sealed
        self._signer: Signer | None = None
        self._once: Once | None = None
        self._keys = set[str]()  # of which something is under way, in any queue
        self._held_back: dict[str, int] = {}  # keys, and the last of each that may go
        self._live = self._queue(claim)
        self._live_name = str(claim.reader)  # in the ids of its deliveries
        self._follow_filter()
        facts = {"channel": channel.name, "subscription": subscription.name}
        self._replays = ReplayQueues(store, clock, subscription.number, self._queue, facts)
        self._sinks = Sinks()
        self._backoff = StoreBackoff(clock, "store did not answer a reader", **facts)
        self._replays_backoff = StoreBackoff(
            clock, "store did not answer a reader's replays", **facts
        )
        self._draining = False
        self._follow_signing()
        self._wake = Wake()
        self._unflushed: list[Sink] = []  # they got something
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._stopped = False

    @property
    def paused(self) -> str:
        """Why nothing is sent for now; empty when it is not paused."""
        return self.subscription.config.paused

    @property
    def waits_for_target(self) -> str | None:
        """Why none of its sinks takes anything now; None if one does, or there is none."""
        return self._sinks.waits_for_target

    @property
    def delivers(self) -> bool:
        """False while nothing can go out: none of its targets is there, or it is paused."""
        return self._sinks.any_open and not self.paused

    @property
    def signs(self) -> bool:
        """True if what it sends is signed anew: no other reader's events have such heads."""
        return self._signer is not None

    @property
    def keeps_up(self) -> bool:
        """False while there are more new events than it has room to know of."""
        return self._live.keeps_up

    @property
    def under_way(self) -> int:
        """How many deliveries are lent."""
        return sum(queue.under_way for queue in self._queues)

    def add(self, sink: Sink) -> None:
        """Deliver to this one, too."""
        with self._following_sinks():
            self._sinks.add(sink)

    def remove(self, sink: Sink) -> None:
        """A sink is gone: what was lent to it is freed."""
        with self._following_sinks():
            self._sinks.remove(sink)
            for queue in self._queues:
                queue.release(sink)

    def hold(self, sink: Sink, why: str | None = "") -> None:
        """The sink's target is not there: send it nothing until `let_go`."""
        with self._following_sinks():
            self._sinks.hold(sink, why)

    def let_go(self, sink: Sink) -> None:
        """The target is back."""
        self.hold(sink, None)

    async def run(self) -> None:
        """Take one turn after the other, until `stop`."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stopped:
                return
            await self._turn()

    def wake(self) -> None:
        """There may be something to do: a sink may have credit again."""
        # Woken in vain a task costs more than all that a result does.
        if self._replays or (self._live.has_work and self._sink_for(0) is not None):
            self._wake.set()

    def new_events(self, change: EventsStored, documents: Documents) -> None:
        """The channel has events that were not read yet."""
        live = self._live
        is_idle = not live.has_ready  # then all that may go is among these
        if not live.feed(change, documents, self._clock.monotonic()):
            self._wake.set()
        elif not (is_idle and self._once is None and self._send_fed(change)):
            self.wake()

    def tick(self, now: float) -> None:
        """Look at leases and retries; call this about once a second."""
        had = self.under_way
        for queue in self._queues:
            queue.tick(now)
        self._failing |= self.under_way < had  # leases ran out
        if had and not self._failing:  # a bot that thinks is not away
            self.alive_at = now
        self.follow()

    def extend(self, sink: Sink, deliveries: Iterable[str]) -> None:
        """The sink still has these."""
        now = self._clock.monotonic()
        for delivery in deliveries:
            queue, sequence = self._lent(delivery)
            if queue is not None:
                queue.extend(sequence, sink, now)

    def finish(self, sink: Sink, delivery: str, outcome: Outcome) -> Verdict | None:
        """Take a result that came alone, as `take` does, and follow it."""
        try:
            return self.take(sink, delivery, outcome)
        finally:
            self.follow()

    def take(self, sink: Sink, delivery: str, outcome: Outcome) -> Verdict | None:
        """Take the result of an attempt; one that comes late changes nothing.

        After the last that is at hand call `follow`: whatever they were, the sink has room again.

        Returns:
            What follows; None for one that comes late.
        """
        queue, sequence = self._lent(delivery)
        if queue is None:
            return None
        now, jitter = self._clock.monotonic(), 0.0
        if outcome.delivered:
            self.alive_at, self._failing = now, False
        else:
            self._failing = True
            jitter = random.uniform(-1, 1)  # noqa: S311  (it spreads retries, it guards nothing)
        finished = queue.finish(sequence, sink, outcome, now, jitter)
        if finished is None:
            return None
        entry, verdict = finished
        channel = self.channel.name
        self._metrics.attempt(channel, outcome)
        if verdict.next is Next.DELIVERED and not queue.is_replay:
            self.delivered += 1
            self._metrics.delivered(channel, (self._clock.unix_ms() - entry.received_at) / 1_000)
        if self._tracing is not None:
            self._tracing.ended(delivery, entry.attempt, outcome, self._clock.unix_ms())
        if verdict.next is Next.PAUSED and not self.paused:
            self.pause(verdict.reason)
            self._on_gone(verdict.reason)
        return verdict

    def follow(self) -> None:
        """Record what results and time have changed, and go on from there."""
        if self._replays:
            self._record()
            self._wake.set()
            return
        live = self._live
        live.record()
        if live.due_at is not None:
            self._wake_when_due()
        if live.has_work and self._sink_for(0) is not None:
            self._wake.set()

    def pause(self, reason: str) -> None:
        """Send nothing until it is configured otherwise."""
        config = msgspec.structs.replace(self.subscription.config, paused=reason)
        self.subscription = msgspec.structs.replace(self.subscription, config=config)

    def drain(self) -> None:
        """Send nothing more, and go on taking results."""
        self._draining = True

    def configure(self, channel: Channel, subscription: Subscription) -> None:
        """Go on with other rules."""
        self.channel, self.subscription = channel, subscription
        for queue in self._queues:
            queue.set_policy(self._policy, self._clock.monotonic())
        self._follow_filter()
        self._follow_signing()
        self._wake.set()

    def left_out(self, spans: Sequence[Span]) -> None:
        """Its filter was asked of what waits: these hold nothing up until their next try."""
        self._live.leave_out(spans)
        self.follow()

    def skip(self, up_to: int) -> None:
        """Somebody settled what waited up to a sequence."""
        self._live.skip(up_to)
        self.follow()
        self._wake.set()

    def note_under_way(self, sequence: int) -> None:
        """Somebody asks for what is recorded of a delivery."""
        self._live.note_under_way(sequence)
        self._live.record()

    def give_up(self, change: GivenUp) -> None:
        """Somebody let deliveries die, so that their conversations go on."""
        for sequence in change.sequences:
            self._live.give_up(sequence, change.reason, self._clock.monotonic())
        self.follow()
        self._wake.set()

    def go_on(self, key: str) -> None:
        """Whether events of a key may go is known now."""
        self._live.ask_again(key)
        self._wake.set()

    def hold_back(self, key: str, above: int | None) -> None:
        """Send nothing of a key above a sequence, for a while; None ends that."""
        if above is None:
            self._held_back.pop(key, None)
        else:
            self._held_back[key] = above
        self._follow_gate()
        self._wake.set()

    def replays_changed(self) -> None:
        """A replay was asked for, or stopped."""
        self._replays.changed = True
        self._wake.set()

    def stop(self) -> None:
        """Free what is under way, note how far it came, and end `run`."""
        self._stopped = True
        self._sinks.clear()
        # Now, and not once `run` has ended: the next reader may be claiming already.
        self._live.close()
        self._replays.close()
        if self._timer is not None:
            self._timer.cancel()
        self._wake.set()

    def _lent(self, delivery: str) -> tuple[Queue | None, int]:
        """The queue that a delivery's id names, if there is one, and its sequence there."""
        reader, _, sequence = delivery.partition(".")
        if reader == self._live_name:
            return self._live, int(sequence)
        return self._replays.get(int(reader)), int(sequence)

    @property
    def _policy(self) -> Policy:
        return self.subscription.config.policy.applied_to(self.channel.config.policy)

    def _follow_filter(self) -> None:
        config = self.subscription.config
        filtered = config.filtered or self.channel.config.expires
        self._live.set_filter(filter_of(config), filtered=filtered)
        self._live.set_lifetimes(lifetimes_of(self.channel.config))
        self._follow_gate()
        self._follow_once()

    def _follow_gate(self) -> None:
        """Whoever hands nothing over, and holds nothing back, asks nobody."""
        hands_over = self.subscription.config.away is Away.HANDOFF
        self._live.set_gate(self._may_go if hands_over or self._held_back else None)

    def _may_go(self, event: EventHead) -> str | None:
        above = self._held_back.get(event.key)
        if above is not None and event.sequence > above:
            return None
        if self._gate is None or self.subscription.config.away is not Away.HANDOFF:
            return ""
        return self._gate(event)

    def _follow_once(self) -> None:
        """Keep what is known of messages for as long as that is set."""
        config, channel = self.subscription.config, self.channel
        if not config.once or channel.config.sender is not SenderKind.CHATWOOT:
            self._once = None
        elif self._once is None:
            self._once = Once(self._store, channel, self.subscription.name)
        self._live.set_once(self._once)

    def _follow_signing(self) -> None:
        """Sign as it is set; where that cannot be done, pause: who checks would refuse all."""
        self._signer = None
        try:
            self._signer = signer_of(self.channel, self.subscription.config, self._open_sealed)
        except InvalidValue as exc:
            if not self.paused:
                self.pause(str(exc))
                self._on_gone(str(exc))

    @property
    def newest(self) -> int:
        """Sequence of its channel's newest event."""
        return self._store.newest(self.channel.number)

    @property
    def _queues(self) -> list[Queue]:
        return [self._live, *self._replays]

    def _queue(self, claim: Claim, replay: Replay | None = None) -> Queue:
        channel = self.channel.number
        parts = self._policy, self._clock, self._keys, replay, self._on_ended
        return Queue(self._store, channel, claim, *parts)

    async def _turn(self) -> None:
        """Live traffic first: it goes on where the store can do nothing for replays."""
        try:
            if await self._backoff.run(lambda: self._serve(self._live)) and self._replays:
                await self._replays_backoff.run(self._serve_replays)
        finally:
            self._record()  # what was done has been done, whatever failed
        self._wake_when_due()

    async def _serve_replays(self) -> None:
        if self._replays.changed:
            await self._replays.take_up()
        for queue in self._replays:
            await self._serve(queue)
        if not self._stopped:
            self._record()  # how far one came is stored before its end is
            await self._replays.end_some()

    async def _serve(self, queue: Queue) -> None:
        queue.look(self._clock.monotonic())
        if queue.stopped:
            return
        if await queue.read_on():
            self._wake.set()  # the rest in another turn: live traffic goes first
        while await self._send(queue):
            pass

    async def _send(self, queue: Queue) -> bool:
        """Lend what may go; False when that was nothing."""
        sent = False
        taken = await queue.take(self._limit(queue), self._sink_for)
        try:
            for entry, event in taken:
                sent |= self._lend(queue, entry, event, self._sink_for(entry.size))
        finally:
            self._flush()
        return sent

    def _send_fed(self, change: EventsStored) -> bool:
        """Lend what may go of events that were just fed to a live queue which had nothing ready.

        Returns:
            False where some stay: there may be room for a smaller one.
        """
        live, events, went = self._live, change.events, True
        first = change.up_to - len(events) + 1
        try:
            for entry in live.pick(len(events)):
                event, sink = events[entry.sequence - first], self._sink_for(entry.size)
                # Its gate is asked of what would go: it may begin a hand-off.
                may_go = sink is None or live.may_go(entry, event)
                went &= may_go and self._lend(live, entry, event, sink)
        finally:
            self._flush()
        return went

    def _lend(self, queue: Queue, entry: Entry, event: Event, sink: Sink | None) -> bool:
        if sink is None:
            queue.put_back(entry)
            return False
        now = self._clock.monotonic()
        if not queue.begin(entry, sink, now):
            return False
        self._sinks.served(sink)
        if sink not in self._unflushed:
            self._unflushed.append(sink)
        if queue.is_replay:  # live traffic always comes first
            self._replays.served(queue, now)
        entry.received_at = event.head.received_at
        delivery = self._delivery(queue, entry, event)
        sink.deliver(delivery if self._tracing is None else self._traced(delivery, self._tracing))
        return True

    def _flush(self) -> None:
        while self._unflushed:
            self._unflushed.pop().flush()

    def _sink_for(self, size: int) -> Sink | None:
        """The sink that a body of so many bytes goes to now, if any does."""
        if self._stopped or self._draining or self.subscription.config.paused:
            return None
        return self._sinks.accepting(size)

    def _limit(self, queue: Queue) -> int:
        """How many deliveries of a queue may be lent now, beside the others' deliveries."""
        credit = self._sinks.credit
        if not queue.is_replay:
            return credit
        return min(credit, REPLAY_UNDER_WAY - (self.under_way - self._live.under_way))

    @contextmanager
    def _following_sinks(self) -> Iterator[None]:
        """Sinks come, go, or change their minds: its target is there or away anew."""
        was_open = self._sinks.any_open
        yield
        if was_open is not self._sinks.any_open:
            self.alive_at, self._failing = self._clock.monotonic(), False
        self._wake.set()

    def _delivery(self, queue: Queue, entry: Entry, event: Event) -> Delivery:
        head = event.head
        if self._signer is not None:
            head = self._signer(event, self._clock.unix_ms())
        return Delivery(
            # The same for each of its attempts; a replay's number makes it another.
            id=f"{queue.number}.{entry.sequence}",
            subscription=self.subscription.number,
            channel=self.channel.name,
            attempt=entry.attempt,
            replay=queue.is_replay and not event.edited,
            event=head,
            body=event.body,
        )

    def _traced(self, delivery: Delivery, tracing: Tracing) -> Delivery:
        """The delivery as it goes, with what its target is to go on with the trace from."""
        names = self.channel.name, self.subscription.name
        traceparent = tracing.lent(*names, delivery, self._clock.unix_ms())
        return msgspec.structs.replace(delivery, traceparent=traceparent)

    def _record(self) -> None:
        for queue in self._queues:
            queue.record()

    # Timers

    def _wake_when_due(self) -> None:
        if (again_at := self._backoff.wait_until) is not None:
            self._wake_at(again_at)
            return
        times = [self._live.due_at]
        if self._replays:
            again_at = self._replays_backoff.wait_until
            times += [again_at] if again_at else [queue.due_at for queue in self._replays]
        if due := [when for when in times if when is not None]:
            self._wake_at(min(due))

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
