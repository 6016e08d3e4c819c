"""Subscriptions, and requests that were refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web

from relay_server.dashboard.dead import replays_lately
from relay_server.dashboard.events import number
from relay_server.dashboard.overview import LATE_MS
from relay_server.dashboard.rendering import render
from relay_server.dashboard.sure import Question, ask
from relay_server.dashboard.visit import TOO_OLD, Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations.channels import channel_view
from relay_server.operations.clients import Client, Pace, clients_of, paces_of
from relay_server.operations.dead import DeadGroup, DeadPage, group_dead
from relay_server.operations.refused import RefusedFields, allow_address, list_refused, may_allow
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.server import status
from relay_server.operations.subscriptions import (
    BY_HAND,
    SubscriptionFields,
    SubscriptionView,
    Until,
    change_subscription,
    mine_first,
    pause_subscription,
    resume_subscription,
    retry_reasons,
    show_subscription,
    skip_waiting,
)
from relay_server.reported import RetryReason
from relay_terminal.words import N_, _, plural

VERY_LATE_MS = 600_000  # after which what waits is worse than late
HOUR_MS = 3_600_000
SPANS = {  # back from now, of which events can be replayed
    "1h": (N_("last hour"), HOUR_MS),
    "24h": (N_("last 24 h"), 24 * HOUR_MS),
    "7d": (N_("last 7 days"), 168 * HOUR_MS),
}

_Name = tuple[str, str]  # a subscription's: its channel's, and its own


class Line(NamedTuple):
    """A subscription in the list of all.

    Attributes:
        reasons: Why deliveries of it are dead; why most are first.
        retried: Why those failed that are tried again, likewise.
        may_replay: The visitor may have events delivered to it once more.
        clients: That read it: the machine of each, and its version.
        pace: How fast it goes, where something waits and is delivered.
    """

    of: SubscriptionView
    reasons: list[DeadGroup]
    retried: Sequence[RetryReason]
    may_replay: bool
    clients: str
    pace: Pace | None


async def subscriptions(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /subscriptions`."""
    who, found = visitor.who, (await status(visitor.who)).subscriptions
    dead = defaultdict[_Name, list[DeadGroup]](list)
    for group in (await group_dead(who, DeadPage())).groups if any(s.dead for s in found) else ():
        dead[group.channel, group.subscription].append(group)
    machines = defaultdict[_Name, list[str]](list)
    for client in clients_of(who):
        machines[client.channel, client.subscription].append(_machine(client))
    paces = paces_of(who, {(one.channel, one.name): one.backlog for one in found})
    lines = [
        Line(
            one,
            dead[one.channel, one.name],
            await retry_reasons(who, one) if one.retrying else (),
            who.admin or not one.forward,
            ", ".join(machines[one.channel, one.name]),
            paces.get((one.channel, one.name)),
        )
        for one in mine_first(who, found)
    ]
    return render(
        request,
        "subscriptions.html",
        visitor=visitor,
        lines=lines,
        late_ms=LATE_MS,
        very_late_ms=VERY_LATE_MS,
        by_hand=BY_HAND,
        spans={span: _(said) for span, (said, _ms) in SPANS.items()},
        replays=await replays_lately(who),
    )


def _machine(client: Client) -> str:
    return f"{client.host} ({client.version})" if client.version else client.host


async def change(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /subscriptions/{channel}/{name}`: what one does to it."""
    who, channel, name = visitor.who, request.match_info["channel"], request.match_info["name"]
    match fields.get("do"):
        case "pause":
            await pause_subscription(who, channel, name)
        case "sign" | "leave" as signing:
            signed = SubscriptionFields(resign=signing == "sign")
            await change_subscription(who, channel, name, signed)
        case "skip":
            return await _skip(request, visitor, fields)
        case "replay":
            since = who.now() - _span_ms(fields.get("since", ""))
            await create_replays(who, NewReplay(Chosen(received_from=since), channel, name))
        case "resume":
            await resume_subscription(who, channel, name)
        case _:
            raise InvalidValue(_(TOO_OLD))
    return see("/subscriptions")


def _span_ms(span: str) -> int:
    if span not in SPANS:
        raise InvalidValue(_(TOO_OLD))
    return SPANS[span][1]


async def _skip(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """Skip what waits, once sure; what comes meanwhile is not part of it."""
    who, channel, name = visitor.who, request.match_info["channel"], request.match_info["name"]
    if "sure" in fields:
        await skip_waiting(who, channel, name, Until(number(fields.get("up_to", ""))))
        return see("/subscriptions")
    count = (await show_subscription(who, channel, name)).backlog
    question = Question(
        plural("Skip {number} event that waits?", "Skip {number} events that wait?", count),
        [channel, name],
        _("It goes on with what comes. What is skipped stays, and can be replayed."),
        action=f"/subscriptions/{channel}/{name}",
        fields={"up_to": str(who.store.newest(who.channel(channel).number))},
        do="skip",
        button=_("Skip"),
        keep=_("Keep them"),
        back="/subscriptions",
        things=count,
    )
    return ask(request, visitor, question, fields)


async def refused(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /refused`: who was not let in, and what mends it."""
    report = await list_refused(visitor.who, RefusedFields(request.query.get("channel") or None))
    told = request.query.get("told", "")
    return render(
        request, "refused.html", visitor=visitor, report=report, may_allow=may_allow, told=told
    )


async def allow(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /refused/{channel}/allow`: let an address send to it, once somebody is sure."""
    who, name, address = visitor.who, request.match_info["channel"], fields.get("address", "")
    who.check_admin()
    if "sure" in fields:
        await allow_address(who, name, address)
        return see("/refused?told=allowed")
    proofs = [one for one in channel_view(who.parts, who.channel(name)).sender_auth if one != "ip"]
    asked = _("What else the channel asks for is asked for still: {proofs}.")
    nothing = _(
        "The channel asks for nothing else: whoever has this address may send what they like."
    )
    question = Question(
        _("Let this address send to {channel}?").format(channel=name),
        [address],
        " ".join(
            [
                asked.format(proofs=", ".join(proofs)) if proofs else nothing,
                _("If it is a proxy's, everybody behind that proxy has it."),
                _("What it sent before stays refused: its sender has to send it again."),
            ]
        ),
        action=f"/refused/{quote(name)}/allow",
        fields={"address": address},
        do="allow",
        button=_("Allow it"),
        keep=_("Keep it out"),
        back="/refused",
        things=1,
    )
    return ask(request, visitor, question, fields)


routes = [
    web.get("/subscriptions", page(subscriptions)),
    web.post("/subscriptions/{channel}/{name}", form(change)),
    web.get("/refused", page(refused)),
    web.post("/refused/{channel}/allow", form(allow)),
]
