"""Events found by their ids."""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.errors import EventNotFound, InvalidValue
from relay_server.operations import Parts
from relay_server.operations.callers import Caller, readable_channel
from relay_server.values import Channel, Event

MAX_NAMED_EVENTS = 1_000  # by id in one request for a replay


async def find(parts: Parts, who: Caller, id_: str) -> tuple[Channel, Event]:
    """An event that the caller may read, and its channel.

    Raises:
        EventNotFound: There is none; also when it is not for the caller.
    """
    event = await parts.store.find_event(id_)
    channels = parts.store.catalog.channels.values()
    channel = next((c for c in channels if event and c.number == event.channel), None)
    if event is None or channel is None or not who.may_read(channel):
        raise EventNotFound(id_)
    return channel, event


async def find_all(
    parts: Parts, who: Caller, name: str | None, ids: Sequence[str]
) -> tuple[Channel, tuple[int, ...]]:
    """The channel that is meant, and the sequences of the events that are named.

    Args:
        parts: The server's.
        who: May read them.
        name: The channel's; None for that of the events, or else the default channel.
        ids: The events'.

    Raises:
        ChannelNotFound: There is none of this name that the caller may read.
        EventNotFound: There is no such event, or it is not for the caller.
        InvalidValue: They are of several channels, or too many.
    """
    if len(ids) > MAX_NAMED_EVENTS:
        raise InvalidValue(f"at most {MAX_NAMED_EVENTS} events can be named at once")
    found = [await find(parts, who, id_) for id_ in ids]
    if name is None:
        name = found[0][0].name if found else parts.settings.default_channel
    channel = readable_channel(parts, who, name)
    for of, event in found:
        if of.number != channel.number:
            raise InvalidValue(f"{event.head.id} is of {of.name}, not of {channel.name}")
    return channel, tuple(sorted({event.head.sequence for _, event in found}))
