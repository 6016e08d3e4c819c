"""Deliveries that were given up: why, which, giving up one more, and letting go of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_server.errors import InvalidValue, NothingSelected
from relay_server.operations import Caller, ForAdmins, events, page_of
from relay_server.operations.audit import audited
from relay_server.reported import DeadDelivery
from relay_server.values import Subscription

MAX_REASONS = 100  # of a subscription in one answer; behind them there may be more
GIVEN_UP = "given up"  # reasons begin so of what somebody gave up
PAGE = 500  # dead deliveries that are let go of at once


class DeadPage(msgspec.Struct):
    """Which dead deliveries are listed, by channel, subscription and sequence; None for any."""

    channel: str | None = None
    subscription: str | None = None
    reason: str | None = None
    after: int = 0  # a sequence; both names go with it
    limit: int = 50


class Discarded(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead deliveries need not be delivered: those of events, or all there are.

    Attributes:
        channel: Left out, that of the events that are named, or else every channel.
        subscription: None for every one.
        reason: With `all`: those alone that were given up for it.
    """

    channel: str | None = None
    subscription: str | None = None
    events: list[str] = []
    all: bool = False
    reason: str | None = None


class DeadView(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was given up, and its event.

    Attributes:
        reason: What failed last.
        attempts: How many there were.
    """

    id: str
    channel: str
    subscription: str
    sequence: int
    received_at: int
    kind: str
    key: str
    size: int
    reason: str
    attempts: int
    ended_at: int


class Dead(msgspec.Struct):
    """Dead deliveries, by channel, subscription and sequence."""

    dead: list[DeadView]


class DeadGroup(msgspec.Struct, frozen=True):
    """Deliveries of a subscription that were given up for one reason.

    Attributes:
        first_at, last_at: When the first and the last of them were.
    """

    channel: str
    subscription: str
    reason: str
    count: int
    first_at: int
    last_at: int


class DeadGroups(msgspec.Struct):
    """What is dead by subscription and reason, the largest group first.

    Attributes:
        more: Channels and subscriptions that have more reasons, behind those that are listed.
    """

    groups: list[DeadGroup]
    more: list[tuple[str, str]]


class GivenUp(msgspec.Struct, forbid_unknown_fields=True):
    """Which delivery of a subscription is to be tried no more: that of an event, by its id."""

    event: str


class Discarding(msgspec.Struct):
    """How many deliveries were let go."""

    discarded: int


async def list_dead(who: Caller, page: DeadPage) -> Dead:
    """Dead deliveries, by channel, subscription and sequence."""
    if page.after and None in (page.channel, page.subscription):
        raise InvalidValue("`after` goes with a channel and a subscription")
    found, most = list[DeadView](), page_of(page.limit)
    for subscription in await _subscriptions(who, page.channel, page.subscription):
        room = most - len(found)
        if room <= 0:
            break
        dead = await who.store.dead(subscription.number, page.after, room, page.reason)
        found += [dead_view(subscription, delivery) for delivery in dead]
    return Dead(found)


async def group_dead(who: Caller, which: DeadPage, first: int = 0) -> DeadGroups:
    """Why deliveries are dead, and how many for each reason, or for one.

    Of each subscription the first so many reasons are left out, those with most.
    """
    found, more = list[DeadGroup](), list[tuple[str, str]]()
    for subscription in await _subscriptions(who, which.channel, which.subscription):
        of = subscription.channel, subscription.name
        bounds = MAX_REASONS + 1, first, which.reason
        reasons = await who.store.dead_reasons(subscription.number, *bounds)
        found += [DeadGroup(*of, *msgspec.structs.astuple(one)) for one in reasons[:MAX_REASONS]]
        more += [of] if len(reasons) > MAX_REASONS else []
    found.sort(key=lambda group: -group.count)
    return DeadGroups(found, more)


async def dead_among(who: Caller, channel: str, name: str, ids: Sequence[str]) -> int:
    """How many of some events are dead for a subscription."""
    of = await who.subscription(channel, name)
    number = who.channel(channel).number
    found = await who.store.deliveries(number, await who.store.sequences_of(number, ids))
    own = (one for states in found for one in states if one.subscription == of.name)
    return sum(one.state == "dead" and not one.replay for one in own)


@ForAdmins
@audited("dead.discard")
async def discard_dead(who: Caller, which: Discarded) -> Discarding:
    """Let dead deliveries go, and say how many: their events may be deleted then."""
    if bool(which.events) == which.all:
        raise InvalidValue("say which events are meant, or `all`")
    if which.reason is not None and not which.all:
        raise InvalidValue("`reason` goes with `all`")
    channel, sequences = which.channel, tuple[int, ...]()
    if which.events:
        of, sequences = await events.find_events(who, channel, which.events)
        channel = of.name
    discarded = 0
    for subscription in await _subscriptions(who, channel, which.subscription):
        discarded += await _discard(who, subscription, sequences, which.reason)
    if not discarded:
        raise NothingSelected("none of these deliveries is dead")
    return Discarding(discarded)


@audited("delivery.give_up")
async def give_up_delivery(
    who: Caller, channel: str, name: str, which: GivenUp
) -> events.DeliveryLine:
    """Let a delivery of a subscription of one's own die that fails and is tried again.

    Its conversation goes on at once; it is listed as dead, and can be replayed. An attempt that is
    under way is not called back: the conversation goes on when that ends, and if the target takes
    the event after all, it is delivered.
    """
    found = await who.subscription(channel, name)
    who.check_owner(found)
    of, event = await events.look_up(who, which.event)
    if event.edited:
        raise InvalidValue(f"{event.head.id} is edited: stop the replay that brings it")
    if of.name != found.channel:
        raise InvalidValue(f"{event.head.id} is of {of.name}, not of {found.channel}")
    sequence = event.head.sequence
    reason = f"given up by {who.name}" if who.name else "given up on the server's host"
    # An attempt that has just begun is not recorded yet.
    who.parts.hub.note_under_way(found.number, sequence)
    given_up = await who.store.give_up(found.number, [sequence], reason, who.now())
    [states] = await who.store.deliveries(of.number, [sequence])
    own = [one for one in states if one.subscription == name and not one.replay]
    if not given_up:
        state = own[0].state if own else "not there"
        raise NothingSelected(
            f"it is {state} for {name}: what fails and is tried again can be given up"
        )
    return events.delivery_line(own[0])


def can_be_given_up(delivery: events.DeliveryLine) -> bool:
    """Whether that has an effect on a delivery."""
    is_tried = delivery.state == "under_way" or (delivery.state == "waiting" and delivery.attempt)
    return bool(is_tried) and delivery.replay is None


def dead_view(subscription: Subscription, delivery: DeadDelivery) -> DeadView:
    event = delivery.event
    return DeadView(
        id=event.id,
        channel=subscription.channel,
        subscription=subscription.name,
        sequence=event.sequence,
        received_at=event.received_at,
        kind=event.kind,
        key=event.key,
        size=event.size,
        reason=delivery.reason,
        attempts=delivery.attempts,
        ended_at=delivery.ended_at,
    )


async def _discard(
    who: Caller, subscription: Subscription, sequences: Sequence[int], reason: str | None
) -> int:
    """Those of the sequences that are dead, or all that are, for any reason or one."""
    now, discarded = who.now(), 0
    if sequences:
        return await who.store.discard(subscription.number, sequences, now)
    while page := await who.store.dead(subscription.number, 0, PAGE, reason):
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
