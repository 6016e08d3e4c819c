"""`relay-server replays …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, Channel, printed

app = typer.Typer(help="Replays that were begun, and how far they are.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(min=1, help="Its number.")]


@app.command("list")
def replays_list(
    ctx: typer.Context,
    channel: Channel = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that run.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest replays and how far each is."""
    from relay_server.commands.calls import call
    from relay_server.show import replays as show

    query = {"channel": channel, "running": "true" if running else None}
    printed(call(ctx.obj, "GET", "replays", query=query), show.replays, as_json=as_json)


@app.command("show")
def replays_show(ctx: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show a replay: what it is of, and how far it is."""
    from relay_server.commands.calls import call
    from relay_server.show import replays as show

    printed(call(ctx.obj, "GET", "replays", str(number)), show.replay, as_json=as_json)


@app.command("stop")
def replays_stop(ctx: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Stop a replay; what it has not delivered yet it will not."""
    from relay_server.commands.calls import call
    from relay_server.show import replays as show

    printed(call(ctx.obj, "DELETE", "replays", str(number)), show.stopped, as_json=as_json)
