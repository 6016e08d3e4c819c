"""The server's half of a tunnel connection, without I/O.

    CONNECTING ──hello──▶ JOINING ──welcome──▶ OPEN ──goaway, error, silence──▶ CLOSED

A session is told what came (`receive`, `heard`), what the server does (`welcome`, `deliver`,
`go_away` …) and the time (`tick`). `receive` gives back the message where it is to be carried out:
so results that come late or twice, and work on what is not under way, end here. All else gives what
is to be sent, or `Ping`, or `Close`. A message that is not allowed in a state raises ProtocolError,
and the connection ends with 4400.

Credit: what was sent and not answered fills the `Window`; a result gives its place back, once. Late
and repeated results change nothing here, and the store hears of none of them.

Bodies above `CHUNK_BYTES` are sent in parts, and those of several deliveries take turns: whoever
sends asks for the `next_chunk` when nothing smaller waits.
"""

from __future__ import annotations

import enum
from typing import TypeAlias, cast

import msgspec

from relay_protocol.errors import ProtocolError
from relay_protocol.limits import (
    CHUNK_BYTES,
    HANDSHAKE_S,
    WINDOW_BYTES,
    WINDOW_DELIVERIES,
)
from relay_protocol.messages import (
    Chunk,
    ClientMessage,
    CloseCode,
    Deliver,
    Error,
    Goaway,
    Hello,
    Pause,
    Result,
    Resume,
    ServerMessage,
    Welcome,
    Working,
)
from relay_protocol.session import Close, Liveness, Ping, Window
from relay_protocol.values import Delivery, EventHead


class State(enum.Enum):
    """How far the conversation is."""

    CONNECTING = enum.auto()  # before hello
    JOINING = enum.auto()  # hello came; the server has not answered yet
    OPEN = enum.auto()
    CLOSED = enum.auto()


ServerEffect: TypeAlias = ServerMessage | Ping | Close


