"""`relay-server subscription …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, Name, OfChannel, printed

app = typer.Typer(
    help="Named readers of a channel, each with its own progress.", no_args_is_help=True
)


@app.command("list")
def subscription_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the subscriptions and what waits for each."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    found = {"subscriptions": call(ctx.obj, "GET", "status")["subscriptions"]}
    printed(found, show.subscriptions, as_json=as_json)


@app.command("delete")
def subscription_delete(
    ctx: typer.Context,
    channel: OfChannel,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a subscription: what it has not had yet is not kept for it any more."""
    from relay_server.commands.calls import call

    if not yes:
        typer.confirm(f"Forget {name} of {channel}, and what waits for it?", abort=True, err=True)
    call(ctx.obj, "DELETE", "channels", channel, "subscriptions", name)
    typer.echo(f"Forgot {name} of {channel}.")
