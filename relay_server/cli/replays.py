"""`relay-server replay`, `replays …` and `dead …`: events once more, and what was given up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_server.cli.command import Work, ask, command, route, target_of
from relay_server.cli.options import Channel, Events, Json, Subscription, Yes, moment
from relay_server.cli.text import about, alarm, counted, lines, pairs, when
from relay_server.errors import NothingSelected
from relay_terminal.program import confirmed
from relay_terminal.usage import App, Old
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("Replays that were begun, and how far they are.")
dead = App("Deliveries that were given up: listed, delivered after all, or let go of.")

All = Annotated[bool, typer.Option("--all", help="All there are.")]

# How a condition of a selection is said; the others are said with their name.
CONDITIONS = {
    "first": "from number {}",
    "last": "up to number {}",
    "received_from": "since {}",
    "received_before": "before {}",
    "text": "with {!r}",
    "q": "that {} means",
    "dead": "dead ones",
}


def show_begun(result: Json) -> None:
    """The replays that began, for whom, and how to watch them; or those that would."""
    if "replays" not in result:
        _show_plan(result)
        return
    for one in result["replays"]:
        most = counted(one["at_most"], "event", "events")
        lines(
            f"Replay {one['number']} for {one['subscription']} of {one['channel']}:"
            f" {_selected(one)}; at most {most}, {one['rate_per_s']:g} a second."
        )
        if one["paused"]:
            lines(alarm(f"  {one['subscription']} is PAUSED: {one['paused']}"))
        elif result["running"] and not one["connected"]:
            lines(f"  Nobody reads {one['subscription']} now: it waits for a reader.")
    if not result["running"]:
        lines("It begins with the server: relay-server serve.")
    lines("How far it is: relay-server replays list")


def _show_plan(result: Json) -> None:
    most = "" if result["complete"] else "at most "
    for one in result["by_subscription"]:
        count = counted(one["at_most"], "event", "events")
        lines(f"{one['subscription']} of {result['channel']} would get {most}{count}.")
    if result["sample"]:
        lines("The first of them:")
    for event in reversed(result["sample"]):
        lines(f"{when(event['received_at'])}  {event['id']}", f"    {about(event)}")
    lines("Nothing was begun: that takes the same without --dry-run.")


def show_replays(result: Json) -> None:
    """Two lines a replay, newest first."""
    if not result["replays"]:
        lines("There is no replay.")
    for one in result["replays"]:
        done = _done(one)
        lines(
            f"{one['number']}  {one['subscription']} of {one['channel']}: {_state(one)}, {done}",
            f"    begun {when(one['created_at'])}: {_selected(one)}",
        )


def show_replay(result: Json) -> None:
    """Everything that is known of one."""
    pairs(
        {
            "replay": result["number"],
            "for": f"{result['subscription']} of {result['channel']}",
            "of": _selected(result),
            "state": _state(result),
            "done": _done(result),
            "at most": f"{result['rate_per_s']:g} a second",
            "begun": f"{when(result['created_at'])} by {result['made_by'] or 'somebody here'}",
            "ended": when(result["ended_at"]),
        }
    )


def show_stopped(result: Json) -> None:
    """That it goes no further, and how far it came."""
    came = f"{result['delivered']} delivered"
    lines(f"Replay {result['number']} is {result['state']}: {came}.")


def _selected(one: Json) -> str:
    """Which events it is of, in words."""
    # Named events first: the rest then says which of these.
    chosen = sorted(one["selection"].items(), key=lambda condition: condition[0] != "events")
    words = [_condition(name, value) for name, value in chosen]
    return ", ".join(words) or "everything"


def _state(one: Json) -> str:
    if one["state"] != "running":
        return str(one["state"])
    if one["paused"]:
        return "PAUSED"
    return "running" if one["connected"] else "waits for a reader"


def _done(one: Json) -> str:
    """How far it is, what is tried again and when, and how long the rest takes."""
    said = [
        _("{percent:g} %, {delivered:,} delivered").format(**one),
        _("{dead:,} dead").format(**one) if one["dead"] else "",
    ]
    if one["retrying"]:
        at = when(one["next_attempt_at"])
        said.append(_("{retrying:,} tried again, from {time} on").format(time=at, **one))
    if one["left_s"] is not None:
        said.append(_("about {seconds} s left").format(seconds=one["left_s"]))
    return ", ".join(filter(None, said))


def _condition(name: str, value: Any) -> str:
    if name == "events":
        return counted(value, "event by id", "events by id")
    if name in ("received_from", "received_before"):
        value = when(value)
    if value == "":
        return f"without {name}"
    return CONDITIONS.get(name, f"{name} {{}}").format(value)


def show_dead(result: Json) -> None:
    """Two lines a delivery: what it is, and why it was given up."""
    if not result["dead"]:
        lines("Nothing is dead.")
        return
    for one in result["dead"]:
        what = f"number {one['sequence']}, {one['kind'] or '-'}, order {one['key'] or '-'}"
        tries = counted(one["attempts"], "try", "tries")
        lines(
            f"{one['id']}  {one['subscription']} of {one['channel']}: {what}",
            f"    {when(one['ended_at'])}, after {tries}: {one['reason']}",
        )
    lines("", "relay-server dead replay ID delivers one after all; --all every one.")


def show_discarded(result: Json) -> None:
    """How many."""
    number = counted(result["discarded"], "dead delivery", "dead deliveries")
    lines(f"Let go of {number}.")


def replay(
    events: Events = None,
    first: Annotated[int | None, typer.Option(help="From this sequence number on.")] = None,
    last: Annotated[int | None, typer.Option(help="Up to this sequence number.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Received since: 2h, 3d, or a time (RFC 3339).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before: the same.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind, e.g. message_created.")] = None,
    key: Annotated[
        str | None,
        typer.Option("--conversation", Old("--key"), help="Of this conversation, or other key."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="With this text in the body.")] = None,
    q: Annotated[
        str | None, typer.Option("--filter", help="That a filter means, e.g. 'from:customer bolo'.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Those that are dead.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is kept.")] = False,
    channel: Channel = None,
    subscription: Subscription = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many it would be, and for whom.")
    ] = False,
) -> Work:
    """Deliver events once more, with the same ids: those for which all that is said is true."""
    conditions = {
        "events": events or None,
        "received_from": moment(since, "--since"),
        "received_before": moment(until, "--until"),
        "first": first,
        "last": last,
        "kind": kind,
        "key": key,
        "text": text,
        "q": q,
        "dead": dead or None,
        "all": all_ or None,
    }
    # An empty key or kind is a condition, too: events that have none.
    selection = {name: value for name, value in conditions.items() if value is not None}
    if not selection:
        raise typer.BadParameter("say which events: ids, a condition, or --all that are kept")
    body: Json = {"channel": channel, "subscription": subscription, "selection": selection}
    if rate_per_s is not None:
        body["rate_per_s"] = rate_per_s
    if dry_run:
        return ask("POST", "replays", body=body | {"dry_run": True})

    async def bodies(_: Api) -> list[Json]:
        return [body]

    return begin(bodies)


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
    channel: Annotated[
        str | None, typer.Argument(help="Of which channel; all if left out.")
    ] = None,
    subscription: Subscription = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    after: Annotated[
        int | None,
        typer.Option(help="Only those after this sequence number, of one subscription."),
    ] = None,
) -> Work:
    """List dead deliveries, and why each was given up."""
    query = {"channel": channel, "subscription": subscription, "limit": limit, "after": after}
    return ask("GET", "dead", query=query)


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
    what = "every dead delivery" if all_ else f"what is dead of {len(events or ())} events"
    confirmed(f"Let go of {what}?", yes=yes)
    body = {"channel": channel, "subscription": subscription, "events": events or [], "all": all_}
    return ask("POST", "dead", "discard", body=body)


def _check(events: list[str] | None, *, all_: bool) -> None:
    if bool(events) == all_:
        raise typer.BadParameter("name events, or say --all")


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
        raise NothingSelected("nothing is dead")
    return bodies
