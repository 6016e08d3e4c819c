"""What the feed says. `docs/reference/feed.md` tells of each message, by its name.

A message is a server-sent event: its name, its JSON in one line, and where it moves the reader on,
the position as its id. A reader that was cut off in the middle of one has not seen it.
"""

from __future__ import annotations

import msgspec

from relay_server.operations.channels import ChannelView
from relay_server.operations.events import DeliveryLine, EventRow
from relay_server.operations.refused import RefusedGroup
from relay_server.operations.subscriptions import Reading


class Delivery(DeliveryLine, frozen=True, kw_only=True):
    """How far a delivery is now.

    Attributes:
        event: Id of its event.
        edited: That is one of the channel's edited events, which count by themselves.
    """

    event: str
    channel: str
    sequence: int
    edited: bool = False


class SubscriptionChange(msgspec.Struct, frozen=True):
    """A subscription is read by others than before, was set anew or deleted.

    Attributes:
        reading: Who reads it; what waits for it is another question. None once it is gone.
    """

    channel: str
    name: str
    reading: Reading | None


class ChannelChange(msgspec.Struct, frozen=True):
    """A channel was made, set anew or deleted.

    Attributes:
        settings: As the API answers the channel; None once it is gone.
    """

    name: str
    settings: ChannelView | None


class Gap(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Events that are left out: there were too many. `GET /api/v1/events` has them.

    Attributes:
        from_: Sequence of the first of them.
        to: Of the last. Below `from` where the channel is not the one that the reader knew, and
            begins anew.
        before: What to ask the list of events with.
    """

    channel: str
    from_: int
    to: int
    before: int


class Beat(msgspec.Struct, frozen=True):
    """The feed is alive.

    Attributes:
        now: The server's time, in Unix milliseconds.
        index_lag_ms: How old the oldest event is that search does not find yet; None without one.
        version: Another one whenever what lists say of the channels may be another; None where it
            was not asked for.
    """

    now: int
    index_lag_ms: int | None = None
    version: str | None = None


class Bye(msgspec.Struct, frozen=True):
    """The feed ends here.

    Attributes:
        why: `revoked`, `stopping`, `too slow`, `too many channels` or `error`.
        retry_ms: When to come back; None for not with this token.
    """

    why: str
    retry_ms: int | None = None


MESSAGES: dict[str, type[msgspec.Struct]] = {
    "event": EventRow,
    "delivery": Delivery,
    "subscription": SubscriptionChange,
    "channel": ChannelChange,
    "refused": RefusedGroup,
    "gap": Gap,
    "beat": Beat,
    "bye": Bye,
}
_NAMES = {carried: name for name, carried in MESSAGES.items()}


def frame(carried: msgspec.Struct, position: str = "") -> bytes:
    """A message's bytes; with a position where that moves the reader on."""
    name = _NAMES[type(carried)]
    return framed(name, msgspec.json.encode(carried), position)


def framed(name: str, data: bytes, position: str = "") -> bytes:
    """The same of JSON that was encoded before."""
    head = f"id: {position}\n" if position else ""
    return b"%bevent: %b\ndata: %b\n\n" % (head.encode(), name.encode(), data)


def farewell(bye: Bye) -> bytes:
    """The last message, which also tells an `EventSource` when to come back."""
    retry = b"" if bye.retry_ms is None else b"retry: %d\n" % bye.retry_ms
    return retry + frame(bye)
