"""What was given up, by subscription and reason; the replays that bring it after all."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from relay_server.dashboard.events import EVENT_ID, number
from relay_server.dashboard.rendering import render
from relay_server.dashboard.sure import MANY, Question, ask, is_sure
from relay_server.dashboard.visit import Fields, Visitor, form, local, page, see
from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.operations.dead import (
    MAX_REASONS,
    DeadGroup,
    DeadPage,
    DeadView,
    Discarded,
    dead_among,
    discard_dead,
    group_dead,
    list_dead,
)
from relay_server.operations.progress import ReplayView
from relay_server.operations.replays import (
    Chosen,
    NewReplay,
    ReplayPage,
    create_replays,
    list_replays,
    stop_replay,
)
from relay_server.values import MAX_SEQUENCE
from relay_terminal.retold import retold
from relay_terminal.words import _, plural

MAX_GROUPS = 20  # that a page of what is dead shows with their events; of one more each by its link
SHOWN = 50  # deliveries of a group on a page
MAX_FIELDS = SHOWN + 8  # of the form of a group: a field for each of them
RECENT_MS = 600_000  # since when a replay has ended that is still told of


class Group(NamedTuple):
    """Deliveries that were given up for one reason.

    Attributes:
        rows: The first of them, by sequence.
        more: Behind which sequence there are others; 0 where these are all.
        may_replay: The visitor may have them delivered after all.
    """

    of: DeadGroup
    rows: list[DeadView]
    more: int
    may_replay: bool


class Meant(NamedTuple):
    """What a form is about.

    Attributes:
        reason: All that are dead for it; None where events are named.
        ids: Of these events.
    """

    channel: str
    name: str
    reason: str | None
    ids: tuple[str, ...]

    async def dead_now(self, who: Caller) -> int:
        """How many of them are dead now."""
        if self.reason is None:
            return await dead_among(who, self.channel, self.name, self.ids)
        asked = DeadPage(self.channel, self.name, self.reason)
        return sum(group.count for group in (await group_dead(who, asked)).groups)


async def dead(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /dead`: by subscription and reason; or more of one of them.

    The visitor's own first, then those with most.
    """
    who, query = visitor.who, request.query
    asked = DeadPage(query.get("channel"), query.get("subscription"), query.get("reason"))
    after = number(query.get("after", "")) if asked.channel and asked.subscription else 0
    first = min(number(query.get("first", "")), MAX_SEQUENCE)
    grouped = await group_dead(who, asked, first)
    known = await who.store.subscriptions()
    mine = {(s.channel, s.name) for s in known if who.made(s)}
    forwards = {(s.channel, s.name) for s in known if s.config.forward}
    found = sorted(grouped.groups, key=lambda one: (one.channel, one.subscription) not in mine)
    groups = [
        await _group(who, group, after, (group.channel, group.subscription) in forwards)
        for group in found[:MAX_GROUPS]
    ]
    return render(
        request,
        "dead.html",
        visitor=visitor,
        groups=groups,
        others=found[MAX_GROUPS:],
        more=[(name, _further(channel, name, first)) for channel, name in grouped.more],
        mine=mine,
        path_of=_path,
        narrowed=asked != DeadPage() or first,
        replays=await replays_lately(who),
    )


async def settle_dead(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /dead/{channel}/{name}`: deliver what is dead after all, or let go of it, once sure.

    All that is meant is counted now: it may be more, or less, than the page said.
    """
    meant, do = _meant(request, fields), fields.get("do", "").partition("-")[0]
    count = await meant.dead_now(visitor.who)
    if do == "discard" and is_sure(fields, count):
        which = {"events": list(meant.ids)} if meant.ids else {"all": True, "reason": meant.reason}
        await discard_dead(
            visitor.who, Discarded(channel=meant.channel, subscription=meant.name, **which)
        )
    elif do == "replay" and (is_sure(fields, count) or 0 < count <= MANY):
        chosen = Chosen(events=meant.ids, dead=True, reason=meant.reason)
        await create_replays(visitor.who, NewReplay(chosen, meant.channel, meant.name))
    else:
        return ask(request, visitor, _question(meant, count, discards=do == "discard"), fields)
    return see("/dead")


async def stop(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /replays/{number}/stop`."""
    await stop_replay(visitor.who, request.match_info["number"])
    return see(local(fields.get("then", "")))


def _question(meant: Meant, count: int, *, discards: bool) -> Question:
    title, text = (
        plural("Replay {number} delivery?", "Replay {number} deliveries?", count),
        _("They are sent again at the rate of a replay, beside what comes; it can be stopped."),
    )
    if discards:
        title = plural("Discard {number} delivery?", "Discard {number} deliveries?", count)
        text = _(
            "They are listed no more, and nobody gets them. The events stay as long as the channel"
            " keeps them, and can be replayed."
        )
    is_all, at = meant.reason is not None, f"/dead/{meant.channel}/{meant.name}"
    do = ("discard" if discards else "replay") + ("" if is_all else "-chosen")
    return Question(
        title,
        [meant.channel, meant.name, *([retold(meant.reason)] if meant.reason else [])],
        text,
        action=f"{at}?{urlencode({'reason': meant.reason})}" if is_all else at,
        fields=dict.fromkeys(meant.ids, "1"),
        do=do,
        button=_("Discard") if discards else _("Replay"),
        keep=_("Keep them") if discards else _("Leave them"),
        back="/dead",
        things=count,
    )


def _meant(request: web.Request, fields: Fields) -> Meant:
    channel, name = request.match_info["channel"], request.match_info["name"]
    is_all = not fields.get("do", "").endswith("-chosen")
    if is_all and "reason" in request.query:
        return Meant(channel, name, request.query["reason"], ())
    ids = tuple(field for field in fields if EVENT_ID.fullmatch(field))
    if not ids:
        raise InvalidValue(_("no row is chosen: choose some by the boxes before them"))
    return Meant(channel, name, None, ids)


async def _group(who: Caller, group: DeadGroup, after: int, is_forward: bool) -> Group:
    asked = DeadPage(group.channel, group.subscription, group.reason, after, SHOWN + 1)
    rows = (await list_dead(who, asked)).dead
    more = rows[SHOWN - 1].sequence if len(rows) > SHOWN else 0
    return Group(group, rows[:SHOWN], more, who.admin or not is_forward)


def _path(group: DeadGroup, after: int) -> str:
    """Where one group alone is, from behind a sequence on."""
    of = {"channel": group.channel, "subscription": group.subscription, "reason": group.reason}
    return f"/dead?{urlencode(of | ({'after': str(after)} if after else {}))}"


def _further(channel: str, name: str, first: int) -> str:
    """Where the reasons of a subscription are that come behind."""
    at = {"channel": channel, "subscription": name, "first": str(first + MAX_REASONS)}
    return f"/dead?{urlencode(at)}"


async def replays_lately(who: Caller) -> list[ReplayView]:
    """Those that run, and those that ended lately."""
    since = who.now() - RECENT_MS
    found = (await list_replays(who, ReplayPage())).replays
    return [one for one in found if one.ended_at is None or one.ended_at > since]


routes = [
    web.get("/dead", page(dead)),
    web.post("/dead/{channel}/{name}", form(settle_dead, most=MAX_FIELDS)),
    web.post("/replays/{number}/stop", form(stop)),
]
