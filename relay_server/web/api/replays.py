"""Replays: events that subscriptions are to get again."""

from __future__ import annotations

import msgspec
from aiohttp import web

from relay_server.errors import InvalidValue
from relay_server.operations import events, replays
from relay_server.values import Selection
from relay_server.web import views
from relay_server.web.access import caller
from relay_server.web.api.requests import MAX_NUMBER_CHARS, answer, flag, is_number, read
from relay_server.web.context import CONTEXT

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
    """Fields of a request for replays.

    Attributes:
        channel: Left out, that of the events that are named, or else the default channel.
        subscription: Who gets them; None for every subscription of the channel.
    """

    selection: SelectionFields
    channel: str | None = None
    subscription: str | None = None
    rate_per_s: float = replays.DEFAULT_REPLAY_RATE_PER_S


@routes.post("/api/v1/replays")
async def create_replays(request: web.Request) -> web.Response:
    """Begin a replay, one for each subscription that is meant."""
    who, context = caller(request), request.app[CONTEXT]
    fields = await read(request, ReplayFields)
    conditions = msgspec.structs.asdict(fields.selection)
    ids, everything = conditions.pop("events"), conditions.pop("all")
    rate = replays.check_rate(fields.rate_per_s)
    channel, sequences = await events.find_all(context, who, fields.channel, ids)
    selection = replays.check_selection(Selection(sequences, **conditions), everything=everything)
    begun = await replays.begin(context, who, channel, fields.subscription, selection, rate)
    return answer({"replays": [views.replay(context, *one) for one in begun]}, status=201)


@routes.get("/api/v1/replays")
async def list_replays(request: web.Request) -> web.Response:
    """The newest replays, of channels that the caller may read."""
    context, who = request.app[CONTEXT], caller(request)
    channel, running = request.query.get("channel"), flag(request, "running")
    found = await replays.listed(context, who, channel, running=running)
    return answer({"replays": [views.replay(context, *one) for one in found]})


@routes.get("/api/v1/replays/{number}")
async def show_replay(request: web.Request) -> web.Response:
    """One replay."""
    context, who = request.app[CONTEXT], caller(request)
    return answer(views.replay(context, *await replays.find(context, who, _number(request))))


@routes.delete("/api/v1/replays/{number}")
async def stop_replay(request: web.Request) -> web.Response:
    """Stop a replay; one that has ended stays as it is."""
    context, who = request.app[CONTEXT], caller(request)
    return answer(views.replay(context, *await replays.stop(context, who, _number(request))))


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    if not is_number(text):
        raise InvalidValue(f"{text[:MAX_NUMBER_CHARS]!r} is no replay's number")
    return int(text)
