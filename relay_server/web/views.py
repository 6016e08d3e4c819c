"""Values as the JSON that people and scripts see. Times are Unix milliseconds."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

import msgspec
from pydantic import SecretStr

from relay_protocol.values import HeaderList
from relay_server.configs import ChannelConfig, ForwardConfig, Policy, settings_of
from relay_server.delivery.upkeep import is_worrying
from relay_server.operations.callers import Caller
from relay_server.values import (
    Channel,
    ChannelStatus,
    DeadDelivery,
    DeliveryState,
    Event,
    EventSummary,
    Replay,
    ReplayState,
    Selection,
    Subscription,
    SubscriptionStatus,
    Token,
)
from relay_server.web.context import Context

JsonObject = dict[str, Any]

VERSION = version("relay-tunnel")
MASK = "•••"
SECRET_FIELDS = (b"authorization", b"cookie", b"set-cookie", b"x-chatwoot-signature")

SOMEBODY_ON_HOST: JsonObject = {"name": "", "scopes": ["admin"], "channels": None}


def token(token: Token) -> JsonObject:
    """A token, without its secret."""
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "channels": None if token.channels is None else sorted(token.channels),
        "created_at": token.created_at,
    }


def channel(context: Context, channel: Channel) -> JsonObject:
    """A channel and its rules, without its secrets."""
    config = channel.config
    default = channel.name == context.settings.default_channel
    rules = _settings(config)
    return {
        "name": channel.name,
        "webhook_path": "/webhook" if default else f"/c/{channel.name}/webhook",
        "sender": rules.pop("sender"),
        "sender_auth": _sender_auth(config, token=rules.pop("token")),
        **rules,
        "max_body_bytes": config.max_body_bytes or context.settings.max_body_bytes,
        "created_at": channel.created_at,
    }


async def channel_status(context: Context, status: ChannelStatus) -> JsonObject:
    """How full a channel is, and whether of what cannot go by itself."""
    channel = context.store.catalog.channels.get(status.channel)
    limit = channel.config.max_bytes if channel else None
    return {
        "name": status.channel,
        "events": status.events,
        "bytes": status.bytes,
        "max_bytes": limit,
        "full_percent": round(100 * status.bytes / limit, 1) if limit else None,
        "worrying": bool(channel and await is_worrying(context.store, channel)),
        "dropped": status.dropped,
        "drop_oldest": bool(channel and channel.config.drop_oldest),
        "last_received_at": status.last_received_at,
    }


def for_caller(who: Caller, shown: JsonObject) -> JsonObject:
    """A subscription: those who may not make forwards do not see where one posts to."""
    if who.admin or shown["forward"] is None:
        return shown
    return shown | {"forward": MASK, "waits_for": MASK if shown["waits_for"] else ""}


def subscription(context: Context, status: SubscriptionStatus) -> JsonObject:
    """How a subscription is doing."""
    config, state = status.subscription.config, context.hub.state(status.subscription.number)
    channel = context.store.catalog.channels.get(status.subscription.channel)
    policy = config.policy.applied_to(channel.config.policy if channel else Policy())
    return {
        "channel": status.subscription.channel,
        "name": status.subscription.name,
        "connected": state.readers > 0,
        "readers": state.readers,
        "target_down": state.waits_for_target is not None,
        "waits_for": state.waits_for_target or "",
        "paused": config.paused,
        "forward": config.forward.url if config.forward else None,
        "policy": msgspec.to_builtins(policy),
        "backlog": status.backlog,
        "oldest_waiting_at": status.oldest_waiting_at,
        "dead": status.dead,
    }


def subscription_rules(context: Context, status: SubscriptionStatus) -> JsonObject:
    """How a subscription is doing, and what of its policy is its own."""
    own = msgspec.to_builtins(status.subscription.config.policy)
    return subscription(context, status) | {
        "own_policy": {name: value for name, value in own.items() if value is not None},
        "created_at": status.subscription.created_at,
    }


def forward(context: Context, status: SubscriptionStatus) -> JsonObject:
    """A forward, and how it is doing; the values of its headers are masked."""
    config, number = status.subscription.config.forward, status.subscription.number
    assert config is not None
    rules, engine = subscription_rules(context, status), context.forwards
    why = rules["waits_for"] or (engine.why_waiting(number) if engine else "")
    return rules | {
        "waits_for": why,
        **_settings(config),
        "headers": {name: MASK for name, _ in config.headers},
    }


def replay(context: Context, replay: Replay, subscription: Subscription) -> JsonObject:
    """A replay and how far it is; whoever watches it sees whether anybody reads."""
    state, span = context.hub.state(subscription.number), replay.until - replay.start
    events = len(replay.selection.sequences)
    done = replay.state is ReplayState.DONE or span <= 0
    return {
        "number": -replay.number,
        "channel": subscription.channel,
        "subscription": subscription.name,
        "state": replay.state.name.lower(),
        "selection": _selection(replay.selection),
        "rate_per_s": replay.rate_per_s,
        "at_most": min(events, span) if events else span,
        "delivered": replay.delivered,
        "percent": 100.0 if done else round(100 * (replay.floor - replay.start) / span, 1),
        "made_by": replay.made_by,
        "created_at": replay.created_at,
        "ended_at": replay.ended_at or None,
        "connected": state.readers > 0,
        "paused": subscription.config.paused,
    }


def dead(subscription: Subscription, delivery: DeadDelivery) -> JsonObject:
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


def summary(
    channel: Channel, event: EventSummary, deliveries: Iterable[DeliveryState]
) -> JsonObject:
    """A line in a list of events."""
    return {
        "id": event.id,
        "channel": channel.name,
        **msgspec.to_builtins(event),
        "deliveries": [_delivery(delivery) for delivery in deliveries],
    }


def event(channel: Channel, event: Event, deliveries: Iterable[DeliveryState]) -> JsonObject:
    """An event, whole; header fields that are secrets are masked."""
    head, deliveries = event.head, list(deliveries)
    return {
        "id": head.id,
        "channel": channel.name,
        "sequence": head.sequence,
        "received_at": head.received_at,
        "kind": head.kind,
        "key": head.key,
        "method": head.request.method,
        "request_target": head.request.request_target,
        "sender": head.request.sender,
        "size": len(event.body),
        "conflict": event.conflict,
        "repeat_of": event.repeat_of,
        "damaged": event.damaged,
        "headers": _headers(head.request.headers),
        "body": _text(event.body),
        "body_base64": base64.b64encode(event.body).decode(),
        "deliveries": [_delivery(delivery) for delivery in deliveries],
        "attempts": [attempt for delivery in deliveries for attempt in _attempts(delivery)],
    }


def settings(context: Context) -> JsonObject:
    """Every setting and where its value came from; secrets are masked."""
    return {
        name: {"value": _setting(value), "source": context.sources.of(name)}
        for name, value in context.settings
    }


def _settings(config: ChannelConfig | ForwardConfig) -> JsonObject:
    """The settings of a config, but for its parts: those hold secrets."""
    parts = [one.name for one in settings_of(type(config)) if one.setting.parts]
    whole = msgspec.to_builtins(config)
    # An owner is no setting: canaries have one, and nobody else sees those.
    return {n: v for n, v in whole.items() if n not in (*parts, "owner")}


def _sender_auth(config: ChannelConfig, *, token: bool) -> list[str]:
    auth = ["token"] if token else []
    if config.hmac is not None:
        auth.append(f"hmac:{config.hmac.scheme}{' (log only)' if config.hmac.log_only else ''}")
    return [*auth, "ip"] if config.allow_from else auth


def _selection(selection: Selection) -> JsonObject:
    """The conditions that are set; of events that are named, how many."""
    whole = msgspec.to_builtins(selection)
    given = {n: v for n, v in whole.items() if v is not None and v is not False}
    if not selection.text:
        del given["text"]
    if events := len(given.pop("sequences")):
        return {"events": events} | given
    return given


def _delivery(delivery: DeliveryState) -> JsonObject:
    last = delivery.attempts[-1] if delivery.attempts else None
    return {
        "subscription": delivery.subscription,
        "state": delivery.state,
        "attempt": last.attempt if last else 0,
        "status": last.status if last else None,
        "reason": delivery.reason,
        "due_at": delivery.due_at or None,
        "replay": delivery.replay or None,
    }


def _attempts(delivery: DeliveryState) -> Iterator[JsonObject]:
    for attempt in delivery.attempts:
        shown = msgspec.to_builtins(attempt)
        del shown["sequence"]
        yield {"subscription": delivery.subscription, "replay": delivery.replay or None, **shown}


def _headers(headers: HeaderList) -> list[list[str]]:
    return [
        [
            name.decode("latin-1"),
            MASK if name.lower() in SECRET_FIELDS else value.decode("utf-8", "replace"),
        ]
        for name, value in headers
    ]


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _setting(value: object) -> object:
    match value:
        case SecretStr():
            return MASK
        case bool() | int() | None:
            return value
        case tuple():
            return [str(item) for item in value]
        case _:
            return str(value)
