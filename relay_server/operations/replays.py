"""Replays begun, found and stopped: events that subscriptions are to get again."""

from __future__ import annotations

from collections.abc import Sequence

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import MAX_KEY_CHARS, MAX_KIND_CHARS
from relay_server.errors import Forbidden, InvalidValue, NothingSelected, ReplayNotFound
from relay_server.operations import Parts, subscriptions
from relay_server.operations.callers import Caller, readable_channel
from relay_server.values import (
    MAX_SEQUENCE,
    Channel,
    MarkState,
    Replay,
    ReplayState,
    Selection,
    Subscription,
)

# Deliveries a second: leaves most of the store and the target to live traffic.
DEFAULT_REPLAY_RATE_PER_S = 200.0
MIN_REPLAY_RATE_PER_S = 0.1  # of a replay's `--rate-per-s`
MAX_REPLAY_RATE_PER_S = 1_000.0  # of a replay's `--rate-per-s`
MAX_TEXT_CHARS = 1_000  # of a replay's `--text`

Replays = list[tuple[Replay, Subscription]]


async def begin(
    parts: Parts,
    who: Caller,
    channel: Channel,
    subscription: str | None,
    selection: Selection,
    rate_per_s: float,
) -> Replays:
    """Begin a replay for one subscription, or one for each that the caller may replay to.

    Of what is dead, it is for those alone for whom something is. Either all begin, or none does.

    Raises:
        NothingSelected: It is for nobody.
        TooManyReplays: As many as may run for one of them do.
    """
    targets = await _targets(parts, who, channel, subscription)
    if selection.dead:
        names = await _with_dead(parts, channel, selection.sequences)
        targets = [target for target in targets if target.name in names]
        if not targets:
            raise NothingSelected("none of these deliveries is dead")
    made, now = Replays(), parts.clock.unix_ms()
    try:
        for target in targets:
            replay = await parts.store.create_replay(target, selection, rate_per_s, now, who.name)
            made.append((replay, target))
    except RelayError:
        # What was made is stopped again: nobody is to guess which of them began.
        for replay, _ in made:
            await parts.store.end_replay(replay.number, ReplayState.STOPPED, now)
        raise
    return made


async def listed(parts: Parts, who: Caller, channel: str | None, *, running: bool) -> Replays:
    """The newest replays, of channels that the caller may read."""
    if channel is not None:
        readable_channel(parts, who, channel)
    readable = {
        s.number: s
        for s in await parts.store.subscriptions(channel)
        if _may_read(parts, who, s.channel)
    }
    found = await parts.store.replays(running=running)
    return [(r, readable[r.subscription]) for r in found if r.subscription in readable]


async def find(parts: Parts, who: Caller, number: int) -> tuple[Replay, Subscription]:
    """A replay by the number that people see, however old.

    Raises:
        ReplayNotFound: There is none; also when it is not for the caller.
    """
    # The store counts replays downwards: its readers are subscriptions and replays alike.
    replay = await parts.store.replay(-number)
    for subscription in await parts.store.subscriptions():
        if subscription.number == replay.subscription and _may_read(
            parts, who, subscription.channel
        ):
            return replay, subscription
    raise ReplayNotFound(number)


async def stop(parts: Parts, who: Caller, number: int) -> tuple[Replay, Subscription]:
    """Stop a replay; one that has ended stays as it is.

    Raises:
        ReplayNotFound: There is none; also when it is not for the caller.
        Forbidden: Somebody else began it.
    """
    replay, subscription = await find(parts, who, number)
    if not who.admin and replay.made_by != who.name:
        raise Forbidden("somebody else began this replay: stopping it takes the scope admin")
    now = parts.clock.unix_ms()
    replay = await parts.store.end_replay(replay.number, ReplayState.STOPPED, now)
    return replay, subscription


def check_rate(rate_per_s: float) -> float:
    """Return a replay's rate if it is possible.

    Raises:
        InvalidValue: It is not.
    """
    if not MIN_REPLAY_RATE_PER_S <= rate_per_s <= MAX_REPLAY_RATE_PER_S:
        bounds = f"{MIN_REPLAY_RATE_PER_S:g} to {MAX_REPLAY_RATE_PER_S:g}"
        raise InvalidValue(f"a replay makes {bounds} deliveries a second")
    return rate_per_s


def check_selection(selection: Selection, *, everything: bool) -> Selection:
    """Return a selection if it is possible; everything there is must be asked for as such.

    Raises:
        InvalidValue: It is not.
    """
    if everything and selection != Selection():
        raise InvalidValue("`all` goes with no other condition: leave one of them out")
    if not everything and selection == Selection():
        raise InvalidValue("say which events are to be replayed; every one of them is `all`")
    _check_ends("sequence", selection.first, selection.last, 1, MAX_SEQUENCE)
    _check_ends("time", selection.received_from, selection.received_before, 0, MAX_UNIX_MS)
    for name, text, limit in (
        ("kind", selection.kind, MAX_KIND_CHARS),
        ("key", selection.key, MAX_KEY_CHARS),
        ("text", selection.text, MAX_TEXT_CHARS),
    ):
        if text is not None and len(text) > limit:
            raise InvalidValue(f"a {name} to select by has up to {limit} characters")
    return selection


def _check_ends(what: str, first: int | None, last: int | None, low: int, high: int) -> None:
    for end in (first, last):
        if end is not None and not low <= end <= high:
            raise InvalidValue(f"{end} is no {what}")
    if first is not None and last is not None and first > last:
        raise InvalidValue(f"the first {what} comes after the last one")


async def _targets(
    parts: Parts, who: Caller, channel: Channel, name: str | None
) -> list[Subscription]:
    if name is not None:
        subscription = await subscriptions.find(parts, channel.name, name)
        who.check_reader(subscription)
        return [subscription]
    known = await parts.store.subscriptions(channel.name)
    found = [s for s in known if who.admin or s.config.forward is None]
    if not found:
        raise NothingSelected(f"nobody has subscribed to {channel.name} yet")
    return found


async def _with_dead(parts: Parts, channel: Channel, sequences: Sequence[int]) -> set[str]:
    """Names of the subscriptions for which one of these events is dead; without any, one of all."""
    if sequences:
        dead = MarkState.DEAD.name.lower()
        found = await parts.store.deliveries(channel.number, sequences)
        own = (d for states in found for d in states if not d.replay)
        return {delivery.subscription for delivery in own if delivery.state == dead}
    known = [s.number for s in await parts.store.subscriptions(channel.name)]
    statuses = await parts.store.subscription_status(known)
    return {status.subscription.name for status in statuses if status.dead}


def _may_read(parts: Parts, who: Caller, name: str) -> bool:
    channel = parts.store.catalog.channels.get(name)
    return channel is not None and who.may_read(channel)
