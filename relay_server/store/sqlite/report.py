"""Questions to the SQLite store that people ask: how is it doing, what came, what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from relay_server.store.sqlite.database import Database, Row
from relay_server.store.sqlite.positions import first, last, position
from relay_server.store.sqlite.rows import decode_attempt, decode_subscription, decode_summary
from relay_server.values import (
    Channel,
    ChannelNumber,
    ChannelStatus,
    DeliveryState,
    EventSummary,
    MarkState,
    ReaderNumber,
    SubscriptionNumber,
    SubscriptionStatus,
)


def channel_status(database: Database, channels: Iterable[Channel]) -> list[ChannelStatus]:
    """How full each channel is."""
    return [_channel_status(database, c) for c in sorted(channels, key=lambda c: c.name)]


def subscription_status(
    database: Database, only: frozenset[SubscriptionNumber] | None
) -> list[SubscriptionStatus]:
    """How each subscription is doing."""
    rows = database.all("list_subscriptions")
    return [_subscription_status(database, row) for row in rows if only is None or row[0] in only]


def list_events(database: Database, start: int, end: int, limit: int) -> list[EventSummary]:
    """The newest events of a range of positions."""
    return [decode_summary(row) for row in database.all("list_events", start, end, limit)]


def deliveries(
    database: Database, channel: ChannelNumber, sequences: Sequence[int]
) -> list[list[DeliveryState]]:
    """What became of each event for each subscription it is for, and for replays that had it."""
    readers = database.all("subscriptions_of_channel", channel)
    return [_of_event(database, channel, readers, sequence) for sequence in sequences]


def _of_event(
    database: Database, channel: ChannelNumber, readers: Iterable[Row], sequence: int
) -> list[DeliveryState]:
    states = [
        _delivery(database, number, name, sequence, "delivered" if sequence <= floor else "pending")
        for number, name, start, floor in readers
        if start < sequence
    ]
    for number, name in database.all("replays_of_event", channel, sequence):
        state = _delivery(database, -number, name, sequence, "")
        states.append(msgspec.structs.replace(state, replay=number, state=replayed(state)))
    return states


def replayed(state: DeliveryState) -> str:
    """What became of a replayed event, by its attempts where no mark is left of it."""
    if state.state:
        return state.state
    return "delivered" if state.attempts and state.attempts[-1].delivered else "dead"


def _channel_status(database: Database, channel: Channel) -> ChannelStatus:
    bounds = first(channel.number), last(channel.number)
    events, size, dropped, received_at = database.one(
        "channel_status", channel.number, *bounds
    ) or (
        0,
        0,
        0,
        None,
    )
    return ChannelStatus(channel.name, events, size, dropped, received_at)


def _subscription_status(database: Database, row: Row) -> SubscriptionStatus:
    number, channel, floor, last_sequence = row[0], *row[5:]
    settled = database.value("settled_above", number, floor)
    above = position(channel, floor), last(channel)
    return SubscriptionStatus(
        decode_subscription(row),
        backlog=max(0, last_sequence - floor - settled),
        oldest_waiting_at=database.value("oldest_waiting", *above, number, first(channel)),
        dead=database.value("dead", number),
    )


def _delivery(
    database: Database, number: ReaderNumber, name: str, sequence: int, unmarked: str
) -> DeliveryState:
    attempts = tuple(decode_attempt(r) for r in database.all("attempts_of", number, sequence))
    mark = database.one("mark_of", number, sequence)
    if mark is None:
        return DeliveryState(name, unmarked, attempts)
    state, reason, due_at = mark
    return DeliveryState(name, MarkState(state).name.lower(), attempts, reason, due_at)