class ServerSession:
    """Told what happened, answers with what to do.

    It never waits, reads a clock or touches a socket; callers pass `now` in monotonic seconds.
    After a `Close` effect everything else is ignored.

    Args:
        now: When the connection was opened.
        window_bytes: What bodies under way may weigh together; one larger one may go beside them.

    Attributes:
        batches: Both ends take frames with several messages, once the client was welcomed.
        verdicts: The client wants to be told what follows from failed attempts.
    """

    def __init__(self, now: float, *, window_bytes: int = WINDOW_BYTES) -> None:
        self.state = State.CONNECTING
        self.batches = self.verdicts = False
        self._opened_at = now
        self._liveness = Liveness(now)
        self._window_bytes = window_bytes
        self._window = Window(0)  # no credit before the welcome
        self._subscriptions: frozenset[int] = frozenset()
        self._bodies: list[tuple[str, memoryview]] = []  # rests not yet sent, in turn

    @property
    def under_way(self) -> frozenset[str]:
        """Ids of deliveries that were sent and not answered."""
        return frozenset(self._window)

    @property
    def credit(self) -> int:
        """How many more deliveries may be sent now, whatever they weigh; never negative."""
        return self._window.credit if self.state is State.OPEN else 0

    def accepts(self, size: int) -> bool:
        """True if a delivery with a body of so many bytes may be sent now."""
        return self.state is State.OPEN and self._window.accepts(size)

    def receive(self, message: ClientMessage, now: float) -> ClientMessage | None:
        """Take a message from the client.

        Returns:
            What is to be carried out: opening what a hello asks for, then `welcome`; a result to
            settle; leases to extend; a subscription to hold or to let go. None for nothing.

        Raises:
            ProtocolError: It is not allowed now; the connection must be closed with 4400.
        """
        self._liveness.heard(now)
        if self.state is State.OPEN and isinstance(message, Result):  # what comes most often
            # Otherwise a duplicate, or too late: it was settled or freed before.
            return message if self._forget(message.delivery) else None
        match self.state, message:
            case State.CLOSED, _:
                return None
            case State.CONNECTING, Hello(window=window):
                channels = {wanted.channel for wanted in message.subscriptions}
                if len(channels) < len(message.subscriptions):
                    raise ProtocolError("a hello asks for each channel once")
                self.state = State.JOINING
                self.batches, self.verdicts = message.batches, message.verdicts
                self._window = Window(min(WINDOW_DELIVERIES, window), self._window_bytes)
                return message
            case State.OPEN, Working(deliveries):
                # Each once: a frame has room for 100,000.
                return Working(tuple(dict.fromkeys(d for d in deliveries if d in self._window)))
            case State.OPEN, (Pause(subscription) | Resume(subscription)) if (
                subscription in self._subscriptions
            ):
                return message
            case _:
                name = type(message).__name__.lower()
                raise ProtocolError(f"{name} is not allowed while {self.state.name.lower()}")

    def heard(self, now: float) -> None:
        """Something that is no message arrived, such as a ping or a pong."""
        self._liveness.heard(now)

    def welcome(self, welcome: Welcome) -> list[ServerEffect]:
        """Answer the client's hello; from now on there is credit."""
        if self.state is not State.JOINING:
            return []
        self.state = State.OPEN
        self._subscriptions = frozenset(g.subscription for g in welcome.subscriptions)
        agreed = {"batches": self.batches, "verdicts": self.verdicts}
        return [msgspec.structs.replace(welcome, **agreed)]

    def deliver(self, delivery: Delivery, event: msgspec.Raw | None = None) -> Deliver:
        """Send a delivery that `accepts` said yes to, with its event if that is encoded already.

        A body that is not small goes in chunks.
        """
        size = len(delivery.body)
        if delivery.id in self._window:
            self._forget(delivery.id)  # a lease that ran out may be sent again
        self._window.take(delivery.id, size)
        whole = size <= CHUNK_BYTES
        if not whole:
            self._bodies.append((delivery.id, memoryview(delivery.body)))
        return Deliver(
            delivery=delivery.id,
            subscription=delivery.subscription,
            attempt=delivery.attempt,
            replay=delivery.replay,
            event=delivery.event if event is None else cast(EventHead, event),
            size=size,
            body=delivery.body if whole else None,
            traceparent=delivery.traceparent,
        )

    def next_chunk(self) -> Chunk | None:
        """The next part of a body to send once everything else is sent; bodies take turns."""
        if not self._bodies:
            return None
        delivery, rest = self._bodies.pop(0)
        if len(rest) > CHUNK_BYTES:
            self._bodies.append((delivery, rest[CHUNK_BYTES:]))
        return Chunk(delivery, bytes(rest[:CHUNK_BYTES]), last=len(rest) <= CHUNK_BYTES)

    def tick(self, now: float) -> list[ServerEffect]:
        """Look at the clock; call this about once a second."""
        if self.state is State.CLOSED:
            return []
        if self.state is State.CONNECTING and now - self._opened_at >= HANDSHAKE_S:
            return self.close(CloseCode.PROTOCOL_ERROR, "no hello came")
        if self._liveness.is_dead(now):
            return self.close(CloseCode.NORMAL, "nothing was heard from the client")
        return [Ping()] if self._liveness.ping_is_due(now) else []

    def go_away(self, reason: str, retry_after_s: float) -> list[ServerEffect]:
        """Tell the client to come back later, and close."""
        if self.state is State.CLOSED:
            return []
        return [Goaway(reason, retry_after_s), *self.close(CloseCode.RESTART, reason)]

    def refuse(self, close_code: CloseCode, code: str, text: str) -> list[ServerEffect]:
        """End the conversation with an error that a person can read."""
        if self.state is State.CLOSED:
            return []
        return [Error(code, text), *self.close(close_code, code)]

    def close(self, code: CloseCode, reason: str) -> list[ServerEffect]:
        """End the conversation without more words."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        self._bodies.clear()
        return [Close(code, reason)]

    def _forget(self, delivery: str) -> bool:
        size = self._window.give_back(delivery)
        if size is not None and size > CHUNK_BYTES:
            self._bodies = [b for b in self._bodies if b[0] != delivery]
        return size is not None
