"""Replays, which are events that subscriptions are to get again; and what is dead."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_UNIX_MS
from relay_server.channels import MAX_KEY_CHARS, MAX_KIND_CHARS
from relay_server.delivery.retry import REASON_CHARS
from relay_server.errors import Forbidden, InvalidValue, NothingSelected, ReplayNotFound
from relay_server.filters.language import check_standing
from relay_server.operations import Caller, Plan, events
from relay_server.operations.audit import audited
from relay_server.operations.finding import Found
from relay_server.operations.listing import rows_of
from relay_server.operations.progress import ReplayView, views_of
from relay_server.store.rules import SAMPLE
from relay_server.values import (
    MAX_SEQUENCE,
    Channel,
    Conditions,
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
MAX_NUMBER_CHARS = 15  # digits of a number in a query or of a replay's; more: 422


class Chosen(Conditions, frozen=True, forbid_unknown_fields=True):
    """Which events are meant: these ids alone, by conditions, or every one."""

    events: tuple[str, ...] = ()
    all: bool = False


class NewReplay(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be replayed.

    Attributes:
        channel: Left out, that of the events that are named, or else the default channel.
        subscription: Who gets them; None for every subscription of the channel.
        dry_run: Nothing is to begin: it is only said what would.
    """

    selection: Chosen
    channel: str | None = None
    subscription: str | None = None
    rate_per_s: float = DEFAULT_REPLAY_RATE_PER_S
    dry_run: bool = False


class ReplayPage(msgspec.Struct):
    """Which replays are listed: the newest, of one channel or of all, those that run or all."""

    channel: str | None = None
    running: bool = False


class Replays(msgspec.Struct):
    """Replays, the newest first."""

    replays: list[ReplayView]


class PlannedReplay(msgspec.Struct, frozen=True):
    """How many events one subscription would get."""

    subscription: str
    at_most: int


class ReplayPlan(Plan, frozen=True):
    """What replays would be for, if they began now.

    Attributes:
        at_most: Deliveries of all of them.
        sample: Of the events the first five, the last of them first.
        complete: All events were looked at; otherwise those that were not count as selected.
    """

    channel: str
    at_most: int
    by_subscription: list[PlannedReplay]
    sample: list[events.EventRow]
    complete: bool


@audited("replay.begin")
async def create_replays(who: Caller, new: NewReplay) -> Replays | ReplayPlan:
    """Begin a replay for one subscription, or one for each that the caller may replay to.

    Of what is dead, it is for those alone for whom something is. Either all begin, or none does.
    With `dry_run` none does.

    Raises:
        NothingSelected: It is for nobody.
        TooManyReplays: As many as may run for one of them do.
    """
    _check_rate(new.rate_per_s)
    channel, sequences = await events.find_events(who, new.channel, new.selection.events)
    selection = _selection(new.selection, sequences, who.now())
    targets = await _targets(who, channel, new.subscription)
    if selection.dead:
        names = await _with_dead(who, channel, sequences)
        targets = [target for target in targets if target.name in names]
        if not targets:
            raise NothingSelected("none of these deliveries is dead")
    if new.dry_run:
        return await _plan(who, channel, targets, selection)
    made, now = list[Replay](), who.now()
    try:
        for target in targets:
            made.append(
                await who.store.create_replay(target, selection, new.rate_per_s, now, who.name)
            )
    except RelayError:
        # What was made is stopped again: nobody is to guess which of them began.
        for replay in made:
            await who.store.end_replay(replay.number, ReplayState.STOPPED, now)
        raise
    return Replays(await views_of(who, list(zip(made, targets, strict=True))))


async def _plan(
    who: Caller, channel: Channel, targets: Sequence[Subscription], selection: Selection
) -> ReplayPlan:
    """What is selected is the same for all of them, but for what is dead."""
    previews = [await who.store.preview(targets[0], selection)]
    for target in targets[1:]:
        same = previews[0] if not selection.dead else None
        previews.append(same or await who.store.preview(target, selection))
    found = sorted({sequence for preview in previews for sequence in preview.sample})
    return ReplayPlan(
        channel.name,
        sum(preview.at_most for preview in previews),
        [PlannedReplay(t.name, p.at_most) for t, p in zip(targets, previews, strict=True)],
        await rows_of(who, channel, Found(0, found[:SAMPLE])),
        all(preview.complete for preview in previews),
    )


async def list_replays(who: Caller, page: ReplayPage) -> Replays:
    """The newest replays, of channels that the caller may read."""
    if page.channel is not None:
        who.channel(page.channel)
    known = await who.store.subscriptions(page.channel)
    readable = {s.number: s for s in known if _may_read(who, s)}
    found = await who.store.replays(running=page.running)
    mine = [(r, readable[r.subscription]) for r in found if r.subscription in readable]
    return Replays(await views_of(who, mine))


