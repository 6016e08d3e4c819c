"""Subscriptions: how each is doing, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from relay_server.bodies.tree import MASK
from relay_server.configs import (
    Away,
    Policy,
    PolicyChanges,
    SenderKind,
    SubscriptionConfig,
)
from relay_server.delivery.resigning import signer_of
from relay_server.delivery.upkeep import DAY_MS
from relay_server.errors import (
    InvalidValue,
    SubscriptionConnected,
    SubscriptionNotFound,
)
from relay_server.filters.language import check_standing
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.reported import RetryReason, SubscriptionStatus
from relay_server.settables import Changes, changes_of, check
from relay_server.values import MAX_SEQUENCE, Subscription

BY_HAND = "paused by hand"
MAX_REASONS = 3  # why deliveries of a subscription failed, that are said of what is tried again
AWAY_FIELDS = ("away", "away_after_s", "away_note", "away_say", "away_team", "away_user")
# Without a reader for longer, a subscription is probably forgotten, and still holds its events.
AWAY_DAYS = 7

# What it does otherwise than its channel; a null is as there: one setting, or the whole policy.
OwnPolicy = changes_of("OwnPolicy", Policy, optional=True)
SubscriptionFields = changes_of("SubscriptionFields", SubscriptionConfig, policy=OwnPolicy | None)
View = TypeVar("View")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads a subscription, and whether it goes on.

    Attributes:
        readers: How many connections read it.
        hosts: The machines that these come from, as they call themselves.
        waits_for: The target that is not there, if one is known.
        paused: Why; empty while it is not.
        forward: Where the server itself posts to; null if a client reads it.
        filter: Which events it gets; empty for every one.
    """

    channel: str
    name: str
    connected: bool
    readers: int
    hosts: list[str]
    target_down: bool
    waits_for: str
    paused: str
    forward: str | None
    filter: str


class SubscriptionView(Reading, frozen=True, kw_only=True):
    """How a subscription is doing.

    Attributes:
        paused_at: Since when; null while it is not paused, and where that was not noted.
        paused_by: The token of who paused it by hand; empty for somebody on the host.
        policy: What holds: its own, and for the rest its channel's.
        backlog: How many events wait.
        dead: How many deliveries were given up and are listed.
        retrying: How many events wait for their next attempt, the first until `next_attempt_at`.
        away_since: When its last reader left; null while it is read, and where it never was.
        away_long: That was more than `AWAY_DAYS` ago.
        away: What becomes of what waits while nobody answers, after `away_after_s`.
        away_note: What people find then; empty for the usual note.
        away_say: What the customer reads then; empty for nothing.
        away_team, away_user: Whom conversations are given to then, by number; 0 for nobody.
        handed_over: How many conversations people were given.
        hand_off_trouble: Why none can be now; empty while that is not known.
        told_twice: Ids of two events that told it one message lately; empty without any.
        own: The caller may skip what waits for it, and delete it.
        mine: It is the caller's own: an administrator may do that with all.
        temporary: It goes soon after its last reader.
        resign: Each attempt is signed anew.
    """

    paused_at: int | None
    paused_by: str
    policy: Policy
    backlog: int
    oldest_waiting_at: int | None
    dead: int
    retrying: int
    next_attempt_at: int | None
    away_since: int | None
    away_long: bool
    own: bool
    mine: bool
    temporary: bool
    resign: bool
    away: Away
    away_after_s: float
    away_note: str
    away_say: str
    away_team: int
    away_user: int
    handed_over: int
    hand_off_trouble: str
    told_twice: list[str]


class SubscriptionDetail(SubscriptionView, frozen=True, kw_only=True):
    """The same, what of its policy is its own, and with what its deliveries are signed.

    Attributes:
        once: Of events which tell one message, only the first is delivered.
        pause_loops: It is paused once its bot answers its own messages.
        resign_secret: `•••` where that is done with a secret of its own, else empty.
    """

    own_policy: PolicyChanges
    created_at: int
    once: bool
    pause_loops: bool
    resign_secret: str


class Until(msgspec.Struct, forbid_unknown_fields=True):
    """How far what waits is skipped: up to a sequence; null for all that waits now."""

    up_to: int | None = None


class Skipping(msgspec.Struct):
    """How many events were skipped."""

    skipped: int


async def show_subscription(who: Caller, channel: str, name: str) -> SubscriptionDetail:
    """One subscription: how it is doing, and how it delivers."""
    return await shown(who, await who.subscription(channel, name), whole_view)


async def dead_of(who: Caller) -> int:
    """How many deliveries were given up, and are listed, in what the caller may read."""
    names = {channel.name for channel in who.channels()}
    found = await who.store.subscription_status()
    return sum(status.dead for status in found if status.subscription.channel in names)


