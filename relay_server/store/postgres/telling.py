"""What replicas tell each other: `Change`s in notifications of PostgreSQL, which are small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec

from relay_server.store.feed import (
    Change,
    ChannelChanged,
    ChannelGone,
    EventsRemoved,
    EventsStored,
    Progressed,
    Promoted,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)

MAX_PAYLOAD_BYTES = 7_900  # of what it tells: PostgreSQL takes 8,000
CATALOGUE = (
    ChannelChanged,
    ChannelGone,
    SubscriptionChanged,
    SubscriptionGone,
    TokenMade,
    TokenRevoked,
)
# All that there are, but for what each sees by itself: which primary its own link leads to.
KINDS: dict[str, type[Change]] = {
    kind.__name__: kind for kind in get_args(Change) if kind is not Promoted
}


class Told(msgspec.Struct, array_like=True):
    """A notification.

    Attributes:
        replica: Who tells it.
        version: The catalogue's, where it changed.
        changes: Each by the name of its kind; None where they are too many to be told.
    """

    replica: str
    version: int | None
    changes: list[tuple[str, msgspec.Raw]] | None


def payloads(replica: str, changes: Sequence[Change], version: int | None) -> list[str]:
    """Notifications of changes: one, or where they do not fit one that has all looked at."""
    told = [(type(c).__name__, msgspec.Raw(msgspec.json.encode(_brief(c)))) for c in changes]
    whole = _encoded(Told(replica, version, told))
    if len(whole.encode()) <= MAX_PAYLOAD_BYTES:
        return [whole]
    if version is None and len(changes) > 1:
        middle = len(changes) // 2
        halves = changes[:middle], changes[middle:]
        return [payload for half in halves for payload in payloads(replica, half, None)]
    return [_encoded(Told(replica, version, None))]


def _brief(change: Change) -> Change:
    """A change without what others read for themselves, or do without."""
    match change:
        case EventsStored():
            return EventsStored(change.channel, change.up_to)
        case EventsRemoved():
            return EventsRemoved(change.channel, change.up_to, change.bytes)
        case Progressed(attempts=attempts) if attempts:
            # What a target said is read where it is asked for.
            return msgspec.structs.replace(change, attempts=tuple(a.shorter(0) for a in attempts))
        case _:
            return change


def _encoded(told: Told) -> str:
    return msgspec.json.encode(told).decode()
