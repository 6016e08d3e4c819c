"""Forwards made and changed: subscriptions that the server itself posts to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import check_subscription_name
from relay_server.configs import Changes, ForwardConfig, SubscriptionConfig, changes_of
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.push import check_forward
from relay_server.errors import (
    ForwardNotFound,
    InvalidValue,
    SubscriptionExists,
)
from relay_server.operations import MASK, Caller, ForAdmins, JsonObject, Parts, subscriptions
from relay_server.operations.channels import plain_settings
from relay_server.values import Subscription, SubscriptionStatus

DEFAULT_NAME = "forward"

# `since` is where it starts, in Unix milliseconds; null for the next event.
NewFields = changes_of(ForwardConfig, channel=str, name=str, since=int | None)
Fields = changes_of(ForwardConfig, paused=bool)


@ForAdmins
async def listed(who: Caller) -> JsonObject:
    """Every forward, and how it is doing."""
    known = await who.store.subscription_status()
    found = [status for status in known if status.subscription.config.forward is not None]
    return {"forwards": [view(who, status) for status in found]}


@ForAdmins
async def create(who: Caller, fields: Changes) -> JsonObject:
    """Make a forward; a server that runs begins with it at once."""
    rules = fields.given()
    channel = who.channel(rules.pop("channel", ""))
    name, since = rules.pop("name", DEFAULT_NAME), rules.pop("since", None)
    if "url" not in rules:
        raise InvalidValue("a forward needs a url")
    if since is not None and not 0 <= since <= MAX_UNIX_MS:
        raise InvalidValue(f"{since} is no time")
    check_subscription_name(name)
    forward = _configured(who.parts, ForwardConfig(rules["url"]), rules)
    config = SubscriptionConfig(forward=forward)
    made, new = await who.store.subscribe(channel.name, name, since, who.now(), config)
    if not new:
        raise SubscriptionExists(channel.name, name)
    return await subscriptions.shown(who, made, view)


@ForAdmins
async def show(who: Caller, channel: str, name: str) -> JsonObject:
    """One forward."""
    return await subscriptions.shown(who, await _find(who, channel, name), view)


@ForAdmins
async def change(who: Caller, channel: str, name: str, fields: Changes) -> JsonObject:
    """Change a forward, pause or resume it; that holds at once, and what is not named stays."""
    forward, rules = await _find(who, channel, name), fields.given()
    paused = rules.pop("paused", None)
    if rules:
        assert forward.config.forward is not None
        config = _configured(who.parts, forward.config.forward, rules)

        def apply(old: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(old, forward=config)

        forward = await who.store.change_subscription(forward.number, apply)
    if paused is not None:
        forward = await subscriptions.set_paused(who, forward, paused=paused)
    return await subscriptions.shown(who, forward, view)


@ForAdmins
async def delete(who: Caller, channel: str, name: str) -> None:
    """End a forward, and forget what waits for it."""
    await who.store.unsubscribe((await _find(who, channel, name)).number)


def view(who: Caller, status: SubscriptionStatus) -> JsonObject:
    """A forward, and how it is doing; the values of its headers are masked."""
    config, number = status.subscription.config.forward, status.subscription.number
    assert config is not None
    rules, engine = subscriptions.whole_view(who, status), who.parts.forwards
    return rules | {
        "waits_for": rules["waits_for"] or (engine.why_waiting(number) if engine else ""),
        **plain_settings(config),
        "headers": {name: MASK for name, _ in config.headers},
    }


async def _find(who: Caller, channel: str, name: str) -> Subscription:
    for subscription in await who.store.subscriptions(channel):
        if subscription.name == name and subscription.config.forward is not None:
            return subscription
    raise ForwardNotFound(channel, name)


def _configured(parts: Parts, config: ForwardConfig, rules: Mapping[str, Any]) -> ForwardConfig:
    changes = dict(rules)
    if "headers" in changes:
        given = changes["headers"].items()
        changes["headers"] = tuple((name, parts.sealer.seal(v.encode())) for name, v in given)
    config = msgspec.structs.replace(config, **changes)
    check_forward(config, Allowlist.of(parts.settings.forward_allow), parts.sealer.open)
    return config
