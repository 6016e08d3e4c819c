"""Dead deliveries: listed, and let go of. Replaying them is a replay."""

from __future__ import annotations

import msgspec
from aiohttp import web

from relay_server.errors import InvalidValue, NothingSelected
from relay_server.values import Channel, Subscription
from relay_server.web import views
from relay_server.web.access import Caller, admin, caller, readable_channel, visible_channels
from relay_server.web.api.events import MAX_LISTED
from relay_server.web.api.exchange import answer, number, read
from relay_server.web.api.replays import find_events
from relay_server.web.api.subscriptions import find_subscription
from relay_server.web.context import CONTEXT, Context

PAGE = 500

routes = web.RouteTableDef()


class DiscardFields(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead deliveries need not be delivered: those of events, or all there are.

    Attributes:
        channel: Left out, that of the events that are named, or else every channel.
        subscription: None for every one.
    """

    channel: str | None = None
    subscription: str | None = None
    events: list[str] = []
    all: bool = False


@routes.get("/api/v1/dead")
async def list_dead(request: web.Request) -> web.Response:
    """Dead deliveries, by channel, subscription and sequence."""
    who, context = caller(request), request.app[CONTEXT]
    limit, after = min(number(request, "limit", 50), MAX_LISTED), number(request, "after", 0)
    named = request.query.get("channel"), request.query.get("subscription")
    if after and None in named:
        raise InvalidValue("`after` goes with a channel and a subscription")
    lines = list[views.JsonObject]()
    for subscription in await _subscriptions(request, who, *named):
        room = limit - len(lines)
        found = await context.store.dead(subscription.number, after, room) if room > 0 else ()
        lines += [views.dead(subscription, delivery) for delivery in found]
    return answer({"dead": lines})


@routes.post("/api/v1/dead/discard")
async def discard_dead(request: web.Request) -> web.Response:
    """Say that dead deliveries need not be delivered: their events may go."""
    who, context = admin(request), request.app[CONTEXT]
    fields = await read(request, DiscardFields)
    if bool(fields.events) == fields.all:
        raise InvalidValue("say which events are meant, or `all`")
    name, sequences = fields.channel, tuple[int, ...]()
    if fields.events:
        channel, sequences = await find_events(request, who, name, fields.events)
        name = channel.name
    discarded = 0
    for subscription in await _subscriptions(request, who, name, fields.subscription):
        discarded += await _discard(context, subscription, sequences)
    if not discarded:
        raise NothingSelected("none of these deliveries is dead")
    return answer({"discarded": discarded})


async def _discard(context: Context, subscription: Subscription, sequences: tuple[int, ...]) -> int:
    """Those of the sequences that are dead, or all that are."""
    now = context.clock.unix_ms()
    if sequences:
        return await context.store.discard(subscription.number, sequences, now)
    discarded = 0
    while page := await context.store.dead(subscription.number, 0, PAGE):
        count = await context.store.discard(
            subscription.number, [d.event.sequence for d in page], now
        )
        discarded += count
        if not count:
            break  # somebody else is at it
    return discarded


async def _subscriptions(
    request: web.Request, who: Caller, channel: str | None, name: str | None
) -> list[Subscription]:
    """Those that are meant, by channel and name; a name that is nowhere is an error."""
    context = request.app[CONTEXT]
    channels: list[Channel] = visible_channels(context, who)
    if channel is not None:
        channels = [readable_channel(request, who, channel)]
        if name is not None:
            return [await find_subscription(context, channel, name)]
    readable = {c.name for c in channels}
    known = await context.store.subscriptions(channel)
    return [s for s in known if s.channel in readable and name in (None, s.name)]
