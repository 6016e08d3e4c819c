"""`relay-server subscription …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import (
    AsJson,
    HoldFailures,
    HoldS,
    Name,
    OfChannel,
    OtherTries,
    RetryDelays,
    StrictOrder,
    Yes,
    printed,
)

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


@app.command("show")
def subscription_show(
    ctx: typer.Context, channel: OfChannel, name: Name, as_json: AsJson = False
) -> None:
    """Show a subscription: how it is doing, and how it delivers."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    found = call(ctx.obj, "GET", "channels", channel, "subscriptions", name)
    printed(found, show.subscription, as_json=as_json)


@app.command("set")
def subscription_set(
    ctx: typer.Context,
    channel: OfChannel,
    name: Name,
    retry_delays: RetryDelays = None,
    other_tries: OtherTries = None,
    hold_failures: HoldFailures = None,
    hold_s: HoldS = None,
    strict_order: StrictOrder = None,
    like_channel: Annotated[
        bool, typer.Option("--like-channel", help="Do everything as its channel does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have a subscription deliver otherwise than its channel; what is not named stays."""
    from relay_server.commands.calls import call
    from relay_server.commands.policies import policy_fields
    from relay_server.show import subscriptions as show

    policy = policy_fields(
        retry_delays,
        other_tries=other_tries,
        hold_failures=hold_failures,
        hold_s=hold_s,
        strict_order=strict_order,
    )
    if like_channel and policy:
        raise typer.BadParameter("--like-channel goes with no other option")
    body = {"policy": None if like_channel else policy}
    found = call(ctx.obj, "PATCH", "channels", channel, "subscriptions", name, body=body)
    printed(found, show.subscription, as_json=as_json)


@app.command("pause")
def subscription_pause(
    ctx: typer.Context, channel: OfChannel, name: Name, as_json: AsJson = False
) -> None:
    """Deliver nothing to a subscription until it is resumed; what comes waits."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    found = call(ctx.obj, "POST", "channels", channel, "subscriptions", name, "pause")
    printed(found, show.paused, as_json=as_json)


@app.command("resume")
def subscription_resume(
    ctx: typer.Context, channel: OfChannel, name: Name, as_json: AsJson = False
) -> None:
    """Go on with a subscription that was paused, by hand or because its target answered 410."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    found = call(ctx.obj, "POST", "channels", channel, "subscriptions", name, "resume")
    printed(found, show.paused, as_json=as_json)


@app.command("delete")
def subscription_delete(
    ctx: typer.Context,
    channel: OfChannel,
    name: Name,
    yes: Yes = False,
) -> None:
    """Forget a subscription: what it has not had yet is not kept for it any more."""
    from relay_server.commands.calls import call

    if not yes:
        typer.confirm(f"Forget {name} of {channel}, and what waits for it?", abort=True, err=True)
    call(ctx.obj, "DELETE", "channels", channel, "subscriptions", name)
    typer.echo(f"Forgot {name} of {channel}.")
