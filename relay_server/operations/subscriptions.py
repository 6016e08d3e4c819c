"""Subscriptions found, changed, paused and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay_server.configs import Policy, PolicyChanges, SubscriptionConfig, check
from relay_server.errors import InvalidValue, SubscriptionConnected, SubscriptionNotFound
from relay_server.operations import Parts
from relay_server.values import Subscription, SubscriptionStatus

BY_HAND = "paused by hand"


async def find(parts: Parts, channel: str, name: str) -> Subscription:
    """A subscription by its name.

    Raises:
        SubscriptionNotFound: The channel has none of this name.
    """
    for subscription in await parts.store.subscriptions(channel):
        if subscription.name == name:
            return subscription
    raise SubscriptionNotFound(channel, name)


async def status_of(parts: Parts, subscription: Subscription) -> SubscriptionStatus:
    """How a subscription is doing now.

    Raises:
        SubscriptionNotFound: It went meanwhile.
    """
    for status in await parts.store.subscription_status([subscription.number]):
        return status
    raise SubscriptionNotFound(subscription.channel, subscription.name)


async def set_policy(
    parts: Parts, subscription: Subscription, rules: Mapping[str, Any] | None
) -> Subscription:
    """Have it deliver otherwise than its channel: what is None is as there, and so is all of it."""
    check(Policy, rules or {})

    def change(config: SubscriptionConfig) -> SubscriptionConfig:
        policy = PolicyChanges()
        if rules is not None:
            policy = msgspec.structs.replace(config.policy, **rules)
        return msgspec.structs.replace(config, policy=policy)

    return await parts.store.change_subscription(subscription.number, change)


async def pause(parts: Parts, subscription: Subscription) -> Subscription:
    """Deliver nothing until somebody resumes it; one that is paused stays so for its own reason."""
    if subscription.config.paused:
        return subscription
    return await _set_paused(parts, subscription, BY_HAND)


async def resume(parts: Parts, subscription: Subscription) -> Subscription:
    """Go on where it stopped."""
    return await _set_paused(parts, subscription, "")


async def delete(parts: Parts, subscription: Subscription) -> None:
    """Forget a subscription that nobody reads: nothing is kept for it any more."""
    if subscription.config.forward is not None:
        name = subscription.name
        raise InvalidValue(f"{name!r} is a forward: relay-server forward delete ends it")
    if parts.hub.state(subscription.number).readers:
        raise SubscriptionConnected(subscription.name)
    await parts.store.unsubscribe(subscription.number)


async def _set_paused(parts: Parts, subscription: Subscription, reason: str) -> Subscription:
    def change(config: SubscriptionConfig) -> SubscriptionConfig:
        return msgspec.structs.replace(config, paused=reason)

    return await parts.store.change_subscription(subscription.number, change)