async def subscriptions_of(who: Caller, channel: str) -> list[SubscriptionView]:
    """Those of one channel, and how they are doing; the caller's own first."""
    numbers = [one.number for one in await who.store.subscriptions(who.channel(channel).name)]
    found = [subscription_view(who, s) for s in await who.store.subscription_status(numbers)]
    return mine_first(who, found)


async def retry_reasons(who: Caller, of: SubscriptionView) -> Sequence[RetryReason]:
    """Why deliveries of one failed that are tried again; why most did first."""
    found = await who.subscription(of.channel, of.name)
    return await who.store.retry_reasons(found.number, MAX_REASONS)


def mine_first(who: Caller, found: Iterable[SubscriptionView]) -> list[SubscriptionView]:
    """That of the caller's name, their others, and those of others; each by channel and name."""
    return sorted(
        found,
        key=lambda one: (not one.mine or one.name != who.name, not one.mine, one.channel, one.name),
    )


@ForAdmins
@audited("subscription.change")
async def change_subscription(
    who: Caller, channel: str, name: str, fields: Changes
) -> SubscriptionDetail:
    """Have it deliver otherwise than its channel; that holds at once."""
    found, rules = await who.subscription(channel, name), fields.given()
    policy = rules.get("policy", {})
    check(Policy, policy or {})
    if "filter" in rules:
        found = await set_filter(who, found, check_standing(rules["filter"], who.now()))
    if delivering := take_delivering(who, channel, found.config, rules):
        found = await change(who, found, **delivering)
    if "policy" in rules:
        found = await who.store.change_subscription(found.number, _with_policy(policy))
    return await shown(who, found, whole_view)


def _with_policy(
    changes: Mapping[str, Any] | None,
) -> Callable[[SubscriptionConfig], SubscriptionConfig]:
    """Changes what of the policy is its own; None drops all that is."""

    def apply(config: SubscriptionConfig) -> SubscriptionConfig:
        own = PolicyChanges()
        if changes is not None:
            own = msgspec.structs.replace(config.policy, **changes)
        return msgspec.structs.replace(config, policy=own)

    return apply


@ForAdmins
@audited("subscription.pause")
async def pause_subscription(who: Caller, channel: str, name: str) -> SubscriptionDetail:
    """Deliver nothing until somebody resumes it."""
    found = await set_paused(who, await who.subscription(channel, name), paused=True)
    return await shown(who, found, whole_view)


@audited("subscription.resume")
async def resume_subscription(who: Caller, channel: str, name: str) -> SubscriptionDetail:
    """Go on where it stopped; also for those who may connect under its name."""
    found = await who.subscription(channel, name)
    who.check_reader(found)
    return await shown(who, await set_paused(who, found, paused=False), whole_view)


@audited("subscription.skip")
async def skip_waiting(who: Caller, channel: str, name: str, until: Until) -> Skipping:
    """Settle what waits for a subscription of one's own, as skipped; a replay brings it again."""
    found = await who.subscription(channel, name)
    who.check_owner(found)
    newest = who.store.newest(who.channel(channel).number)
    up_to = newest if until.up_to is None else until.up_to
    if not 0 <= up_to <= MAX_SEQUENCE:
        raise InvalidValue(f"{up_to} is no sequence")
    return Skipping(await who.store.skip(found.number, up_to))


@audited("subscription.delete")
async def delete_subscription(who: Caller, channel: str, name: str) -> None:
    """Forget a subscription of one's own that nobody reads: nothing is kept for it any more."""
    found = await who.subscription(channel, name)
    who.check_owner(found)
    if found.config.forward is not None:
        raise InvalidValue(f"{name!r} is a forward: relay-server forward delete ends it")
    if who.parts.hub.readers.state(found.number).readers:
        raise SubscriptionConnected(name)
    await who.store.unsubscribe(found.number)


def take_delivering(
    who: Caller, channel: str, config: SubscriptionConfig, rules: dict[str, Any]
) -> dict[str, Any]:
    """Take what is set of how deliveries go, and which, out of what is set.

    Raises:
        InvalidValue: It cannot be so.
    """
    set_ = _signing(who, channel, config, rules) | _away(rules)
    if "pause_loops" in rules:
        set_["pause_loops"] = rules.pop("pause_loops")
    once = rules.pop("once", None)
    if once and who.channel(channel).config.sender is not SenderKind.CHATWOOT:
        raise InvalidValue(f"messages are told apart where Chatwoot posts: not to {channel!r}")
    if once is not None:
        set_["once"] = once
    if once:
        set_["filtered"] = True  # and stays so: what was left out is to stay left out
    return set_


