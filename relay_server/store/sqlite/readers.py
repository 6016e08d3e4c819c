"""Subscriptions and replays: who reads a channel, and how far each has come."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import msgspec

from relay_server.configs import SubscriptionConfig
from relay_server.errors import (
    ReplayNotFound,
    SubscriptionNotFound,
    TooManyReplays,
    TooManySubscriptions,
)
from relay_server.store.rules import (
    CLOCK_JUMP_MS,
    MAX_LISTED_REPLAYS,
    MAX_RUNNING_REPLAYS,
    MAX_SUBSCRIPTIONS,
    bounds,
    of_any_account,
    spellings,
)
from relay_server.store.sqlite.catalogue import find_channel
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.rows import (
    decode_dead,
    decode_event,
    decode_mark,
    decode_replay,
    decode_subscription,
    encode,
)
from relay_server.store.sqlite.sql import first, last, position, sequence_of
from relay_server.values import (
    ChannelNumber,
    Claim,
    DeadDelivery,
    Event,
    Outline,
    Progress,
    ReaderNumber,
    Replay,
    ReplayNumber,
    ReplayState,
    Selected,
    Selection,
    Subscription,
    SubscriptionNumber,
)

LOOK_AT = 5_000  # events that one look for selected ones goes through at most
LOOK_AT_BODIES = 500  # where it has to read them


def subscribe(
    database: Database,
    channel: str,
    name: str,
    since: int | None,
    now: int,
    config: SubscriptionConfig,
) -> tuple[Subscription, bool]:
    """Find a subscription or make it; raises ChannelNotFound, TooManySubscriptions."""
    number = find_channel(database, channel).number
    row = database.one("find_subscription", channel=channel, name=name)
    if row is not None:
        return decode_subscription(row), False
    if database.value("count_subscriptions", channel=number) >= MAX_SUBSCRIPTIONS:
        raise TooManySubscriptions(channel, MAX_SUBSCRIPTIONS)
    start = _sequence_before(database, number, since)
    created = database.value(
        "create_subscription",
        channel=number,
        name=name,
        now=now,
        start=start,
        config=encode(config),
    )
    return Subscription(created, channel, name, now, config), True


def change(
    database: Database,
    number: SubscriptionNumber,
    change: Callable[[SubscriptionConfig], SubscriptionConfig],
) -> Subscription:
    """Change how a subscription is set; raises SubscriptionNotFound."""
    subscription = _subscription(database, number)
    config = change(subscription.config)
    database.run("change_subscription", config=encode(config), subscription=number)
    return msgspec.structs.replace(subscription, config=config)


def unsubscribe(database: Database, number: SubscriptionNumber) -> SubscriptionNumber:
    """Delete a subscription and its replays; what they hold is left to `sweep`."""
    for query in (
        "forget_subscription_readers",
        "delete_subscription_replays",
        "delete_subscription",
    ):
        database.run(query, subscription=number)
    return number


def claim(database: Database, reader: ReaderNumber) -> Claim | None:
    """Take a new epoch; None if the reader is gone, or a replay that has ended."""
    row = database.one("claim" if reader > 0 else "claim_replay", number=abs(reader))
    if row is None:
        return None
    epoch, floor = row
    marks = tuple(decode_mark(r) for r in database.all("marks_above", reader=reader, floor=floor))
    return Claim(reader, epoch, Progress(floor, marks))


def create_replay(
    database: Database,
    subscription: SubscriptionNumber,
    selection: Selection,
    rate_per_s: float,
    now: int,
    made_by: str,
) -> Replay:
    """Make a replay; raises SubscriptionNotFound, TooManyReplays."""
    found = _subscription(database, subscription)
    if database.value("count_running", subscription=subscription) >= MAX_RUNNING_REPLAYS:
        raise TooManyReplays(found.name, MAX_RUNNING_REPLAYS)
    channel = find_channel(database, found.channel).number
    start, until = _bounds(database, channel, subscription, selection)
    number = database.value(
        "create_replay",
        subscription=subscription,
        channel=channel,
        selection=encode(selection),
        rate_per_s=rate_per_s,
        start=start,
        until=until,
        now=now,
        made_by=made_by,
    )
    return replay(database, -number)


def replay(database: Database, number: ReplayNumber) -> Replay:
    """A replay by its number; raises ReplayNotFound."""
    found = replays(database, only=number)
    if not found:
        raise ReplayNotFound(-number)
    return found[0]


def replays(
    database: Database,
    subscription: SubscriptionNumber | None = None,
    *,
    running: bool = False,
    only: ReplayNumber | None = None,
) -> list[Replay]:
    """The newest replays, or the one of a number."""
    rows = database.all(
        "replays",
        only=None if only is None else -only,
        subscription=subscription,
        running=running,
        limit=MAX_LISTED_REPLAYS,
    )
    return [decode_replay(row) for row in rows]


def end_replay(database: Database, number: ReplayNumber, state: ReplayState, now: int) -> Replay:
    """Note that a replay ended; raises ReplayNotFound."""
    if replay(database, number).state is ReplayState.RUNNING:
        database.run("end_replay", state=int(state), now=now, number=-number)
        database.run("delete_marks", reader=number)
    return replay(database, number)


def fetch(database: Database, positions: Sequence[int]) -> list[Event]:
    """Whole events, in the order asked for."""
    rows = database.all("fetch", positions=json.dumps(positions))
    return [decode_event(row) for row in rows]


def find_event(database: Database, event: str) -> Event | None:
    """An event by its id."""
    at = database.value("find_event", id=event)
    found = [] if at is None else fetch(database, [at])
    return found[0] if found else None


def select(
    database: Database, channel: ChannelNumber, replay: Replay, after: int, limit: int
) -> Selected:
    """The next events of a replay, as far as one look goes."""
    start, last = position(channel, after), position(channel, replay.until)
    window = LOOK_AT_BODIES if replay.selection.text else LOOK_AT
    found = database.one("window_end", after=start, last=last, limit=window)
    end, count = found or (None, 0)
    if end is None:
        return Selected((), replay.until)
    rows = database.all("select_events", after=start, last=end, limit=limit, **_conditions(replay))
    outlines = tuple(Outline(sequence_of(at), key, size) for at, key, size in rows)
    if len(outlines) == limit:
        return Selected(outlines, outlines[-1].sequence)
    # Fewer events than one look goes through: behind them there is none up to the replay's end.
    return Selected(outlines, replay.until if count < window else sequence_of(end))


def dead(
    database: Database, subscription: SubscriptionNumber, after: int, limit: int
) -> list[DeadDelivery]:
    """Dead deliveries after a sequence, in order."""
    rows = database.all("list_dead", subscription=subscription, after=after, limit=limit)
    return [decode_dead(subscription, row) for row in rows]


def discard(
    database: Database, subscription: SubscriptionNumber, sequences: Sequence[int], now: int
) -> int:
    """Let go of dead deliveries; how many of these were dead."""
    wanted = json.dumps(list(sequences))
    return len(database.all("discard", now=now, subscription=subscription, sequences=wanted))


def _subscription(database: Database, number: SubscriptionNumber) -> Subscription:
    row = database.one("subscription", subscription=number)
    if row is None:
        raise SubscriptionNotFound("", f"number {number}")
    return decode_subscription(row)


def _sequence_before(database: Database, channel: ChannelNumber, since: int | None) -> int:
    """The sequence after which a new subscription begins."""
    if since is None:
        return int(database.value("last_sequence", channel=channel))
    whole = {"first": first(channel), "last": last(channel)}
    before = database.value("sequence_before", time=since, **whole) if since > 0 else None
    if before is None:
        return int(database.value("before_first_event", channel=channel, **whole))
    return sequence_of(before)


def _bounds(
    database: Database,
    channel: ChannelNumber,
    subscription: SubscriptionNumber,
    selection: Selection,
) -> tuple[int, int]:
    """`rules.bounds` of a selection, by what the channel and the subscription hold."""
    starts = []
    if selection.received_from is not None:
        surely_before = selection.received_from - CLOCK_JUMP_MS
        starts.append(_sequence_before(database, channel, surely_before))
    if selection.dead:
        starts.append((database.value("first_dead", subscription=subscription) or 1) - 1)
    return bounds(selection, database.value("last_sequence", channel=channel), *starts)


def _conditions(replay: Replay) -> dict[str, object]:
    """A replay's selection as `select_events` takes it; None for a condition that is not set."""
    wanted = replay.selection
    text, as_ascii, as_unicode = spellings(wanted.text) if wanted.text else (None, None, None)
    return {
        "received_from": wanted.received_from,
        "received_before": wanted.received_before,
        "kind": wanted.kind,
        "key": wanted.key,
        "of_any_account": of_any_account(wanted.key) if wanted.key is not None else None,
        "sequences": json.dumps(wanted.sequences) if wanted.sequences else None,
        "text": text,
        "as_ascii": as_ascii,
        "as_unicode": as_unicode,
        "dead_for": replay.subscription if wanted.dead else None,
    }
