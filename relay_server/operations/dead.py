"""Dead deliveries listed, and let go of. Replaying them is a replay."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_server.errors import InvalidValue, NothingSelected
from relay_server.operations import MAX_LISTED, Caller, ForAdmins, JsonObject, events
from relay_server.values import DeadDelivery, Subscription

PAGE = 500  # dead deliveries that are let go of at once


class Page(msgspec.Struct):
    """Which dead deliveries are listed, by channel, subscription and sequence; None for any."""

    channel: str | None = None
    subscription: str | None = None
    after: int = 0  # a sequence; both names go with it
    limit: int = 50


class Discarded(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead deliveries need not be delivered: those of events, or all there are.

    Attributes:
        channel: Left out, that of the events that are named, or else every channel.
        subscription: None for every one.
    """

    channel: str | None = None
    subscription: str | None = None
    events: list[str] = []
    all: bool = False


async def listed(who: Caller, page: Page) -> JsonObject:
    """Dead deliveries, by channel, subscription and sequence."""
    if page.after and None in (page.channel, page.subscription):
        raise InvalidValue("`after` goes with a channel and a subscription")
    found, most = list[JsonObject](), min(page.limit, MAX_LISTED)
    for subscription in await _subscriptions(who, page.channel, page.subscription):
        room = most - len(found)
        dead = await who.store.dead(subscription.number, page.after, room) if room > 0 else ()
        found += [view(subscription, delivery) for delivery in dead]
    return {"dead": found}


@ForAdmins
async def discard(who: Caller, which: Discarded) -> JsonObject:
    """Say that dead deliveries need not be delivered, and how many these are: their events may go.

    Raises:
        NothingSelected: None was dead.
    """
    if bool(which.events) == which.all:
        raise InvalidValue("say which events are meant, or `all`")
    channel, sequences = which.channel, tuple[int, ...]()
    if which.events:
        of, sequences = await events.find_all(who, channel, which.events)
        channel = of.name
    discarded = 0
    for subscription in await _subscriptions(who, channel, which.subscription):
        discarded += await _discard(who, subscription, sequences)
    if not discarded:
        raise NothingSelected("none of these deliveries is dead")
    return {"discarded": discarded}


def view(subscription: Subscription, delivery: DeadDelivery) -> JsonObject:
    """A delivery that was given up."""
    event = delivery.event
    return {
        "id": event.id,
        "channel": subscription.channel,
        "subscription": subscription.name,
        "sequence": event.sequence,
        "received_at": event.received_at,
        "kind": event.kind,
        "key": event.key,
        "size": event.size,
        "reason": delivery.reason,
        "attempts": delivery.attempts,
        "ended_at": delivery.ended_at,
    }


async def _discard(who: Caller, subscription: Subscription, sequences: Sequence[int]) -> int:
    """Those of the sequences that are dead, or all that are."""
    now, discarded = who.now(), 0
    if sequences:
        return await who.store.discard(subscription.number, sequences, now)
    while page := await who.store.dead(subscription.number, 0, PAGE):
        found = [delivery.event.sequence for delivery in page]
        count = await who.store.discard(subscription.number, found, now)
        discarded += count
        if not count:
            break  # somebody else is at it
    return discarded


async def _subscriptions(who: Caller, channel: str | None, name: str | None) -> list[Subscription]:
    """Those that are meant, by channel and name; a name that is nowhere is an error."""
    if channel is not None and name is not None:
        return [await who.subscription(channel, name)]
    if channel is not None:
        who.channel(channel)
    visible = {c.name for c in who.channels()} | {channel}
    known = await who.store.subscriptions(channel)
    return [s for s in known if s.channel in visible and name in (None, s.name)]