def _signing(
    who: Caller, channel: str, config: SubscriptionConfig, rules: dict[str, Any]
) -> dict[str, Any]:
    """Take what is set of signing anew out of what is set, its secret sealed.

    Raises:
        InvalidValue: It cannot be signed so.
    """
    names = "resign", "resign_secret"
    set_: dict[str, Any] = {name: rules.pop(name) for name in names if name in rules}
    if not set_:
        return {}
    check(SubscriptionConfig, set_)
    if "resign_secret" in set_:
        secret = set_["resign_secret"].strip().encode()
        set_["resign_secret"] = who.parts.sealer.seal(secret) if secret else b""
        if secret:
            set_.setdefault("resign", True)
    signer_of(who.channel(channel), msgspec.structs.replace(config, **set_), who.parts.sealer.open)
    return set_


def _away(rules: dict[str, Any]) -> dict[str, Any]:
    """Take what becomes of it while nobody answers out of what is set.

    What people took over is settled above its floor: from then on its reader asks for that.
    """
    set_: dict[str, Any] = {name: rules.pop(name) for name in AWAY_FIELDS if name in rules}
    check(SubscriptionConfig, set_)
    return set_ | ({"filtered": True} if set_.get("away") == Away.HANDOFF else {})


async def set_filter(who: Caller, found: Subscription, only: str) -> Subscription:
    """Have it get what a filter means, from now on; what waits and is not meant is settled."""
    changed = await who.store.change_subscription(found.number, lambda c: c.with_filter(only))
    await who.parts.hub.settle(changed.number)
    return changed


async def set_paused(who: Caller, found: Subscription, *, paused: bool) -> Subscription:
    """Pause or resume it; one that is paused stays so for its own reason."""
    if paused and found.config.paused:
        return found
    why, at, by = (BY_HAND, who.now(), who.name) if paused else ("", 0, "")
    return await change(who, found, paused=why, paused_at=at, paused_by=by)


async def shown(
    who: Caller, subscription: Subscription, view: Callable[[Caller, SubscriptionStatus], View]
) -> View:
    """How a subscription is doing now; `SubscriptionNotFound` if it went meanwhile."""
    for status in await who.store.subscription_status([subscription.number]):
        return view(who, status)
    raise SubscriptionNotFound(subscription.channel, subscription.name)


def reading_of(who: Caller, subscription: Subscription) -> Reading:
    """Who reads it; those who may not make forwards do not see where one posts to."""
    config, state = subscription.config, who.parts.hub.readers.state(subscription.number)
    url, waits_for = config.forward.url if config.forward else None, state.waits_for_target or ""
    if url and not who.admin:
        url, waits_for = MASK, waits_for and MASK
    return Reading(
        channel=subscription.channel,
        name=subscription.name,
        connected=state.readers > 0,
        readers=state.readers,
        hosts=list(state.hosts),
        target_down=state.waits_for_target is not None,
        waits_for=waits_for,
        paused=config.paused,
        forward=url,
        filter=config.filter,
    )


def subscription_view(who: Caller, status: SubscriptionStatus) -> SubscriptionView:
    subscription = status.subscription
    channel = who.store.catalog.channels.get(subscription.channel)
    policy = subscription.config.policy.applied_to(channel.config.policy if channel else Policy())
    reading = reading_of(who, subscription)
    config, away = subscription.config, who.parts.away
    left_at = None if reading.connected or reading.forward else subscription.left_at
    counts = msgspec.structs.asdict(status)
    del counts["subscription"]
    return SubscriptionView(
        **msgspec.structs.asdict(reading),
        **counts,
        paused_at=config.paused_at or None,
        paused_by=config.paused_by,
        policy=policy,
        away_since=left_at,
        away_long=left_at is not None and left_at < who.now() - AWAY_DAYS * DAY_MS,
        own=who.owns(subscription),
        mine=who.made(subscription),
        temporary=config.temporary,
        resign=config.resign,
        **{name: getattr(config, name) for name in AWAY_FIELDS},
        handed_over=away.handed_over(subscription.number) if away else 0,
        hand_off_trouble=away.trouble(subscription.number) if away else "",
        told_twice=[] if config.once else [*who.parts.hub.told_twice(subscription.number)],
    )


def whole_view(who: Caller, status: SubscriptionStatus) -> SubscriptionDetail:
    """How a subscription is doing, and what of its policy is its own."""
    config = status.subscription.config
    return SubscriptionDetail(
        **msgspec.structs.asdict(subscription_view(who, status)),
        own_policy=config.policy,
        once=config.once,
        pause_loops=config.pause_loops,
        resign_secret=MASK if config.resign_secret else "",
        created_at=status.subscription.created_at,
    )


async def change(who: Caller, found: Subscription, **changes: Any) -> Subscription:
    """Change settings of it; what else is changed meanwhile stays."""

    def apply(config: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(config, **changes)

    return await who.store.change_subscription(found.number, apply)
