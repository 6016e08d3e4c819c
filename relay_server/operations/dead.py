"""Dead deliveries listed, and let go of. Replaying them is a replay."""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.errors import InvalidValue, NothingSelected
from relay_server.operations import Parts, events, subscriptions
from relay_server.operations.callers import Caller, readable_channel, visible_channels
from relay_server.values import DeadDelivery, Subscription

PAGE = 500  # dead deliveries that are let go of at once


async def listed(
    parts: Parts, who: Caller, channel: str | None, name: str | None, after: int, limit: int
) -> list[tuple[Subscription, DeadDelivery]]:
    """Dead deliveries by channel, subscription and sequence.

    Args:
        parts: The server's.
        who: May read their channels.
        channel: Of this one alone; None for every one.
        name: For the subscriptions of this name alone; None for every one.
        after: Those behind a sequence; both names go with it.
        limit: How many.
    """
    if after and None in (channel, name):
        raise InvalidValue("`after` goes with a channel and a subscription")
    found = list[tuple[Subscription, DeadDelivery]]()
    for subscription in await _subscriptions(parts, who, channel, name):
        room = limit - len(found)
        dead = await parts.store.dead(subscription.number, after, room) if room > 0 else ()
        found += [(subscription, delivery) for delivery in dead]
    return found


async def discard(
    parts: Parts,
    who: Caller,
    channel: str | None,
    name: str | None,
    ids: Sequence[str],
    *,
    everything: bool,
) -> int:
    """Say that the dead deliveries of these events, or all there are, need not be delivered.

    Returns:
        How many were dead.

    Raises:
        NothingSelected: None was.
    """
    if bool(ids) == everything:
        raise InvalidValue("say which events are meant, or `all`")
    sequences: tuple[int, ...] = ()
    if ids:
        of, sequences = await events.find_all(parts, who, channel, ids)
        channel = of.name
    discarded = 0
    for subscription in await _subscriptions(parts, who, channel, name):
        discarded += await _discard(parts, subscription, sequences)
    if not discarded:
        raise NothingSelected("none of these deliveries is dead")
    return discarded


async def _discard(parts: Parts, subscription: Subscription, sequences: Sequence[int]) -> int:
    """Those of the sequences that are dead, or all that are."""
    now, discarded = parts.clock.unix_ms(), 0
    if sequences:
        return await parts.store.discard(subscription.number, sequences, now)
    while page := await parts.store.dead(subscription.number, 0, PAGE):
        found = [delivery.event.sequence for delivery in page]
        count = await parts.store.discard(subscription.number, found, now)
        discarded += count
        if not count:
            break  # somebody else is at it
    return discarded


async def _subscriptions(
    parts: Parts, who: Caller, channel: str | None, name: str | None
) -> list[Subscription]:
    """Those that are meant, by channel and name; a name that is nowhere is an error."""
    if channel is not None:
        readable_channel(parts, who, channel)
        if name is not None:
            return [await subscriptions.find(parts, channel, name)]
    visible = {c.name for c in visible_channels(parts, who)} | {channel}
    known = await parts.store.subscriptions(channel)
    return [s for s in known if s.channel in visible and name in (None, s.name)]
