"""`relay-server forward …`: subscriptions that the server itself posts to a URL."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.asking import Json, call, confirmed
from relay_server.cli.options import Name, OfChannel, Yes, moment, shown, takes
from relay_server.cli.subscription import alarms, progress_table, show_paused, state_of
from relay_server.cli.text import lines, pairs, policy_lines
from relay_server.configs import ForwardConfig

app = typer.Typer(help="Subscriptions that the server itself posts to a URL.", no_args_is_help=True)


def show_forwards(result: Json) -> None:
    """A line a forward."""
    found = result["forwards"]
    if not found:
        lines("There is no forward: relay-server forward create CHANNEL URL makes one.")
    progress_table("forward", "state", [(f, _state(f)) for f in found])
    for f in found:
        why = f["waits_for"] and f" ({f['waits_for']})"
        lines(f"{f['name']} of {f['channel']} posts to {f['url']}{why}")
    alarms(found)


def show_forward(result: Json) -> None:
    """How one is set, and how it is doing."""
    headers = ", ".join(f"{name}: {value}" for name, value in result["headers"].items())
    rules = {
        "posts to": result["url"],
        "timeout": f"{result['timeout_s']:g} s",
        "at once": f"{result['concurrency']} requests",
        "headers added": headers or "none",
    }
    policy = policy_lines(result["policy"], own=result["own_policy"])
    pairs(state_of(result) | rules | policy)
    alarms([result])
    if not result["connected"] and not result["waits_for"]:
        lines("It begins as soon as the server runs.")


def _state(f: Json) -> str:
    """Its state in a few words; why it waits is said below the table."""
    if f["connected"]:
        return "waits for its target" if f["target_down"] else "runs"
    return "waits" if f["waits_for"] else "not running"


@app.command("create")
@shown(show_forward)
@takes("url", rules=ForwardConfig)
def forward_create(
    ctx: typer.Context,
    channel: OfChannel,
    url: Annotated[str, typer.Argument(help="Where to, e.g. http://bot:8001/webhook.")],
    *,
    name: Annotated[str | None, typer.Option(help="Its name. (default: forward)")] = None,
    rules: Json,
    since: Annotated[
        str | None, typer.Option(help="Where it starts: now, beginning, 2h, 3d, or a time.")
    ] = None,
) -> Json:
    """Have the server itself post a channel's webhooks to a URL."""
    body = {"channel": channel, "url": url, **rules}
    if name is not None:
        body["name"] = name
    if since not in (None, "now"):
        body["since"] = moment(since, "--since")
    return call(ctx, "POST", "forwards", body=body)


@app.command("list")
@shown(show_forwards)
def forward_list(ctx: typer.Context) -> Json:
    """List the forwards, and what waits for each."""
    return call(ctx, "GET", "forwards")


@app.command("set")
@shown(show_forward)
@takes(rules=ForwardConfig, emptying=True)
def forward_set(ctx: typer.Context, channel: OfChannel, name: Name, *, rules: Json) -> Json:
    """Change a forward; what is not named stays. Headers are set as a whole."""
    return call(ctx, "PATCH", "forwards", channel, name, body=rules)


@app.command("pause")
@shown(show_paused)
def forward_pause(ctx: typer.Context, channel: OfChannel, name: Name) -> Json:
    """Post nothing until it is resumed; what comes waits."""
    return call(ctx, "PATCH", "forwards", channel, name, body={"paused": True})


@app.command("resume")
@shown(show_paused)
def forward_resume(ctx: typer.Context, channel: OfChannel, name: Name) -> Json:
    """Go on with a forward that was paused, by hand or because its target answered 410."""
    return call(ctx, "PATCH", "forwards", channel, name, body={"paused": False})


@app.command("delete")
def forward_delete(ctx: typer.Context, channel: OfChannel, name: Name, yes: Yes = False) -> None:
    """End a forward, and forget what waits for it."""
    confirmed(f"End {name} of {channel}, and what waits for it?", yes=yes)
    call(ctx, "DELETE", "forwards", channel, name)
    typer.echo(f"Ended {name} of {channel}.")
