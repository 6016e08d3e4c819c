"""Subscriptions shown, changed, paused and forgotten."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from relay_server.configs import (
    Changes,
    Policy,
    PolicyChanges,
    SubscriptionConfig,
    changes_of,
    check,
)
from relay_server.errors import InvalidValue, SubscriptionConnected, SubscriptionNotFound
from relay_server.operations import MASK, Caller, ForAdmins, JsonObject
from relay_server.values import Subscription, SubscriptionStatus

BY_HAND = "paused by hand"

# A null is as its channel has it: one setting of the policy, or all of it.
Fields = changes_of(SubscriptionConfig, policy=changes_of(Policy, optional=True) | None)


async def show(who: Caller, channel: str, name: str) -> JsonObject:
    """One subscription: how it is doing, and how it delivers."""
    return await shown(who, await who.subscription(channel, name), whole_view)


@ForAdmins
async def change(who: Caller, channel: str, name: str, fields: Changes) -> JsonObject:
    """Have it deliver otherwise than its channel; that holds at once."""
    found, rules = await who.subscription(channel, name), fields.given()
    if "policy" not in rules:
        return await shown(who, found, whole_view)
    policy = rules["policy"]
    check(Policy, policy or {})

    def apply(config: SubscriptionConfig) -> SubscriptionConfig:
        if policy is None:
            return msgspec.structs.replace(config, policy=PolicyChanges())
        changed = msgspec.structs.replace(config.policy, **policy)
        return msgspec.structs.replace(config, policy=changed)

    changed = await who.store.change_subscription(found.number, apply)
    return await shown(who, changed, whole_view)


@ForAdmins
async def pause(who: Caller, channel: str, name: str) -> JsonObject:
    """Deliver nothing until somebody resumes it."""
    found = await set_paused(who, await who.subscription(channel, name), paused=True)
    return await shown(who, found, whole_view)


async def resume(who: Caller, channel: str, name: str) -> JsonObject:
    """Go on where it stopped; also for those who may connect under its name."""
    found = await who.subscription(channel, name)
    who.check_reader(found)
    return await shown(who, await set_paused(who, found, paused=False), whole_view)


@ForAdmins
async def delete(who: Caller, channel: str, name: str) -> None:
    """Forget a subscription that nobody reads: nothing is kept for it any more."""
    found = await who.subscription(channel, name)
    if found.config.forward is not None:
        raise InvalidValue(f"{name!r} is a forward: relay-server forward delete ends it")
    if who.parts.hub.state(found.number).readers:
        raise SubscriptionConnected(name)
    await who.store.unsubscribe(found.number)


async def set_paused(who: Caller, found: Subscription, *, paused: bool) -> Subscription:
    """Pause or resume it; one that is paused stays so for its own reason."""
    if paused and found.config.paused:
        return found

    def apply(config: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(config, paused=BY_HAND if paused else "")

    return await who.store.change_subscription(found.number, apply)


async def shown(
    who: Caller,
    subscription: Subscription,
    as_json: Callable[[Caller, SubscriptionStatus], JsonObject],
) -> JsonObject:
    """How a subscription is doing now.

    Raises:
        SubscriptionNotFound: It went meanwhile.
    """
    for status in await who.store.subscription_status([subscription.number]):
        return as_json(who, status)
    raise SubscriptionNotFound(subscription.channel, subscription.name)


def view(who: Caller, status: SubscriptionStatus) -> JsonObject:
    """How a subscription is doing.

    Those who may not make forwards do not see where one posts to.
    """
    subscription, parts = status.subscription, who.parts
    config, state = subscription.config, parts.hub.state(subscription.number)
    channel = who.store.catalog.channels.get(subscription.channel)
    policy = config.policy.applied_to(channel.config.policy if channel else Policy())
    url, waits_for = config.forward and config.forward.url, state.waits_for_target or ""
    if url and not who.admin:
        url, waits_for = MASK, waits_for and MASK
    return {
        "channel": subscription.channel,
        "name": subscription.name,
        "connected": state.readers > 0,
        "readers": state.readers,
        "target_down": state.waits_for_target is not None,
        "waits_for": waits_for,
        "paused": config.paused,
        "forward": url,
        "policy": msgspec.to_builtins(policy),
        "backlog": status.backlog,
        "oldest_waiting_at": status.oldest_waiting_at,
        "dead": status.dead,
    }


def whole_view(who: Caller, status: SubscriptionStatus) -> JsonObject:
    """How a subscription is doing, and what of its policy is its own."""
    own = msgspec.to_builtins(status.subscription.config.policy)
    return view(who, status) | {
        "own_policy": {name: value for name, value in own.items() if value is not None},
        "created_at": status.subscription.created_at,
    }
