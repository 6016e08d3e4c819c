"""Events, and the state of their deliveries."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import msgspec

from relay_protocol.values import HeaderList
from relay_server.errors import EventNotFound, InvalidValue
from relay_server.operations import MASK, MAX_LISTED, Caller, JsonObject
from relay_server.values import Channel, DeliveryState, Event

MAX_NAMED_EVENTS = 1_000  # by id in one request for a replay
SECRET_FIELDS = (b"authorization", b"cookie", b"set-cookie", b"x-chatwoot-signature")


class EventPage(msgspec.Struct):
    """Which events are listed: the newest of a channel, the default one where none is named."""

    channel: str | None = None
    before: int = 0  # a sequence; 0 for the newest there are
    limit: int = 50


async def list_events(who: Caller, page: EventPage) -> JsonObject:
    """The newest events of a channel, and what became of each."""
    name = who.parts.settings.default_channel if page.channel is None else page.channel
    channel, most = who.channel(name), min(page.limit, MAX_LISTED)
    found = await who.store.list_events(channel.number, page.before or None, most)
    deliveries = await who.store.deliveries(channel.number, [e.sequence for e in found])
    lines = [
        {
            "id": event.id,
            "channel": channel.name,
            **msgspec.to_builtins(event),
            "deliveries": list(map(_delivery, states)),
        }
        for event, states in zip(found, deliveries, strict=True)
    ]
    return {"events": lines}


async def show_event(who: Caller, id_: str) -> JsonObject:
    """One event, whole; header fields that are secrets are masked."""
    channel, event = await find_event(who, id_)
    head, body = event.head, event.body
    [states] = await who.store.deliveries(channel.number, [head.sequence])
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
        "size": len(body),
        "conflict": event.conflict,
        "repeat_of": event.repeat_of,
        "damaged": event.damaged,
        "headers": _headers(head.request.headers),
        "body": _text(body),
        "body_base64": base64.b64encode(body).decode(),
        "deliveries": list(map(_delivery, states)),
        "attempts": [attempt for delivery in states for attempt in _attempts(delivery)],
    }


async def find_event(who: Caller, id_: str) -> tuple[Channel, Event]:
    """An event that the caller may read, and its channel; all others are `EventNotFound`."""
    event = await who.store.find_event(id_)
    channels = who.store.catalog.channels.values()
    channel = next((c for c in channels if event and c.number == event.channel), None)
    if event is None or channel is None or not who.may_read(channel):
        raise EventNotFound(id_)
    return channel, event


async def find_events(
    who: Caller, name: str | None, ids: Sequence[str]
) -> tuple[Channel, tuple[int, ...]]:
    """The channel that is meant, and the sequences of the events that are named.

    Without a name it is that of the events, or else the default channel. Too many events, or of
    several channels, are `InvalidValue`.
    """
    if len(ids) > MAX_NAMED_EVENTS:
        raise InvalidValue(f"at most {MAX_NAMED_EVENTS} events can be named at once")
    found = [await find_event(who, id_) for id_ in ids]
    if name is None:
        name = found[0][0].name if found else who.parts.settings.default_channel
    channel = who.channel(name)
    for of, event in found:
        if of.number != channel.number:
            raise InvalidValue(f"{event.head.id} is of {of.name}, not of {channel.name}")
    return channel, tuple(sorted({event.head.sequence for _, event in found}))


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
