"""Forwards: subscriptions that the server itself reads, and posts to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay_protocol.limits import MAX_UNIX_MS
from relay_server.bodies.tree import MASK
from relay_server.channels import check_name
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.push import check_forward
from relay_server.errors import ForwardNotFound, InvalidValue, SubscriptionExists
from relay_server.filters.language import check_standing
from relay_server.operations import Caller, ForAdmins, Parts
from relay_server.operations.audit import audited
from relay_server.operations.subscriptions import (
    SubscriptionDetail,
    change,
    set_filter,
    set_paused,
    shown,
    take_delivering,
    whole_view,
)
from relay_server.reported import SubscriptionStatus
from relay_server.settables import Changes, changes_of
from relay_server.values import Subscription

DEFAULT_FORWARD = "forward"  # its name, where none is given

# `since` is where it starts, in Unix milliseconds; null for the next event.
NewForward = changes_of(
    "NewForward", ForwardConfig, SubscriptionConfig, channel=str, name=str, since=int | None
)
ForwardFields = changes_of("ForwardFields", ForwardConfig, SubscriptionConfig, paused=bool)


class ForwardView(SubscriptionDetail, frozen=True, kw_only=True):
    """A subscription that the server itself reads; the values of its headers are masked.

    Attributes:
        tried: Since the server reads it the target was connected to, or was not there.
    """

    tried: bool
    url: str
    timeout_s: float
    concurrency: int
    headers: dict[str, str]


class Forwards(msgspec.Struct):
    """Forwards, by channel and name."""

    forwards: list[ForwardView]


@ForAdmins
async def list_forwards(who: Caller) -> Forwards:
    """Every forward, and how it is doing."""
    known = await who.store.subscription_status()
    found = [status for status in known if status.subscription.config.forward is not None]
    return Forwards([forward_view(who, status) for status in found])


@ForAdmins
@audited("forward.create")
async def create_forward(who: Caller, fields: Changes) -> ForwardView:
    """Make a forward; a server that runs begins with it at once."""
    rules = fields.given()
    channel = who.channel(rules.pop("channel", ""))
    name, since = rules.pop("name", DEFAULT_FORWARD), rules.pop("since", None)
    if "url" not in rules:
        raise InvalidValue("a forward needs a url")
    if since is not None and not 0 <= since <= MAX_UNIX_MS:
        raise InvalidValue(f"{since} is no time")
    check_name(name)
    only = check_standing(rules.pop("filter", ""), who.now())
    delivering = take_delivering(who, channel.name, SubscriptionConfig(), rules)
    forward = _configured(who.parts, ForwardConfig(rules["url"]), rules)
    config = msgspec.structs.replace(SubscriptionConfig(forward=forward), **delivering)
    config = config.with_filter(only)
    made, new = await who.store.subscribe(channel.name, name, since, who.now(), config)
    if not new:
        raise SubscriptionExists(channel.name, name)
    await _try(who, made)
    return await shown(who, made, forward_view)


@ForAdmins
async def show_forward(who: Caller, channel: str, name: str) -> ForwardView:
    """One forward."""
    return await shown(who, await _forward(who, channel, name), forward_view)


@ForAdmins
@audited("forward.change")
async def change_forward(who: Caller, channel: str, name: str, fields: Changes) -> ForwardView:
    """Change a forward, pause or resume it; that holds at once, and what is not named stays."""
    forward, rules = await _forward(who, channel, name), fields.given()
    paused, only = rules.pop("paused", None), rules.pop("filter", None)
    delivering = take_delivering(who, channel, forward.config, rules)
    if only is not None:
        only = check_standing(only, who.now())
    if rules:
        assert forward.config.forward is not None
        config = _configured(who.parts, forward.config.forward, rules)
        forward = await change(who, forward, forward=config)
        await _try(who, forward)
    if delivering:
        forward = await change(who, forward, **delivering)
    if only is not None:
        forward = await set_filter(who, forward, only)
    if paused is not None:
        forward = await set_paused(who, forward, paused=paused)
    return await shown(who, forward, forward_view)


@ForAdmins
@audited("forward.delete")
async def delete_forward(who: Caller, channel: str, name: str) -> None:
    """End a forward, and forget what waits for it."""
    await who.store.unsubscribe((await _forward(who, channel, name)).number)


def forward_view(who: Caller, status: SubscriptionStatus) -> ForwardView:
    config, number = status.subscription.config.forward, status.subscription.number
    assert config is not None
    shown, engine = msgspec.structs.asdict(whole_view(who, status)), who.parts.forwards
    shown["waits_for"] = shown["waits_for"] or (engine.why_waiting(number) if engine else "")
    return ForwardView(
        tried=bool(engine and engine.tried(number)),
        url=config.url,
        timeout_s=config.timeout_s,
        concurrency=config.concurrency,
        headers={name: MASK for name, _ in config.headers},
        **shown,
    )


async def _try(who: Caller, forward: Subscription) -> None:
    """Have a server that runs connect to its target, so that its answer says what came of it."""
    if who.parts.forwards is not None:
        await who.parts.forwards.try_target(forward.number)


async def _forward(who: Caller, channel: str, name: str) -> Subscription:
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
