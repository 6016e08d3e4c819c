"""`relay-server dead …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, Channel, Subscription, Yes, printed

app = typer.Typer(
    help="Deliveries that were given up: listed, delivered after all, or let go of.",
    no_args_is_help=True,
)

Events = Annotated[list[str] | None, typer.Argument(help="Ids of events, evt_…")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]


@app.command("list")
def dead_list(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Argument(help="Of which channel; all if left out.")
    ] = None,
    subscription: Subscription = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    after: Annotated[
        int | None,
        typer.Option(help="Only those after this sequence number, of one subscription."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List dead deliveries, and why each was given up."""
    from relay_server.commands.calls import call
    from relay_server.show import dead as show

    query = {"channel": channel, "subscription": subscription, "limit": limit, "after": after}
    printed(call(ctx.obj, "GET", "dead", query=query), show.dead, as_json=as_json)


@app.command("replay")
def dead_replay(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    as_json: AsJson = False,
) -> None:
    """Deliver dead ones once more, to those for whom they are dead."""
    from relay_server.commands import replays as commands
    from relay_server.show import replays as show

    _check(events, all_=all_)
    begun = commands.replay_dead(ctx.obj, events or (), channel, subscription)
    printed(begun, show.begun, as_json=as_json)


@app.command("discard")
def dead_discard(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Say that dead ones need not be delivered; their events go when retention says so."""
    from relay_server.commands.calls import call
    from relay_server.show import dead as show

    _check(events, all_=all_)
    if not yes:
        what = "every dead delivery" if all_ else f"what is dead of {len(events or ())} events"
        typer.confirm(f"Let go of {what}?", abort=True, err=True)
    body = {"channel": channel, "subscription": subscription, "events": events or [], "all": all_}
    printed(call(ctx.obj, "POST", "dead", "discard", body=body), show.discarded, as_json=as_json)


def _check(events: list[str] | None, *, all_: bool) -> None:
    if bool(events) == all_:
        raise typer.BadParameter("name events, or say --all")
