"""`relay-server subscription …`: named readers of a channel; a forward is one, too."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from relay_server.cli.asking import Json, call, confirmed
from relay_server.cli.options import Name, OfChannel, Yes, shown, takes
from relay_server.cli.text import alarm, lines, pairs, policy_lines, table, when
from relay_server.configs import Policy

app = typer.Typer(
    help="Named readers of a channel, each with its own progress.", no_args_is_help=True
)


def show_subscriptions(result: Json) -> None:
    """A line a subscription."""
    if not result["subscriptions"]:
        lines("Nobody has subscribed yet: relay-client connect does it.")
    subscription_table(result["subscriptions"])


def show_subscription(result: Json) -> None:
    """How one is doing, and how it delivers."""
    pairs(state_of(result) | policy_lines(result["policy"], own=result["own_policy"]))
    alarms([result])


def show_paused(result: Json) -> None:
    """That it is paused now, or goes on."""
    who = f"{result['name']} of {result['channel']}"
    if result["paused"]:
        lines(alarm(f"{who} is PAUSED: {result['paused']}. What comes waits."))
    else:
        lines(f"{who} goes on; {result['backlog']} wait.")


def state_of(s: Json) -> Json:
    """How one is doing, in pairs."""
    waiting = str(s["backlog"])
    if s["oldest_waiting_at"] is not None:
        waiting += f", the oldest since {when(s['oldest_waiting_at'])}"
    return {
        "channel": s["channel"],
        "subscription": s["name"],
        "reader": _marked(s, _reader(s)),
        "waiting": waiting,
        "dead": s["dead"],
        "made": when(s["created_at"]),
    }


def subscription_table(found: Sequence[Json]) -> None:
    """A line a subscription, and what must not be overlooked."""
    progress_table("subscription", "reader", [(s, _reader_in_short(s)) for s in found])
    for s in found:
        if s["forward"] or s["waits_for"]:
            lines(f"{s['name']} of {s['channel']}: {_reader(s)}")
    alarms(found)


def progress_table(noun: str, state: str, found: Sequence[tuple[Json, str]]) -> None:
    """A line for each with what its state is called, and how far it is."""
    rows = [
        (
            s["channel"],
            s["name"],
            alarm(_marked(s, text)) if s["paused"] else text,
            s["backlog"],
            when(s["oldest_waiting_at"]),
            s["dead"],
        )
        for s, text in found
    ]
    table(("channel", noun, state, "waiting", "oldest", "dead"), rows)


def alarms(found: Sequence[Json]) -> None:
    """A line for each that is paused: why, and what to do."""
    for s in found:
        if s["paused"]:
            kind = "forward" if s["forward"] else "subscription"
            lines(alarm(f"{s['name']} of {s['channel']} is PAUSED: {s['paused']}"))
            lines(f"  relay-server {kind} resume {s['channel']} {shlex.quote(s['name'])}")


def _marked(s: Json, state: str) -> str:
    return f"PAUSED, {state}" if s["paused"] else state


def _reader(s: Json) -> str:
    """Who reads it."""
    if s["connected"] and s["target_down"]:
        why = f" ({s['waits_for']})" if s["waits_for"] else ""
        return f"waits for its target{why}"
    if s["forward"]:
        idle = s["waits_for"] or "not running"
        return f"forward to {s['forward']}" + ("" if s["connected"] else f", {idle}")
    if s["readers"] > 1:
        return f"connected ×{s['readers']}"
    return "connected" if s["connected"] else "away"


def _reader_in_short(s: Json) -> str:
    """The same in so few words that a table has room for them; a line below says more."""
    if s["connected"] and s["target_down"]:
        return "waits for its target"
    if s["forward"]:
        return "forward" if s["connected"] else "forward, not running"
    return _reader(s)


@app.command("list")
@shown(show_subscriptions)
def subscription_list(ctx: typer.Context) -> Json:
    """List the subscriptions and what waits for each."""
    return {"subscriptions": call(ctx, "GET", "status")["subscriptions"]}


@app.command("show")
@shown(show_subscription)
def subscription_show(ctx: typer.Context, channel: OfChannel, name: Name) -> Json:
    """Show a subscription: how it is doing, and how it delivers."""
    return call(ctx, "GET", "channels", channel, "subscriptions", name)


@app.command("set")
@shown(show_subscription)
@takes(policy=Policy)
def subscription_set(
    ctx: typer.Context,
    channel: OfChannel,
    name: Name,
    *,
    policy: Json,
    like_channel: Annotated[
        bool, typer.Option("--like-channel", help="Do everything as its channel does.")
    ] = False,
) -> Json:
    """Have a subscription deliver otherwise than its channel; what is not named stays."""
    if like_channel and policy:
        raise typer.BadParameter("--like-channel goes with no other option")
    body = {"policy": None if like_channel else policy}
    return call(ctx, "PATCH", "channels", channel, "subscriptions", name, body=body)


@app.command("pause")
@shown(show_paused)
def subscription_pause(ctx: typer.Context, channel: OfChannel, name: Name) -> Json:
    """Deliver nothing to a subscription until it is resumed; what comes waits."""
    return call(ctx, "POST", "channels", channel, "subscriptions", name, "pause")


@app.command("resume")
@shown(show_paused)
def subscription_resume(ctx: typer.Context, channel: OfChannel, name: Name) -> Json:
    """Go on with a subscription that was paused, by hand or because its target answered 410."""
    return call(ctx, "POST", "channels", channel, "subscriptions", name, "resume")


@app.command("delete")
def subscription_delete(
    ctx: typer.Context, channel: OfChannel, name: Name, yes: Yes = False
) -> None:
    """Forget a subscription: what it has not had yet is not kept for it any more."""
    confirmed(f"Forget {name} of {channel}, and what waits for it?", yes=yes)
    call(ctx, "DELETE", "channels", channel, "subscriptions", name)
    typer.echo(f"Forgot {name} of {channel}.")
