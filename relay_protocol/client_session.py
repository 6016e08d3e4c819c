"""The client's half of the tunnel, across reconnections, without I/O.

    OFFLINE ──connected, hello──▶ JOINING ──welcome──▶ OPEN
       ▲                             │                   │
       └────────── disconnected ─────┴───────────────────┘

Two things have different lives. What a *connection* lent (`_held`, the window, bodies that arrive,
what waits for the target) goes with it, and the server lends it anew. What the *target* works on
(`_running`) goes on, and its result answers the next connection if that brings the delivery again.
So does what the target took before (`Finished`): one delivery is posted once, however often a
connection or a result is lost.

A channel whose target is not there is paused at the server, what was not begun is given back, and
the target is probed. Whatever the relay sends beyond the window, or that was not announced, raises
ProtocolError: the connection ends with 4400.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from relay_protocol.errors import ProtocolError
from relay_protocol.finished import Finished, FinishedInMemory
from relay_protocol.limits import HANDSHAKE_S, HEARTBEAT_S, MAX_UNIX_MS, WORKING_INTERVAL_S
from relay_protocol.messages import (
    Chunk,
    ClientMessage,
    CloseCode,
    Deliver,
    Error,
    Goaway,
    Granted,
    Hello,
    Pause,
    Result,
    Resume,
    ServerMessage,
    Verdict,
    Welcome,
    Working,
)
from relay_protocol.session import Close, Liveness, Ping, Window, check_deliver, check_welcome
from relay_protocol.values import GONE, Delivery, Failure, FailureKind, Outcome, Response


class State(enum.Enum):
    """How far the current connection is."""

    OFFLINE = enum.auto()
    JOINING = enum.auto()  # hello was sent
    OPEN = enum.auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """Look for the channel's target every few seconds; once it listens, call `target_up`."""

    channel: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The server delivers nothing more of this subscription until somebody resumes it."""

    channel: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is under way any more after `drain`."""


# What follows: messages are to be sent; a delivery is to be posted to its target, and `finished`
# called then. `Welcome` says that it is connected and subscribed; with `Goaway` and `Error` the
# server says why it is about to close. After `Close`, `disconnected` is to be called.
ClientEffect: TypeAlias = (
    ClientMessage
    | Delivery
    | Welcome
    | Verdict
    | Goaway
    | Error
    | Probe
    | Paused
    | Ping
    | Close
    | Drained
)


@dataclass(slots=True)
class _Partial:
    """A delivery whose body is still arriving."""

    head: Deliver
    body: bytearray = field(default_factory=bytearray)


