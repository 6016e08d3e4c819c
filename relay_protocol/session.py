"""What both halves of a conversation share: the credit window, the heartbeat, and bounds.

The *window* of a connection is how much may be under way to it at once. Three bounds hold together:

- so many deliveries,
- so many bytes of their bodies,
- and beside these *one* body that alone is larger than all those bytes: otherwise a webhook of
  25 MiB could never go, and with more than one of them the window would bound nothing.

Credit is what is left of it. Whoever sends asks `accepts` first, `take`s when it sends and
`give_back`s when the result comes. Whoever receives counts the same way, and so knows a peer that
sends more than it may: `refusal` says of which bound. Both ends and the server's own posts count
with one class, so that they can never disagree.

The checks say what each end takes from the other, beside what the types of the messages bound: a
hostile relay must not fill the laptop's memory, nor a hostile client the server's or its store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from relay_protocol.errors import ProtocolError
from relay_protocol.limits import HEARTBEAT_S, MAX_HEAD_BYTES, MISSED_HEARTBEATS, WINDOW_BYTES
from relay_protocol.messages import CloseCode, Deliver, Hello, Welcome


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a WebSocket ping."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is queued, then close the connection."""

    code: CloseCode
    reason: str


class Window:
    """Counts deliveries under way and their bytes. Every method takes constant time.

    Args:
        deliveries: How many may be under way.
        size: Bytes that their bodies may have together.
    """

    def __init__(self, deliveries: int, size: int = WINDOW_BYTES) -> None:
        self._deliveries = deliveries
        self._size = size
        self._under_way: dict[str, int] = {}  # delivery id → bytes of its body
        self._bytes = 0  # of bodies that fit
        self._large: str | None = None  # the delivery whose body does not

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[str]:
        return iter(self._under_way)

    def __contains__(self, delivery: str) -> bool:
        return delivery in self._under_way

    @property
    def credit(self) -> int:
        """How many more deliveries may be sent now, whatever they weigh; never negative."""
        return self._deliveries - len(self._under_way)

    def accepts(self, size: int) -> bool:
        """True if a body of so many bytes may be sent now."""
        # Asked for each delivery, of each sink: the ordinary answer without a text.
        if len(self._under_way) >= self._deliveries:
            return False
        return self._bytes + size <= self._size or not self.refusal(size)

    def refusal(self, size: int) -> str:
        """The bound that one more body of so many bytes would break; empty for none."""
        if len(self._under_way) >= self._deliveries:
            return "more deliveries than the window allows"
        if size > self._size:
            return "a second body that is larger than the window" if self._large else ""
        return "more bytes than the window allows" if self._bytes + size > self._size else ""

    def take(self, delivery: str, size: int) -> None:
        """Count one that is sent; `accepts` said yes to it, and its id is not under way."""
        assert delivery not in self._under_way, "counted twice"
        weigh = self._bytes + size
        if weigh <= self._size and len(self._under_way) < self._deliveries:
            self._bytes = weigh
        else:
            assert self.accepts(size), self.refusal(size)
            self._large = delivery  # which alone goes beside all that fits
        self._under_way[delivery] = size

    def give_back(self, delivery: str) -> int | None:
        """Count one that ended: the bytes of its body, or None if it was not under way."""
        size = self._under_way.pop(delivery, None)
        if size is None:
            return None
        if delivery == self._large:
            self._large = None
        else:
            self._bytes -= size
        return size

    def clear(self) -> None:
        """Count nothing any more: the connection is gone."""
        self._under_way.clear()
        self._bytes, self._large = 0, None


class Liveness:
    """One end's view of whether the other is still there.

    Anything heard counts, not only answers to pings: on a slow link a pong waits behind data, and
    data is proof enough.

    Attributes:
        heard_at: When something arrived last; monotonic seconds.
    """

    def __init__(self, now: float, interval: float = HEARTBEAT_S) -> None:
        self._interval = interval
        self._grace = interval / 3  # for the answer to the last ping to come
        self.heard_at = now
        self._pinged_at = now

    def heard(self, now: float) -> None:
        """Something arrived from the other end."""
        self.heard_at = now

    def is_dead(self, now: float) -> bool:
        """True once nothing was heard for so long that nobody can be there."""
        return now - self.heard_at >= self._interval * MISSED_HEARTBEATS + self._grace

    def ping_is_due(self, now: float) -> bool:
        """True if a ping is to be sent; it counts as sent."""
        if now - self._pinged_at < self._interval:
            return False
        self._pinged_at = now
        return True


def check_welcome(welcome: Welcome, hello: Hello) -> None:
    """See that a welcome grants what was asked for, each channel once.

    Raises:
        ProtocolError: It grants something else.
    """
    granted = welcome.subscriptions
    if sorted(g.channel for g in granted) != sorted(w.channel for w in hello.subscriptions):
        raise ProtocolError("the welcome names other channels than the hello")
    if len({g.subscription for g in granted}) < len(granted):
        raise ProtocolError("the welcome gives two subscriptions one number")


def check_deliver(message: Deliver) -> None:
    """See that a delivery is of a size that the server can have stored.

    Raises:
        ProtocolError: Its head is larger, or its body is not of the size it says.
    """
    headers = message.event.request.headers
    # Without a step for each field: this is done for every delivery.
    if sum(map(len, chain.from_iterable(headers))) > MAX_HEAD_BYTES:
        raise ProtocolError(f"a head is larger than {MAX_HEAD_BYTES} bytes")
    if message.body is not None and len(message.body) != message.size:
        raise ProtocolError("a body is not of the size announced")
