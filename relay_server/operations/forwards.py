"""Forwards made and changed: subscriptions that the server itself posts to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import check_subscription_name
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.push import check_forward
from relay_server.errors import (
    ForwardNotFound,
    InvalidValue,
    SubscriptionExists,
    SubscriptionNotFound,
)
from relay_server.operations import Parts, subscriptions
from relay_server.values import Channel, Subscription

DEFAULT_NAME = "forward"


async def find(parts: Parts, channel: str, name: str) -> Subscription:
    """A forward by its name.

    Raises:
        ForwardNotFound: The channel has none of this name.
    """
    try:
        found = await subscriptions.find(parts, channel, name)
    except SubscriptionNotFound as exc:
        raise ForwardNotFound(channel, name) from exc
    if found.config.forward is None:
        raise ForwardNotFound(channel, name)
    return found


async def create(
    parts: Parts, channel: Channel, name: str, since: int | None, rules: Mapping[str, Any]
) -> Subscription:
    """Make a forward; a server that runs begins with it at once.

    Args:
        parts: The server's.
        channel: Whose events it posts.
        name: Its name among the channel's subscriptions.
        since: Where it starts, in Unix milliseconds; None for the next event.
        rules: What is set, by the settings' names; a url must be.
    """
    if "url" not in rules:
        raise InvalidValue("a forward needs a url")
    if since is not None and not 0 <= since <= MAX_UNIX_MS:
        raise InvalidValue(f"{since} is no time")
    check_subscription_name(name)
    config = SubscriptionConfig(forward=_configured(parts, ForwardConfig(rules["url"]), rules))
    now = parts.clock.unix_ms()
    made, new = await parts.store.subscribe(channel.name, name, since, now, config)
    if not new:
        raise SubscriptionExists(channel.name, name)
    return made


async def change(
    parts: Parts, forward: Subscription, paused: bool | None, rules: Mapping[str, Any]
) -> Subscription:
    """Change a forward, pause or resume it; what is None or not named stays."""
    if rules:
        assert forward.config.forward is not None
        config = _configured(parts, forward.config.forward, rules)

        def reconfigure(old: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(old, forward=config)

        forward = await parts.store.change_subscription(forward.number, reconfigure)
    if paused is None:
        return forward
    turn = subscriptions.pause if paused else subscriptions.resume
    return await turn(parts, forward)


def _configured(parts: Parts, config: ForwardConfig, rules: Mapping[str, Any]) -> ForwardConfig:
    changes = dict(rules)
    if "headers" in changes:
        given = changes["headers"].items()
        changes["headers"] = tuple((name, parts.sealer.seal(v.encode())) for name, v in given)
    config = msgspec.structs.replace(config, **changes)
    check_forward(config, Allowlist.of(parts.settings.forward_allow), parts.sealer.open)
    return config
