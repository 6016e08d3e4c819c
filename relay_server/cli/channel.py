"""`relay-server channel …`: named inboxes and their rules."""

from __future__ import annotations

import typer

from relay_server.cli.asking import Json, call, confirmed
from relay_server.cli.options import Name, Yes, shown, takes
from relay_server.cli.text import pairs, policy_lines, size, span, table
from relay_server.configs import ChannelConfig, Policy

app = typer.Typer(help="Named inboxes, each with its own URL and rules.", no_args_is_help=True)


def show_channels(result: Json) -> None:
    """A line a channel."""
    table(
        ("channel", "webhook path", "sender must show", "kept"),
        [
            (c["name"], c["webhook_path"], _auth(c), f"{c['retention_days']:g} days")
            for c in result["channels"]
        ],
    )


def show_channel(result: Json) -> None:
    """A line a rule."""
    limit = result["max_bytes"]
    full = "the oldest go, delivered or not" if result["drop_oldest"] else "new ones are refused"
    rules = {
        "channel": result["name"],
        "webhook path": result["webhook_path"],
        "sender": result["sender"],
        "sender must show": _auth(result),
        "allowed networks": ", ".join(result["allow_from"]) or "any",
        "order kept by": result["key_pointer"] or "the sender's usual (Chatwoot: conversation)",
        "largest body": f"{result['max_body_bytes']} bytes",
        "kept": f"{result['retention_days']:g} days once delivered",
        "dead ones kept": f"{result['dead_days']:g} days",
        "all its events": "any size" if limit is None else f"at most {size(limit)}",
        "when full": full,
        "taken": _rate(result["rate_per_s"]),
        "sent again": _window(result["dedupe_window_s"]),
    }
    pairs(rules | policy_lines(result["policy"]))


def _fields(rules: Json, policy: Json) -> Json:
    return rules | ({"policy": policy} if policy else {})


def _rate(per_s: float | None) -> str:
    return "any number" if per_s is None else f"up to {per_s:g} webhooks a second"


def _window(seconds: float) -> str:
    return f"stored once within {span(seconds)}" if seconds else "stored each time"


def _auth(channel: Json) -> str:
    return ", ".join(channel["sender_auth"]) or "nothing: anybody may post"


@app.command("list")
@shown(show_channels)
def channel_list(ctx: typer.Context) -> Json:
    """List the channels."""
    return call(ctx, "GET", "channels")


@app.command("show")
@shown(show_channel)
def channel_show(ctx: typer.Context, name: Name) -> Json:
    """Show a channel and its rules."""
    return call(ctx, "GET", "channels", name)


@app.command("create")
@shown(show_channel)
@takes(rules=ChannelConfig, policy=Policy)
def channel_create(ctx: typer.Context, name: Name, *, rules: Json, policy: Json) -> Json:
    """Make a channel."""
    body = {"name": name, **_fields(rules, policy)}
    return call(ctx, "POST", "channels", body=body)


@app.command("set")
@shown(show_channel)
@takes(rules=ChannelConfig, policy=Policy, emptying=True)
def channel_set(ctx: typer.Context, name: Name, *, rules: Json, policy: Json) -> Json:
    """Change a channel's rules; what is not named stays."""
    return call(ctx, "PATCH", "channels", name, body=_fields(rules, policy))


@app.command("delete")
def channel_delete(ctx: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a channel with its events and readers."""
    confirmed(f"Delete {name} with all its events?", yes=yes)
    call(ctx, "DELETE", "channels", name)
    typer.echo(f"Deleted {name}.")
