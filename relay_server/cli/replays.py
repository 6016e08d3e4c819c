"""`relay-server replay`, `replays …` and `dead …`: events once more, and what was given up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_protocol.text import short_id
from relay_server.cli.command import Work, ask, command, route, target_of, watched
from relay_server.cli.events import listed
from relay_server.cli.options import Channel, Events, Json, Subscription, Yes, moment
from relay_server.cli.text import about, alarm, lines, pairs, when, whose
from relay_server.errors import NothingSelected
from relay_terminal import meant
from relay_terminal.meant import (
    Dead,
    First,
    Key,
    Kind,
    Last,
    Meant,
    Since,
    Text,
    Through,
    Until,
    ranged,
    said,
    unclear,
)
from relay_terminal.program import confirmed
from relay_terminal.retold import retold
from relay_terminal.states import rest_of_replay
from relay_terminal.usage import App
from relay_terminal.words import N_, _, counted, plural

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("Replays that were begun, and how far they are.")
dead = App("Deliveries that were given up: listed, delivered after all, or let go of.")

All = Annotated[bool, typer.Option("--all", help="All there are.")]

# How a condition of a selection is said; the others are said with their name.
CONDITIONS = {
    "first": N_("from sequence {value}"),
    "last": N_("up to sequence {value}"),
    "received_from": N_("since {value}"),
    "received_before": N_("before {value}"),
    "text": N_("with {value!r}"),
    "q": N_("that {value} means"),
    "dead": N_("dead ones"),
}


def show_begun(result: Json) -> None:
    """The replays that began, for whom, and how to watch them; or those that would."""
    if "replays" not in result:
        _show_plan(result)
        return
    for one in result["replays"]:
        most = plural("{number} event", "{number} events", one["at_most"])
        lines(
            _("Replay {number} for {whose}: {events}; at most {most}, {rate:g} a second.").format(
                number=one["number"],
                whose=whose(one),
                events=_selected(one),
                most=most,
                rate=one["rate_per_s"],
            )
        )
        if one["paused"]:
            lines(
                alarm(
                    _("  {subscription} is paused: {reason}").format(
                        subscription=one["subscription"], reason=retold(one["paused"])
                    )
                )
            )
        elif result["running"] and not one["connected"]:
            lines(
                _("  {subscription} is away: it begins once its client is connected.").format(
                    subscription=one["subscription"]
                )
            )
    if not result["running"]:
        lines(_("It begins with the server: relay-server serve."))
    lines(_("How far it is: relay-server replays list"))


def _show_plan(result: Json) -> None:
    for one in result["by_subscription"]:
        count = plural("{number} event", "{number} events", one["at_most"])
        if not result["complete"]:
            count = _("at most {count}").format(count=count)
        lines(
            _("{subscription} of {channel} would get {count}.").format(
                subscription=one["subscription"], channel=result["channel"], count=count
            )
        )
    if result["sample"]:
        lines(_("The first of them:"))
    for event in reversed(result["sample"]):
        at, id_ = when(event["received_at"], zoned=True), short_id(event["id"])
        lines(f"{at}  {id_}  {about(event)}")
    lines(_("Nothing was begun: that takes the same without --dry-run."))


def show_replays(result: Json) -> None:
    """Two lines a replay, newest first."""
    if not result["replays"]:
        lines(_("There is no replay."))
    for one in result["replays"]:
        lines(
            f"{one['number']}  {whose(one)}: {_state(one)}, {_done(one)}",
            _("    begun {time}: {events}").format(
                time=when(one["created_at"], zoned=True), events=_selected(one)
            ),
        )


def show_replay(result: Json) -> None:
    """Everything that is known of one."""
    who = result["made_by"] or _("somebody here")
    pairs(
        {
            _("replay"): result["number"],
            _("for"): whose(result),
            _("of"): _selected(result),
            _("state"): _state(result),
            _("done"): _done(result),
            _("at most"): _("{rate:g} a second").format(rate=result["rate_per_s"]),
            _("begun"): _("{time} by {who}").format(
                time=when(result["created_at"], zoned=True), who=who
            ),
            _("ended"): when(result["ended_at"], zoned=True),
        }
    )


def show_stopped(result: Json) -> None:
    """That it goes no further, and how far it came."""
    lines(
        _("Replay {number} is {state}: {count} delivered.").format(
            number=result["number"], state=_(result["state"]), count=counted(result["delivered"])
        )
    )


def _selected(one: Json) -> str:
    """Which events it is of, in words."""
    # Named events first: the rest then says which of these.
    chosen = sorted(one["selection"].items(), key=lambda condition: condition[0] != "events")
    words = [_condition(name, value) for name, value in chosen]
    return ", ".join(words) or _("everything")


def _state(one: Json) -> str:
    if one["state"] != "running":
        return _(one["state"])
    if one["paused"]:
        return _("paused")
    return _("running") if one["connected"] else _("waits for its client")


# The states that the API tells.
_STATES = (N_("running"), N_("done"), N_("stopped"))


def _done(one: Json) -> str:
    """How far it is, what is tried again and when, and how long the rest takes."""
    said = [
        f"{one['percent']:g} %",
        plural("{number} delivered", "{number} delivered", one["delivered"]),
        plural("{number} dead", "{number} dead", one["dead"]) if one["dead"] else "",
    ]
    said += rest_of_replay(one["retrying"], one["next_attempt_at"], one["left_s"])
    return ", ".join(filter(None, said))


def _condition(name: str, value: Any) -> str:
    if name == "events":
        return plural("{number} event by id", "{number} events by id", value)
    if name in ("received_from", "received_before"):
        value = when(value, zoned=True)
    if value == "":
        return _("without {what}").format(what=name)
    return _(CONDITIONS[name]).format(value=value) if name in CONDITIONS else f"{name} {value}"


def show_dead(result: Json) -> None:
    """Two lines a delivery: what it is, and why it was given up."""
    if not result["dead"]:
        lines(_("Nothing is dead."))
        return
    for one in result["dead"]:
        what = _("sequence {sequence}, {kind}, conversation {key}").format(
            sequence=one["sequence"], kind=one["kind"] or "-", key=one["key"] or "-"
        )
        attempts = plural("{number} attempt", "{number} attempts", one["attempts"])
        lines(
            f"{one['id']}  {whose(one)}: {what}",
            _("    {time}, after {attempts}: {reason}").format(
                time=when(one["ended_at"], zoned=True),
                attempts=attempts,
                reason=retold(one["reason"]),
            ),
        )
    lines("", _("relay-server dead replay ID delivers one after all; --all every one."))


def show_discarded(result: Json) -> None:
    number = result["discarded"]
    lines(plural("Let go of {number} dead delivery.", "Let go of {number} dead ones.", number))


def replay(
    events: Events = None,
    last: Last = None,
    first: First = None,
    through: Through = None,
    since: Since = None,
    until: Until = None,
    kind: Kind = None,
    key: Key = None,
    text: Text = None,
    q: Meant = None,
    dead: Dead = False,
    all_: meant.All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many it would be, and for whom.")
    ] = False,
) -> Work:
    """Deliver events once more, with the same ids: those that meet every condition."""
    through, last = ranged(first, through, last)
    asked = said(
        {
            "received_from": moment(since, "--since"),
            "received_before": moment(until, "--until"),
            "kind": kind,
            "key": key,
            "text": text,
            "q": q,
        }
    )
    others = said({"events": events or None, "first": first, "last": through})
    others |= said({"dead": dead or None, "all": all_ or None})
    if wrong := unclear(asked, others, last):
        raise typer.BadParameter(wrong)
    body: Json = {"channel": channel, "subscription": subscription, "selection": others | asked}
    if rate_per_s is not None:
        body["rate_per_s"] = rate_per_s

    async def bodies(api: Api) -> list[Json]:
        if last is None:
            return [body]
        found = await listed(api, asked | {"channel": channel, "limit": last, "before": None})
        if not found["events"]:
            raise NothingSelected(_("no event matches: nothing was begun"))
        return [body | {"selection": {"events": [event["id"] for event in found["events"]]}}]

    async def plan(api: Api) -> Json:
        [planned] = await bodies(api)
        return await api.call("POST", "replays", planned | {"dry_run": True})

    return plan if dry_run else begin(bodies)


@command(app, "list", show_replays)
def replays_list(
    channel: Channel = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that run.")] = False,
) -> Work:
    """List the newest replays and how far each is."""
    query = {"channel": channel, "running": "true" if running else None}
    return ask("GET", "replays", query=query)


@route(app, "show", "GET replays/{number}", show_replay)
def replays_show() -> None:
    """Show a replay: what it is of, and how far it is."""


@route(app, "stop", "DELETE replays/{number}", show_stopped)
def replays_stop() -> None:
    """Stop a replay; what it has not delivered yet it will not."""


def begin(bodies: Callable[[Api], Coroutine[Any, Any, list[Json]]]) -> Work:
    """Begin replays, one a body, and say whether a server runs to do them."""

    async def post(api: Api) -> Json:
        begun = list[Json]()
        for body in await bodies(api):
            begun += (await api.call("POST", "replays", body))["replays"]
        return {"running": api.running, "replays": begun}

    return post


@command(dead, "list", show_dead)
def dead_list(
    of_channel: Annotated[str | None, typer.Argument(hidden=True)] = None,
    channel: Channel = None,
    subscription: Subscription = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    after: Annotated[
        int | None,
        typer.Option(help="Only those after this sequence number, of one subscription."),
    ] = None,
) -> Work:
    """List dead deliveries, and why each was given up."""
    whose = {"channel": channel or of_channel, "subscription": subscription}
    return ask("GET", "dead", query=whose | {"limit": limit, "after": after})


@command(dead, "replay", show_begun)
def dead_replay(
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
) -> Work:
    """Deliver dead ones once more, to those for whom they are dead."""
    _check(events, all_=all_)

    async def bodies(api: Api) -> list[Json]:
        if events:
            chosen = {"events": events, "dead": True}
            return [{"channel": channel, "subscription": subscription, "selection": chosen}]
        return await _bodies(api, channel, subscription)

    return begin(bodies)


@command(dead, "discard", show_discarded)
def dead_discard(
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    yes: Yes = False,
) -> Work:
    """Say that dead ones need not be delivered; their events go when retention says so."""
    _check(events, all_=all_)
    of_events = plural(
        "Let go of what is dead of {number} event?",
        "Let go of what is dead of {number} events?",
        len(events or ()),
    )
    confirmed(_("Let go of every dead delivery?") if all_ else of_events, yes=yes)
    body = {"channel": channel, "subscription": subscription, "events": events or [], "all": all_}

    def dead_left(status: Json) -> int:
        of = (one for one in status["subscriptions"] if channel in (None, one["channel"]))
        return sum(one["dead"] for one in of if subscription in (None, one["name"]))

    work = ask("POST", "dead", "discard", body=body)
    return watched(_("Letting go"), work, dead_left) if all_ else work


def _check(events: list[str] | None, *, all_: bool) -> None:
    if bool(events) == all_:
        raise typer.BadParameter(_("name events, or say --all"))


async def _bodies(api: Api, channel: str | None, subscription: str | None) -> list[Json]:
    """A request for each subscription with dead deliveries."""
    if channel is not None:
        await api.call("GET", target_of("channels", channel))  # one that is not there is an error
    bodies: list[Json] = [
        {"channel": s["channel"], "subscription": s["name"], "selection": {"dead": True}}
        for s in (await api.call("GET", "status"))["subscriptions"]
        if s["dead"] and channel in (None, s["channel"]) and subscription in (None, s["name"])
    ]
    if not bodies:
        raise NothingSelected(_("nothing is dead"))
    return bodies