class ClientSession:
    """Told what happened, answers with what to do.

    It lives as long as the client: what the target works on goes on while the connection is away,
    and its result is given to the next one. It never waits, reads a clock or touches a socket;
    callers pass `now` in monotonic seconds.

    Attributes:
        batches: Both ends of the current connection take frames with several messages.
        verdicts: Its server says what follows from each failed attempt that it is told of.
    """

    def __init__(
        self,
        hello: Hello,
        concurrency: int,
        *,
        finished: Finished | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.state = State.OFFLINE
        self.batches = self.verdicts = False
        self._hello = hello
        self._concurrency = concurrency
        self._heartbeat_s = heartbeat_s
        self._liveness = Liveness(0.0, heartbeat_s)
        self._joined_at = 0.0
        self._worked_at = 0.0
        self._granted: dict[int, Granted] = {}
        # What this connection brought and still waits for: ids of the event and the subscription by
        # the delivery's. A server restored from a backup gives delivery ids to other events.
        self._held: dict[str, tuple[str, int]] = {}
        self._window = Window(hello.window)
        self._partial: dict[str, _Partial] = {}
        # Handed back while their bodies arrived: what is on its way of these is dropped.
        self._cut_short: deque[str] = deque(maxlen=hello.window)
        self._queue: dict[str, Delivery] = {}  # waits for its turn, by id
        self._running: set[tuple[str, str]] = set()  # ids of a delivery and its event
        self._down: set[str] = set()  # channels whose target is not there
        self._paused: set[int] = set()  # subscriptions that were told to be
        self._draining = False
        self._finished = finished or FinishedInMemory()

    @property
    def running(self) -> frozenset[str]:
        """Ids of the deliveries that the target is working on."""
        return frozenset(delivery for delivery, _ in self._running)

    @property
    def under_way(self) -> int:
        """How many deliveries that is."""
        return len(self._running)

    @property
    def heard_at(self) -> float:
        """When the server was heard of last; monotonic seconds."""
        return self._liveness.heard_at

    def connected(self, now: float, away_s: float | None = None) -> list[ClientEffect]:
        """A connection stands; the relay was heard of last so long ago, or never."""
        self.state = State.JOINING
        self._liveness = Liveness(now, self._heartbeat_s)
        self._joined_at = self._worked_at = now
        away_ms = None if away_s is None else min(MAX_UNIX_MS, round(away_s * 1_000))
        return [msgspec.structs.replace(self._hello, away_ms=away_ms)]

    def disconnected(self) -> None:
        """The connection is gone; the server frees what it lent to it."""
        # What runs and what is down stays: the target knows nothing of connections.
        self.state = State.OFFLINE
        self.batches = self.verdicts = False
        self._granted.clear()
        self._held.clear()
        self._window.clear()
        self._partial.clear()
        self._cut_short.clear()
        self._queue.clear()

    def receive(self, message: ServerMessage, now: float) -> list[ClientEffect]:
        """Take a message from the server.

        Raises:
            ProtocolError: It is not allowed now; the connection must be closed with 4400.
        """
        self._liveness.heard_at = now
        if self.state is State.OPEN and isinstance(message, Deliver):  # as nearly all are
            return self._deliver(message)
        match self.state, message:
            case State.JOINING, Welcome():
                return self._open(message)
            case State.OPEN, Chunk():
                return self._chunk(message)
            case State.OPEN, Verdict() if self.verdicts:
                return [message]
            case ((State.JOINING | State.OPEN), Goaway(retry_after_s=retry_after_s)):
                if not math.isfinite(retry_after_s):
                    raise ProtocolError("a goaway names no time")
                return [message]
            case ((State.JOINING | State.OPEN), Error()):
                return [message]
            case _:
                name = type(message).__name__.lower()
                raise ProtocolError(f"{name} is not allowed while {self.state.name.lower()}")

    def heard(self, now: float) -> None:
        """Something that is no message arrived, such as a pong."""
        self._liveness.heard(now)

    def finished(self, delivery: Delivery, outcome: Outcome) -> list[ClientEffect]:
        """The target answered, or did not."""
        self._running.discard((delivery.id, delivery.event.id))
        effects: list[ClientEffect] = []
        if isinstance(outcome, Response) and outcome.delivered:
            # The result goes out whether or not this is on disk yet: a crash before it is costs a
            # second post, as does one between the target's answer and this line.
            self._finished.add(delivery, outcome)
        else:
            effects += self._failed(delivery.channel, outcome)
        effects += self._result(delivery.id, delivery.event.id, outcome)
        if self._queue or self._draining:
            effects += self._start_next()
        return effects

    def target_up(self, channel: str) -> list[ClientEffect]:
        """The channel's target listens again."""
        self._down.discard(channel)
        if self._draining:
            return []
        return [Resume(number) for number in self._numbers(channel)]

    def drain(self) -> list[ClientEffect]:
        """Take nothing new, give back what the target has not seen, finish the rest."""
        self._draining = True
        effects: list[ClientEffect] = [Pause(number) for number in self._granted]
        effects += self._give_back(FailureKind.NOT_STARTED, "the client is stopping")
        return effects + self._start_next()

    def tick(self, now: float) -> list[ClientEffect]:
        """Look at the clock; call this about once a second."""
        if self.state is State.OFFLINE:
            return []
        if self.state is State.JOINING and now - self._joined_at >= HANDSHAKE_S:
            return [Close(CloseCode.NORMAL, "the relay did not answer the greeting")]
        if self._liveness.is_dead(now):
            return [Close(CloseCode.NORMAL, "nothing was heard from the relay")]
        ping: list[ClientEffect] = [Ping()] if self._liveness.ping_is_due(now) else []
        return ping + self._working(now)

    def _open(self, welcome: Welcome) -> list[ClientEffect]:
        check_welcome(welcome, self._hello)
        self.state = State.OPEN
        self.batches = self._hello.batches and welcome.batches
        self.verdicts = self._hello.verdicts and welcome.verdicts
        self._granted = {g.subscription: g for g in welcome.subscriptions}
        self._paused = {g.subscription for g in welcome.subscriptions if g.paused}
        self._hello = _as_granted(self._hello, welcome)
        self._finished.open(welcome.subscriptions)
        held = [
            Pause(number)
            for number, granted in self._granted.items()
            if self._draining or granted.channel in self._down
        ]
        paused = [Paused(g.channel, g.name, g.paused) for g in welcome.subscriptions if g.paused]
        return [welcome, *held, *paused]

    def _deliver(self, message: Deliver) -> list[ClientEffect]:
        if message.subscription not in self._granted:
            raise ProtocolError("a delivery of a subscription that was not granted")
        check_deliver(message)
        if message.delivery in self._held:  # a lease that ran out: it is lent anew
            self._lent_anew(message)
        if not self._window.accepts(message.size):  # it must not fill the laptop's memory
            raise ProtocolError(self._window.refusal(message.size))
        number = message.subscription
        if number in self._paused and all(number != lent for _, lent in self._held.values()):
            self._paused.discard(number)  # somebody resumed it
        self._held[message.delivery] = message.event.id, number
        self._window.take(message.delivery, message.size)
        if message.body is not None:
            return self._take(message, message.body)
        self._partial[message.delivery] = _Partial(message)
        return []

    def _lent_anew(self, message: Deliver) -> None:
        self._hand_back(message.delivery)
        self._partial.pop(message.delivery, None)  # its body comes anew
        # It weighs what waits of it: the window would bound nothing else.
        waiting = self._queue.get(message.delivery)
        if waiting is not None and (
            (waiting.event.id, len(waiting.body)) != (message.event.id, message.size)
        ):
            raise ProtocolError("a delivery that waits comes again as another")

    def _chunk(self, chunk: Chunk) -> list[ClientEffect]:
        partial = self._partial.get(chunk.delivery)
        if partial is None and chunk.delivery in self._cut_short:
            return []
        if partial is None:
            raise ProtocolError("a chunk of a delivery that was not announced")
        partial.body += chunk.data
        size, received = partial.head.size, len(partial.body)
        if received > size or (chunk.last and received < size):
            raise ProtocolError("a body is not of the size announced")
        if not chunk.last:
            return []
        del self._partial[chunk.delivery]
        return self._take(partial.head, bytes(partial.body))

    def _take(self, head: Deliver, body: bytes) -> list[ClientEffect]:
        id_, event = head.delivery, head.event
        known = self._finished.find(id_, event.id, head.attempt)
        if known is not None:  # the result was lost on the way, not the event
            self._queue.pop(id_, None)
            return self._result(id_, event.id, known)
        if (id_, event.id) in self._running or id_ in self._queue:
            return []  # begun on an earlier connection, or its lease ran out: one result will do
        number = head.subscription
        channel = self._granted[number].channel
        if self._draining or channel in self._down:
            kind = FailureKind.NOT_STARTED if self._draining else FailureKind.TARGET_DOWN
            return self._result(id_, event.id, Failure(kind))
        self._queue[id_] = Delivery(
            id_, number, channel, head.attempt, head.replay, event, body, head.traceparent
        )
        return self._start_next()

    def _start_next(self) -> list[ClientEffect]:
        effects: list[ClientEffect] = []
        queue, running = self._queue, self._running
        while queue and len(running) < self._concurrency:
            delivery = queue.pop(next(iter(queue)))
            running.add((delivery.id, delivery.event.id))
            effects.append(delivery)
        if self._draining and not self._running:
            effects.append(Drained())
        return effects

    def _result(self, delivery: str, event: str, outcome: Outcome) -> list[ClientEffect]:
        """Answer a delivery of this connection; what an earlier one brought waits in memory."""
        lent = self._held.get(delivery)
        if lent is None or lent[0] != event:
            return []
        self._hand_back(delivery)
        if self._partial.pop(delivery, None) is not None:  # it came anew meanwhile
            self._cut_short.append(delivery)
        return [Result(delivery, outcome)]

    def _hand_back(self, delivery: str) -> None:
        self._held.pop(delivery, None)
        self._window.give_back(delivery)

    def _failed(self, channel: str, outcome: Outcome) -> list[ClientEffect]:
        match outcome:
            case Response(status) if status == GONE:
                return self._target_gone(channel)
            case Failure(FailureKind.TARGET_DOWN | FailureKind.TARGET_LOST):
                return self._target_down(channel)
            case _:
                return []  # the server decides what a failure means

    def _target_down(self, channel: str) -> list[ClientEffect]:
        if channel in self._down:
            return []
        self._down.add(channel)
        effects: list[ClientEffect] = [Pause(number) for number in self._numbers(channel)]
        effects += self._give_back(FailureKind.TARGET_DOWN, "", channel)
        return [*effects, Probe(channel)]

    def _target_gone(self, channel: str) -> list[ClientEffect]:
        """Tell once that the server pauses what the target wants no more of."""
        new = [n for n in self._numbers(channel) if n not in self._paused]
        self._paused.update(new)
        reason = f"the target answered {GONE}"
        return [Paused(channel, self._granted[number].name, reason) for number in new]

    def _give_back(
        self, kind: FailureKind, text: str, channel: str | None = None
    ) -> list[ClientEffect]:
        """Return what the target has not seen, of one channel or of all."""
        mine = [d for d in self._queue.values() if channel in (None, d.channel)]
        for delivery in mine:
            del self._queue[delivery.id]
        return [e for d in mine for e in self._result(d.id, d.event.id, Failure(kind, text))]

    def _working(self, now: float) -> list[ClientEffect]:
        if not self._held or now - self._worked_at < WORKING_INTERVAL_S:
            return []
        self._worked_at = now
        return [Working(tuple(sorted(self._held)))]

    def _numbers(self, channel: str) -> list[int]:
        return [number for number, g in self._granted.items() if g.channel == channel]


def _as_granted(hello: Hello, welcome: Welcome) -> Hello:
    """The next greeting: with filters as they hold, in which a span back is a moment by now."""
    held = {granted.channel: granted.filter for granted in welcome.subscriptions}
    wanted = tuple(
        one if one.filter is None else msgspec.structs.replace(one, filter=held[one.channel])
        for one in hello.subscriptions
    )
    return msgspec.structs.replace(hello, subscriptions=wanted)
