"""Subscriptions, and what was given up for them; requests that were refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from typing import NamedTuple

from aiohttp import web

from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations import MAX_LISTED
from relay_server.operations.refused import RefusedFields, list_refused
from relay_server.operations.replays import (
    Chosen,
    DeadPage,
    DeadView,
    Discarded,
    NewReplay,
    create_replays,
    discard_dead,
    list_dead,
)
from relay_server.operations.server import status
from relay_server.operations.subscriptions import (
    SubscriptionFields,
    change_subscription,
    pause_subscription,
    resume_subscription,
)
from relay_terminal.words import _


class DeadGroup(NamedTuple):
    """Deliveries of a subscription that were given up for one reason."""

    channel: str
    subscription: str
    reason: str
    rows: list[DeadView]

    @property
    def first_at(self) -> int:
        """When the first of them was given up."""
        return min(one.ended_at for one in self.rows)

    @property
    def last_at(self) -> int:
        """When the last of them was."""
        return max(one.ended_at for one in self.rows)

    def among(self, meant: Container[tuple[str, str, str]]) -> DeadGroup:
        """Those of it that are meant, by channel, subscription and event."""
        own = (self.channel, self.subscription)
        return self._replace(rows=[one for one in self.rows if (*own, one.id) in meant])


async def subscriptions(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /subscriptions`."""
    found = (await status(visitor.who)).subscriptions
    mine = sorted(found, key=lambda one: (one.channel, one.name != visitor.who.name, one.name))
    return render(request, "subscriptions.html", visitor=visitor, subscriptions=mine)


async def change(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /subscriptions/{channel}/{name}`: pause it, go on with it, or sign it anew or not."""
    channel, name = request.match_info["channel"], request.match_info["name"]
    match fields.get("do"):
        case "pause":
            await pause_subscription(visitor.who, channel, name)
        case "sign" | "leave" as signing:
            signed = SubscriptionFields(resign=signing == "sign")
            await change_subscription(visitor.who, channel, name, signed)
        case _:
            await resume_subscription(visitor.who, channel, name)
    return see("/subscriptions")


async def dead(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /dead`: by subscription and reason, that with most first."""
    found = await _groups(visitor)
    full = sum(len(group.rows) for group in found) == MAX_LISTED
    return render(request, "dead.html", visitor=visitor, groups=found, full=full)


async def settle_dead(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /dead/{channel}/{name}`: deliver what is dead after all, or let go of it, once sure."""
    channel, name = request.match_info["channel"], request.match_info["name"]
    ids = tuple(filter(None, fields.get("events", "").split(",")))
    if not ids:
        raise InvalidValue(_("the page names no delivery: load it again, and press once more"))
    if fields.get("do") != "discard":
        chosen = Chosen(events=ids, dead=True)
        await create_replays(visitor.who, NewReplay(chosen, channel, name))
    elif "sure" in fields:
        which = Discarded(channel=channel, subscription=name, events=list(ids))
        await discard_dead(visitor.who, which)
    else:
        meant = {(channel, name, id_) for id_ in ids}
        groups = [group.among(meant) for group in await _groups(visitor)]
        groups = [group for group in groups if group.rows]
        return render(request, "discard.html", visitor=visitor, groups=groups)
    return see("/dead")


async def _groups(visitor: Visitor) -> list[DeadGroup]:
    """What is dead, by subscription and reason; the largest group first."""
    groups = defaultdict[tuple[str, str, str], list[DeadView]](list)
    for one in (await list_dead(visitor.who, DeadPage(limit=MAX_LISTED))).dead:
        groups[one.channel, one.subscription, one.reason].append(one)
    found = [DeadGroup(*key, rows) for key, rows in groups.items()]
    return sorted(found, key=lambda group: -len(group.rows))


async def refused(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /refused`: who was not let in, and what mends it."""
    report = await list_refused(visitor.who, RefusedFields(request.query.get("channel") or None))
    return render(request, "refused.html", visitor=visitor, report=report)


routes = [
    web.get("/subscriptions", page(subscriptions)),
    web.post("/subscriptions/{channel}/{name}", form(change)),
    web.get("/dead", page(dead)),
    web.post("/dead/{channel}/{name}", form(settle_dead)),
    web.get("/refused", page(refused)),
]
