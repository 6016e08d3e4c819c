"""`relay-server replay` and `replays …`: events once more, and how far that is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_server.cli.asking import Json, call, work
from relay_server.cli.options import Channel, Subscription, moment, shown
from relay_server.cli.text import alarm, counted, lines, pairs, when

if TYPE_CHECKING:
    from relay_server.control import Api

app = typer.Typer(help="Replays that were begun, and how far they are.", no_args_is_help=True)

# How a condition of a selection is said; the others are said with their name.
CONDITIONS = {
    "first": "from number {}",
    "last": "up to number {}",
    "received_from": "since {}",
    "received_before": "before {}",
    "text": "with {!r}",
    "dead": "dead ones",
}

Number = Annotated[int, typer.Argument(min=1, help="Its number.")]


def show_begun(result: Json) -> None:
    """The replays that began, for whom, and how to watch them."""
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


def show_replays(result: Json) -> None:
    """Two lines a replay, newest first."""
    if not result["replays"]:
        lines("There is no replay.")
    for one in result["replays"]:
        done = f"{one['percent']:g} %, {one['delivered']} delivered"
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
            "done": f"{result['percent']:g} %, {result['delivered']} delivered",
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
    words = [_condition(name, value) for name, value in one["selection"].items()]
    return ", ".join(words) or "everything"


def _state(one: Json) -> str:
    if one["state"] != "running":
        return str(one["state"])
    if one["paused"]:
        return "PAUSED"
    return "running" if one["connected"] else "waits for a reader"


def _condition(name: str, value: Any) -> str:
    if name == "events":
        return counted(value, "event by id", "events by id")
    if name in ("received_from", "received_before"):
        value = when(value)
    if value == "":
        return f"without {name}"
    return CONDITIONS.get(name, f"{name} {{}}").format(value)


@shown(show_begun)
def replay(
    ctx: typer.Context,
    events: Annotated[list[str] | None, typer.Argument(help="Ids of events, evt_…")] = None,
    first: Annotated[int | None, typer.Option(help="From this sequence number on.")] = None,
    last: Annotated[int | None, typer.Option(help="Up to this sequence number.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Received since: 2h, 3d, or a time (RFC 3339).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before: the same.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind, e.g. message_created.")] = None,
    key: Annotated[
        str | None,
        typer.Option("--conversation", "--key", help="Of this conversation, or other key."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="With this text in the body.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Those that are dead.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is kept.")] = False,
    channel: Channel = None,
    subscription: Subscription = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
) -> Json:
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

    async def bodies(_: Api) -> list[Json]:
        return [body]

    return begin(ctx, bodies)


@app.command("list")
@shown(show_replays)
def replays_list(
    ctx: typer.Context,
    channel: Channel = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that run.")] = False,
) -> Json:
    """List the newest replays and how far each is."""
    query = {"channel": channel, "running": "true" if running else None}
    return call(ctx, "GET", "replays", query=query)


@app.command("show")
@shown(show_replay)
def replays_show(ctx: typer.Context, number: Number) -> Json:
    """Show a replay: what it is of, and how far it is."""
    return call(ctx, "GET", "replays", str(number))


@app.command("stop")
@shown(show_stopped)
def replays_stop(ctx: typer.Context, number: Number) -> Json:
    """Stop a replay; what it has not delivered yet it will not."""
    return call(ctx, "DELETE", "replays", str(number))


def begin(ctx: typer.Context, bodies: Callable[[Api], Coroutine[Any, Any, list[Json]]]) -> Json:
    """Begin replays, one a body, and say whether a server runs to do them."""

    async def post(api: Api) -> Json:
        begun = list[Json]()
        for body in await bodies(api):
            begun += (await api.call("POST", "replays", body))["replays"]
        return {"running": api.running, "replays": begun}

    return work(ctx, post)
