"""Questions to the SQLite store that people ask: how is it doing, what came, what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from relay_server.store.database import Database, Row
from relay_server.store.positions import first, last, position
from relay_server.store.rows import decode_attempt, decode_summary
from relay_server.values import (
    Channel,
    ChannelNumber,
    ChannelStatus,
    DeliveryState,
    EventSummary,
    MarkState,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
)


def channel_status(database: Database, channels: Iterable[Channel]) -> list[ChannelStatus]:
    """How full each channel is."""
    return [_channel_status(database, c) for c in sorted(channels, key=lambda c: c.name)]


def subscription_status(
    database: Database,
    channels: Mapping[ChannelNumber, str],
    only: frozenset[SubscriptionNumber] | None,
) -> list[SubscriptionStatus]:
    """How each subscription is doing."""
    rows = database.all("list_subscriptions")
    return [
        _subscription_status(database, channels[row[1]], row)
        for row in rows
        if row[1] in channels and (only is None or row[0] in only)
    ]


def list_events(database: Database, start: int, end: int, limit: int) -> list[EventSummary]:
    """The newest events of a range of positions."""
    return [decode_summary(row) for row in database.all("list_events", start, end, limit)]


def deliveries(database: Database, channel: ChannelNumber, sequence: int) -> list[DeliveryState]:
    """What became of an event for each subscription it is for."""
    rows = database.all("subscriptions_of_event", channel, sequence)
    return [_delivery(database, number, name, floor, sequence) for number, name, floor in rows]


def _channel_status(database: Database, channel: Channel) -> ChannelStatus:
    bounds = first(channel.number), last(channel.number)
    count, newest = database.one("channel_status", *bounds) or (0, None)
    received_at = None if newest is None else database.value("received_at", newest)
    return ChannelStatus(channel.name, count, received_at)


def _subscription_status(database: Database, channel: str, row: Row) -> SubscriptionStatus:
    number, channel_number, name, created_at, floor = row
    above = position(channel_number, floor), last(channel_number)
    waiting = database.value("events_above", *above) - database.value(
        "settled_above", number, floor
    )
    oldest = database.value("oldest_waiting", *above, number, first(channel_number))
    return SubscriptionStatus(
        Subscription(number, channel, name, created_at),
        backlog=max(0, waiting),
        oldest_waiting_at=oldest,
        dead=database.value("dead", number),
    )


def _delivery(
    database: Database, number: SubscriptionNumber, name: str, floor: int, sequence: int
) -> DeliveryState:
    attempts = tuple(decode_attempt(r) for r in database.all("attempts_of", number, sequence))
    mark = database.one("mark_of", number, sequence)
    if mark is not None:
        state, reason, due_at = mark
        return DeliveryState(name, MarkState(state).name.lower(), attempts, reason, due_at)
    state = "delivered" if sequence <= floor else "pending"
    return DeliveryState(name, state, attempts)