async def show_replay(who: Caller, number: str) -> ReplayView:
    """One replay."""
    return await _view(who, *await find_replay(who, number))


@audited("replay.stop")
async def stop_replay(who: Caller, number: str) -> ReplayView:
    """Stop a replay of one's own, or as an administrator any; one that has ended stays so."""
    replay, subscription = await find_replay(who, number)
    if not who.admin and replay.made_by != who.name:
        raise Forbidden("somebody else began this replay: stopping it takes the scope admin")
    ended = await who.store.end_replay(replay.number, ReplayState.STOPPED, who.now())
    return await _view(who, ended, subscription)


async def _view(who: Caller, replay: Replay, subscription: Subscription) -> ReplayView:
    [view] = await views_of(who, [(replay, subscription)])
    return view


async def find_replay(who: Caller, number: str) -> tuple[Replay, Subscription]:
    """A replay by the number that people see, however old; `ReplayNotFound` for others."""
    if not is_number(number):
        raise InvalidValue(f"{number[:MAX_NUMBER_CHARS]!r} is no replay's number")
    # The store counts replays downwards: its readers are subscriptions and replays alike.
    replay = await who.store.replay(-int(number))
    for subscription in await who.store.subscriptions():
        if subscription.number == replay.subscription and _may_read(who, subscription):
            return replay, subscription
    raise ReplayNotFound(-replay.number)  # as the store writes one that is not there


def is_number(text: str) -> bool:
    """True if this is a number as a query or path says it."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_CHARS


def _check_rate(rate_per_s: float) -> None:
    if not MIN_REPLAY_RATE_PER_S <= rate_per_s <= MAX_REPLAY_RATE_PER_S:
        bounds = f"{MIN_REPLAY_RATE_PER_S:g} to {MAX_REPLAY_RATE_PER_S:g}"
        raise InvalidValue(f"a replay makes {bounds} deliveries a second")


def _selection(chosen: Chosen, sequences: tuple[int, ...], now: int) -> Selection:
    """What is chosen, if that is possible; everything there is must be asked for as such."""
    given = {n: getattr(chosen, n) for n in Conditions.__struct_fields__}
    given["q"] = check_standing(chosen.q, now)
    selection = Selection(sequences=sequences, **given)
    if chosen.all and selection != Selection():
        raise InvalidValue("`all` goes with no other condition: leave one of them out")
    if not chosen.all and selection == Selection():
        raise InvalidValue("say which events are to be replayed; every one of them is `all`")
    _check_ends("sequence", selection.first, selection.last, 1, MAX_SEQUENCE)
    _check_ends("time", selection.received_from, selection.received_before, 0, MAX_UNIX_MS)
    if chosen.reason is not None and not chosen.dead:
        raise InvalidValue("`reason` goes with `dead`")
    limits = {
        "kind": MAX_KIND_CHARS,
        "key": MAX_KEY_CHARS,
        "text": MAX_TEXT_CHARS,
        "reason": REASON_CHARS,
    }
    for name, limit in limits.items():
        if len(given[name] or "") > limit:
            raise InvalidValue(f"a {name} to select by has up to {limit} characters")
    return selection


def _check_ends(what: str, first: int | None, last: int | None, low: int, high: int) -> None:
    for end in (first, last):
        if end is not None and not low <= end <= high:
            raise InvalidValue(f"{end} is no {what}")
    if first is not None and last is not None and first > last:
        raise InvalidValue(f"the first {what} comes after the last one")


async def _targets(who: Caller, channel: Channel, name: str | None) -> list[Subscription]:
    if name is not None:
        subscription = await who.subscription(channel.name, name)
        who.check_reader(subscription)
        return [subscription]
    known = await who.store.subscriptions(channel.name)
    found = [s for s in known if who.admin or s.config.forward is None]
    if not found:
        raise NothingSelected(f"nobody has subscribed to {channel.name} yet")
    return found


async def _with_dead(who: Caller, channel: Channel, sequences: Sequence[int]) -> set[str]:
    """Names of the subscriptions for which one of these events is dead; without any, one of all."""
    if sequences:
        dead = MarkState.DEAD.name.lower()
        found = await who.store.deliveries(channel.number, sequences)
        own = (d for states in found for d in states if not d.replay)
        return {delivery.subscription for delivery in own if delivery.state == dead}
    known = [s.number for s in await who.store.subscriptions(channel.name)]
    statuses = await who.store.subscription_status(known)
    return {status.subscription.name for status in statuses if status.dead}


def _may_read(who: Caller, subscription: Subscription) -> bool:
    return who.may_read(who.store.catalog.channels.get(subscription.channel))
