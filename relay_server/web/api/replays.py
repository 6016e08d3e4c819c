"""Replays: events that subscriptions are to get again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.errors import Forbidden, InvalidValue, NothingSelected, ReplayNotFound
from relay_server.replays import (
    DEFAULT_REPLAY_RATE_PER_S,
    MAX_NAMED_EVENTS,
    check_rate,
    check_selection,
)
from relay_server.values import Channel, Replay, ReplayState, Selection, Subscription
from relay_server.web import views
from relay_server.web.access import Caller, caller, readable_channel
from relay_server.web.api.events import find_readable
from relay_server.web.api.exchange import answer, flag, read
from relay_server.web.api.subscriptions import check_reader, find_subscription
from relay_server.web.context import CONTEXT, Context

MAX_NUMBER_CHARS = 15  # digits of a replay's number; more: 422

routes = web.RouteTableDef()


class SelectionFields(msgspec.Struct, forbid_unknown_fields=True):
    """Which events are meant; all conditions that are given must hold."""

    events: list[str] = []
    first: int | None = None
    last: int | None = None
    received_from: int | None = None
    received_before: int | None = None
    kind: str | None = None
    key: str | None = None
    text: str = ""
    dead: bool = False
    all: bool = False


class ReplayFields(msgspec.Struct, forbid_unknown_fields=True):
    """What makes a replay.

    Attributes:
        channel: Left out, that of the events that are named, or else the default channel.
        subscription: Who gets them; None for every subscription of the channel.
    """

    selection: SelectionFields
    channel: str | None = None
    subscription: str | None = None
    rate_per_s: float = DEFAULT_REPLAY_RATE_PER_S


@routes.post("/api/v1/replays")
async def create_replays(request: web.Request) -> web.Response:
    """Begin a replay, one for each subscription that is meant."""
    who, context = caller(request), request.app[CONTEXT]
    fields = await read(request, ReplayFields)
    rate = check_rate(fields.rate_per_s)
    channel, sequences = await find_events(request, who, fields.channel, fields.selection.events)
    selection = _selection(fields.selection, sequences)
    targets = await _targets(context, who, channel, fields.subscription)
    if selection.dead:
        targets = await _with_dead(context, channel, targets, sequences)
    made = await _create(context, who, targets, selection, rate)
    lines = [views.replay(context, r, s) for r, s in zip(made, targets, strict=True)]
    return answer({"replays": lines}, status=201)


@routes.get("/api/v1/replays")
async def list_replays(request: web.Request) -> web.Response:
    """The newest replays, of channels that the caller may read."""
    who, context = caller(request), request.app[CONTEXT]
    name = request.query.get("channel")
    if name is not None:
        readable_channel(request, who, name)
    readable = await _readable(context, who, name)
    found = await context.store.replays(running=flag(request, "running"))
    mine = [r for r in found if r.subscription in readable]
    return answer({"replays": [views.replay(context, r, readable[r.subscription]) for r in mine]})


@routes.get("/api/v1/replays/{number}")
async def show_replay(request: web.Request) -> web.Response:
    """One replay."""
    replay, subscription = await _numbered(request, caller(request))
    return answer(views.replay(request.app[CONTEXT], replay, subscription))


@routes.delete("/api/v1/replays/{number}")
async def stop_replay(request: web.Request) -> web.Response:
    """Stop a replay; one that has ended stays as it is."""
    who, context = caller(request), request.app[CONTEXT]
    replay, subscription = await _numbered(request, who)
    if not who.admin and replay.made_by != who.name:
        raise Forbidden("somebody else began this replay: stopping it takes the scope admin")
    now = context.clock.unix_ms()
    replay = await context.store.end_replay(replay.number, ReplayState.STOPPED, now)
    return answer(views.replay(context, replay, subscription))


async def find_events(
    request: web.Request, who: Caller, name: str | None, ids: Sequence[str]
) -> tuple[Channel, tuple[int, ...]]:
    """The one channel that is meant, and the sequences of the events that are named.

    Raises:
        ChannelNotFound: There is none of this name that the caller may read.
        EventNotFound: There is no such event, or it is not for the caller.
        InvalidValue: They are of several channels, or too many.
    """
    if len(ids) > MAX_NAMED_EVENTS:
        raise InvalidValue(f"at most {MAX_NAMED_EVENTS} events can be named at once")
    found = [await find_readable(request.app[CONTEXT], who, id_) for id_ in ids]
    if name is None:
        name = found[0][0].name if found else request.app[CONTEXT].settings.default_channel
    channel = readable_channel(request, who, name)
    for of, event in found:
        if of.number != channel.number:
            raise InvalidValue(f"{event.head.id} is of {of.name}, not of {channel.name}")
    return channel, tuple(sorted({event.head.sequence for _, event in found}))


async def dead_names(context: Context, channel: Channel, sequences: Sequence[int]) -> set[str]:
    """The subscriptions for which one of these events is dead; without any, one of all."""
    if sequences:
        found = await context.store.deliveries(channel.number, sequences)
        return {d.subscription for states in found for d in states if views.is_dead(d)}
    statuses = await context.store.subscription_status()
    mine = [s for s in statuses if s.subscription.channel == channel.name]
    return {s.subscription.name for s in mine if s.dead}


def _selection(fields: SelectionFields, sequences: tuple[int, ...]) -> Selection:
    selection = Selection(
        sequences,
        fields.first,
        fields.last,
        fields.received_from,
        fields.received_before,
        fields.kind,
        fields.key,
        fields.text,
        fields.dead,
    )
    return check_selection(selection, everything=fields.all)


async def _targets(
    context: Context, who: Caller, channel: Channel, name: str | None
) -> list[Subscription]:
    """Those who get it: the one that is named, or all that the caller may replay to."""
    if name is not None:
        subscription = await find_subscription(context, channel.name, name)
        check_reader(who, subscription)
        return [subscription]
    known = await context.store.subscriptions(channel.name)
    found = [s for s in known if who.admin or s.config.forward is None]
    if not found:
        raise NothingSelected(f"nobody has subscribed to {channel.name} yet")
    return found


async def _with_dead(
    context: Context, channel: Channel, targets: Iterable[Subscription], sequences: Sequence[int]
) -> list[Subscription]:
    names = await dead_names(context, channel, sequences)
    found = [s for s in targets if s.name in names]
    if not found:
        raise NothingSelected("none of these deliveries is dead")
    return found


async def _create(
    context: Context,
    who: Caller,
    targets: Sequence[Subscription],
    selection: Selection,
    rate_per_s: float,
) -> list[Replay]:
    """All of them, or none."""
    made, now = list[Replay](), context.clock.unix_ms()
    try:
        for target in targets:
            made.append(
                await context.store.create_replay(target, selection, rate_per_s, now, who.name)
            )
    except RelayError:
        for replay in made:
            await context.store.end_replay(replay.number, ReplayState.STOPPED, now)
        raise
    return made


async def _readable(
    context: Context, who: Caller, channel: str | None = None
) -> dict[int, Subscription]:
    """Subscriptions of channels that the caller may read, by number."""
    channels = context.store.catalog.channels
    return {
        s.number: s
        for s in await context.store.subscriptions(channel)
        if s.channel in channels and who.may_read(channels[s.channel])
    }


async def _numbered(request: web.Request, who: Caller) -> tuple[Replay, Subscription]:
    context, text = request.app[CONTEXT], request.match_info["number"]
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_NUMBER_CHARS:
        raise InvalidValue(f"{text[:MAX_NUMBER_CHARS]!r} is no replay's number")
    readable = await _readable(context, who)
    running = await context.store.replays(running=True)
    for replay in (*running, *await context.store.replays()):
        if replay.number == -int(text) and replay.subscription in readable:
            return replay, readable[replay.subscription]
    raise ReplayNotFound(int(text))
