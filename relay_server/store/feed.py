"""What a store tells of its changes, and to whom.

Whatever lives off the store (the hub, forwards, caches, rate limits, and later a live view, a
search index and other replicas) listens here. Nobody who changes something tells anybody by hand.

What is promised:

- **Order.** A change is told after its commit, in the event loop, and changes of one store are told
  in the order of their commits. `Cache` listens first, but for who asks to be before it: whoever
  is told of a change sees it in `store.catalog`. A caller's own change is told before its call
  returns.
- **Level, not edge.** A change says "look again", and gives what is there now. It may be told
  twice, several may be told as one, and of several replicas' commits the order holds only within
  one channel, one subscription or one token. So listeners are idempotent.
- **Loss.** Within one process none. What another replica's notification lost, its store tells anew
  once it has looked; and each commit of progress checks its claim, and tells `Claimed` of the newer
  one: a reader that lost its claim learns it when that is written, at the latest.
- **A late listener** hears of nothing that was before: it listens first, then reads.
- **Cost.** Listeners are called one after the other, must not wait, and must not raise; one that
  does is logged and costs nobody else the change. A kind that nobody wants costs a dict lookup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
import structlog

from relay_server.spans import Span
from relay_server.values import (
    Attempt,
    Channel,
    ChannelNumber,
    Event,
    Mark,
    ReaderNumber,
    Subscription,
    SubscriptionNumber,
    Token,
)

log = structlog.get_logger()


class EventsStored(msgspec.Struct, frozen=True):
    """A channel has events up to a sequence.

    Attributes:
        events: Those that came, the last ones up to `up_to` without gaps, handed along so that a
            live reader costs no second read; empty where another replica stored them.
        weights: What each takes, in bytes of body and head.
    """

    channel: ChannelNumber
    up_to: int
    events: tuple[Event, ...] = ()
    weights: tuple[int, ...] = ()


class EventsRemoved(msgspec.Struct, frozen=True):
    """Events of a channel were deleted, up to a sequence some or all of them.

    Attributes:
        bytes: What they took.
        sequences: Which; empty where another replica deleted them.
    """

    channel: ChannelNumber
    up_to: int
    bytes: int
    sequences: tuple[int, ...] = ()


class BodiesDropped(msgspec.Struct, frozen=True):
    """Events of a channel have no body any more.

    Attributes:
        up_to: The last of them.
        bytes: What these took.
    """

    channel: ChannelNumber
    up_to: int
    bytes: int


class ChannelChanged(msgspec.Struct, frozen=True):
    """A channel was made, or is configured anew."""

    channel: Channel


class ChannelGone(msgspec.Struct, frozen=True):
    """A channel was deleted, with its events and subscriptions."""

    channel: Channel


class SubscriptionChanged(msgspec.Struct, frozen=True):
    """A subscription was made, or is configured anew."""

    subscription: Subscription


class SubscriptionGone(msgspec.Struct, frozen=True):
    """A subscription was deleted, with its progress and replays."""

    subscription: SubscriptionNumber


class Skipped(msgspec.Struct, frozen=True):
    """Somebody settled what waited for a subscription up to a sequence."""

    subscription: SubscriptionNumber
    up_to: int


class GivenUp(msgspec.Struct, frozen=True):
    """Somebody let deliveries of a subscription die that were tried again and again.

    Attributes:
        reason: Who did.
    """

    subscription: SubscriptionNumber
    sequences: tuple[int, ...]
    reason: str


class TokenMade(msgspec.Struct, frozen=True):
    """There is a new token."""

    token: Token


class TokenRevoked(msgspec.Struct, frozen=True):
    """A token is not good any more."""

    name: str


class SessionEnded(msgspec.Struct, frozen=True):
    """Somebody logged out of the dashboard, or was logged out."""

    digest: bytes


class PinsChanged(msgspec.Struct, frozen=True):
    """An event of a channel was pinned, or is not any more."""

    channel: ChannelNumber


class ReplaysChanged(msgspec.Struct, frozen=True):
    """A replay of a subscription was begun, or has ended."""

    subscription: SubscriptionNumber


class Claimed(msgspec.Struct, frozen=True):
    """A reader's progress is recorded under an epoch now; older claims of it are void.

    Attributes:
        shared: Whoever has it shares it with others, who are handed on to its server.
    """

    reader: ReaderNumber
    epoch: int
    shared: bool = False


class Promoted(msgspec.Struct, frozen=True):
    """Another database took over: what was read and claimed in the one before may not be there."""


class Progressed(msgspec.Struct, frozen=True):
    """How far a reader's deliveries are was written.

    Attributes:
        floor: Every delivery up to this sequence is settled.
        marks: What changed above it, and what died.
        attempts: Tries that ended.
        skipped: What its filter left out.
    """

    reader: ReaderNumber
    epoch: int
    floor: int
    marks: tuple[Mark, ...]
    attempts: tuple[Attempt, ...]
    skipped: tuple[Span, ...] = ()


Change: TypeAlias = (
    EventsStored
    | EventsRemoved
    | BodiesDropped
    | ChannelChanged
    | ChannelGone
    | SubscriptionChanged
    | SubscriptionGone
    | Skipped
    | GivenUp
    | TokenMade
    | TokenRevoked
    | SessionEnded
    | PinsChanged
    | ReplaysChanged
    | Claimed
    | Promoted
    | Progressed
)
ChangeT = TypeVar("ChangeT", bound=Change)


class Feed:
    """The listeners of one store, by the kind of change that each wants."""

    def __init__(self) -> None:
        # As tuples, made anew with each who comes or goes: nothing is copied to tell a change.
        self._listeners: defaultdict[type, tuple[Callable[[Any], None], ...]] = defaultdict(tuple)

    def listen(
        self, kind: type[ChangeT], listener: Callable[[ChangeT], None], *, first: bool = False
    ) -> Callable[[], None]:
        """Have every change of a kind told to a listener, from now on.

        Args:
            kind: Of changes.
            listener: Called with each.
            first: Before all who listen already, and before the cache knows of it.

        Returns:
            A function that ends it.
        """
        listeners = self._listeners[kind]
        self._listeners[kind] = (listener, *listeners) if first else (*listeners, listener)
        return lambda: self._end(kind, listener)

    def wants(self, kind: type[Change]) -> bool:
        """Whether anybody listens to a kind; from any thread. If not, it need not be made."""
        return bool(self._listeners.get(kind))

    def tell(self, change: Change) -> None:
        """Tell a change that was committed; the store calls this, in the event loop."""
        for listener in self._listeners.get(type(change), ()):
            try:
                listener(change)
            except Exception as exc:
                log.error("a listener failed", change=type(change).__name__, exc_info=exc)

    def _end(self, kind: type[ChangeT], listener: Callable[[ChangeT], None]) -> None:
        listeners = list(self._listeners[kind])
        listeners.remove(listener)
        self._listeners[kind] = tuple(listeners)
