"""How far a replay is, as people see it.

What is settled counts, not the floor: one event that is tried again for hours holds the floor down
while everything behind it is delivered. Of a replay by conditions nobody knows how many events it
is for before it has looked at all of them: it counts what it passed, by sequence.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import msgspec

from relay_server.operations import Caller
from relay_server.reported import ReplayProgress
from relay_server.values import Conditions, Replay, ReplayState, Selection, Subscription

RECENT_MS = 10_000  # whose attempts say how fast a replay is


class Conditioned(Conditions, frozen=True, omit_defaults=True, kw_only=True):
    """The conditions that are set; of events that are named, how many."""

    events: int = 0


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and how far it is; whoever watches it sees whether anybody reads.

    Attributes:
        state: `running`, `done` or `stopped`.
        at_most: How many events it may be for.
        dead: Given up.
        percent: Of what it goes through, what is delivered, dead, or not meant.
        retrying: How many wait for their next attempt, the first of them at `next_attempt_at`.
        left_s: About how long the rest takes, beside what is tried again; null where nobody knows.
        made_by: Name of a token; empty for somebody on the host.
        connected, paused: Of its subscription.
    """

    number: int
    channel: str
    subscription: str
    state: str
    selection: Conditioned
    rate_per_s: float
    at_most: int
    delivered: int
    dead: int
    percent: float
    retrying: int
    next_attempt_at: int | None
    left_s: int | None
    made_by: str
    created_at: int
    ended_at: int | None
    connected: bool
    paused: str


async def views_of(who: Caller, replays: Sequence[tuple[Replay, Subscription]]) -> list[ReplayView]:
    """Replays as whoever may read their channels sees them, with their subscriptions."""
    since = who.now() - RECENT_MS
    known = await who.store.replay_progress([replay.number for replay, _ in replays], since)
    nothing = ReplayProgress()
    return [replay_view(who, r, s, known.get(r.number, nothing)) for r, s in replays]


def replay_view(
    who: Caller, replay: Replay, subscription: Subscription, progress: ReplayProgress
) -> ReplayView:
    readers = who.parts.hub.readers.state(subscription.number).readers
    paused = subscription.config.paused
    named, span = len(replay.selection.sequences), replay.until - replay.start
    whole, passed = (named or span), passed_of(replay, progress)
    is_running = replay.state is ReplayState.RUNNING
    # Marks of a replay go when it ends.
    dead = progress.dead if is_running else progress.tried - replay.delivered
    goes_on = is_running and readers > 0 and not paused
    conditions = {n: getattr(replay.selection, n) for n in Conditions.__struct_fields__}
    return ReplayView(
        number=-replay.number,
        channel=subscription.channel,
        subscription=subscription.name,
        state=replay.state.name.lower(),
        selection=Conditioned(events=named, **conditions),
        rate_per_s=replay.rate_per_s,
        at_most=min(named, span) if named else span,
        delivered=replay.delivered,
        dead=max(0, dead),
        percent=percent_of(replay, passed, whole),
        retrying=progress.retrying,
        next_attempt_at=progress.next_attempt_at,
        left_s=left_s(who, replay, progress, passed, whole) if goes_on else None,
        made_by=replay.made_by,
        created_at=replay.created_at,
        ended_at=replay.ended_at or None,
        connected=readers > 0,
        paused=paused,
    )


def passed_of(replay: Replay, progress: ReplayProgress) -> int:
    """Of the events that it is for, or of the sequences that it looks at, how many are settled."""
    floor, chosen = replay.floor, replay.selection
    if replay.state is ReplayState.STOPPED:
        floor = max(floor, progress.furthest)  # what was above its floor is known no more
    if chosen.sequences:
        return bisect.bisect_right(sorted(chosen.sequences), floor) + progress.settled
    if _takes_all(chosen) or progress.furthest <= floor:
        return floor - replay.start + progress.settled
    return max(floor, progress.furthest - progress.begun) - replay.start


def percent_of(replay: Replay, passed: int, whole: int) -> float:
    """It is 100 once the replay is done, and not before."""
    if replay.state is ReplayState.DONE or whole <= 0:
        return 100.0
    return min(99.9, round(100 * passed / whole, 1))


def left_s(
    who: Caller, replay: Replay, progress: ReplayProgress, passed: int, whole: int
) -> int | None:
    """Seconds until the rest is settled, as fast as of late; None where that says nothing."""
    settled = progress.tried - progress.retrying
    rest = whole - passed - progress.retrying
    if not progress.recent or passed <= 0 or settled <= 0 or rest <= 0:
        return None
    took_s = min(RECENT_MS, max(1_000, who.now() - replay.created_at)) / 1_000
    return round(rest * min(1.0, settled / passed) / (progress.recent / took_s))


def _takes_all(chosen: Selection) -> bool:
    """True if it is for every event between two ends."""
    return Selection(chosen.first, chosen.last) == chosen
