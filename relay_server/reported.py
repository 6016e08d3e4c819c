"""What a store reports: how far readers, replays and servers are. Times are Unix milliseconds."""

from __future__ import annotations

import msgspec

from relay_server.values import Attempt, EventSummary, Subscription, SubscriptionNumber


class ReplayProgress(msgspec.Struct, frozen=True):
    """What is known of a replay's deliveries beside its floor, up to which all are settled.

    Attributes:
        settled: Deliveries above the floor of which nothing more will be tried.
        begun: Those above the floor that were begun and are not settled.
        furthest: The last sequence that was begun; 0 for none.
        tried: Events of which an attempt has ended.
        dead: Those that were given up, while it runs.
        retrying: Those that wait for their next attempt.
        next_attempt_at: When the first of these is due; None without any.
        recent: Attempts that ended since the moment that was asked for.
    """

    settled: int = 0
    begun: int = 0
    furthest: int = 0
    tried: int = 0
    dead: int = 0
    retrying: int = 0
    next_attempt_at: int | None = None
    recent: int = 0


class DeadDelivery(msgspec.Struct, frozen=True):
    """A delivery that was given up."""

    subscription: SubscriptionNumber
    event: EventSummary
    reason: str
    attempts: int
    ended_at: int


class DeadReason(msgspec.Struct, frozen=True):
    """Deliveries of a subscription that were given up for one reason.

    Attributes:
        first_at, last_at: When the first and the last of them were.
    """

    reason: str
    count: int
    first_at: int
    last_at: int


class RetryReason(msgspec.Struct, frozen=True):
    """Deliveries of a subscription that are tried again, as the last attempt failed for one reason.

    Attributes:
        since: Since when the first of them fails.
    """

    reason: str
    count: int
    since: int


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """How a subscription is doing.

    Attributes:
        backlog: Events that are not settled.
        retrying: How many of them wait for their next attempt.
        next_attempt_at: When the first of these is due; None without any.
    """

    subscription: Subscription
    backlog: int
    oldest_waiting_at: int | None
    dead: int
    retrying: int = 0
    next_attempt_at: int | None = None


class Came(msgspec.Struct, frozen=True):
    """What was received since a moment and waits for its first attempt.

    Attributes:
        oldest_at: When the oldest of it was received; None for nothing.
    """

    events: int = 0
    oldest_at: int | None = None


class ChannelStatus(msgspec.Struct, frozen=True):
    """How full a channel is."""

    channel: str
    events: int
    bytes: int  # of its events' bodies and heads
    dropped: int  # events that went undelivered to make room, ever
    last_received_at: int | None


class Replica(msgspec.Struct, frozen=True):
    """One of the servers that share a store.

    Attributes:
        name: Its host, and what tells it from others there.
        version: Its own; empty before it has said so.
        since: When it began, by the database's clock.
        seen_ms: How long ago it wrote that it is there.
        alive: It did lately; else it stopped, died, or does not reach the database.
        spooled: Webhooks that wait on its disk until the database takes them.
        stuck: Those there that it did not take.
        spool_oldest_at: When the first that waits was received.
        announced: Whether it says where the others reach it.
    """

    name: str
    version: str
    since: int
    seen_ms: int
    alive: bool
    spooled: int
    stuck: int
    spool_oldest_at: int | None
    announced: bool


class Neighbour(msgspec.Struct, frozen=True):
    """Another server of the same store, and where it says that others reach it; sealed."""

    name: str
    address: str


class Missed(msgspec.Struct, frozen=True):
    """That another server is not reached: for how long, what was met, and what to do about it."""

    for_s: float
    why: str
    fix: str


class Unreached(msgspec.Struct, frozen=True):
    """A server that cannot reach another one, though both are there.

    Attributes:
        by: The server that cannot.
        since: Unix milliseconds, by the database's clock.
        why: What it met, and what to do about it: a sentence each.
    """

    by: str
    other: str
    since: int
    why: str
    fix: str


class Standby(msgspec.Struct, frozen=True):
    """A database that follows the primary.

    Attributes:
        state: `streaming` while it does; empty where the store's role may not see it.
        sync: `sync` or `quorum` where commits wait for it, else `async` or `potential`.
        lag_bytes: Of the primary's log, that it has not applied.
        lag_ms: How late it applied what was written last; null where that is not known.
    """

    name: str
    state: str
    sync: str
    lag_bytes: int | None
    lag_ms: int | None


class DatabaseStatus(msgspec.Struct, frozen=True):
    """How the database is that servers share, and which these are.

    Attributes:
        primary: Its host and port.
        timeline: Raised by one with each promotion.
    """

    primary: str
    timeline: int
    standbys: tuple[Standby, ...]
    replicas: tuple[Replica, ...]
    unreached: tuple[Unreached, ...]


class DeliveryState(msgspec.Struct, frozen=True):
    """What became of one event for one subscription."""

    subscription: str
    state: str  # "pending", "skipped" (by its filter), "expired", or a `MarkState` in lower case
    attempts: tuple[Attempt, ...]
    reason: str = ""
    due_at: int = 0
    replay: int = 0  # number of the replay that it is a delivery of; 0 for the subscription's own
    steps: tuple[Attempt, ...] = ()  # of the hand-off of its conversation that it began, in order
