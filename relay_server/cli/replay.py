"""`relay-server replay`: events once more."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relay_server.cli.options import AsJson, Channel, Rate, Subscription, printed


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
    rate_per_s: Rate = None,
    as_json: AsJson = False,
) -> None:
    """Deliver events once more, with the same ids: those for which all that is said is true."""
    from relay_server.commands import replays as commands
    from relay_server.show import replays as show

    selection = commands.selection(
        events=events or (),
        first=first,
        last=last,
        since=since,
        until=until,
        kind=kind,
        key=key,
        text=text,
        dead=dead,
        all=all_,
    )
    if not selection:
        raise typer.BadParameter("say which events: ids, a condition, or --all that are kept")
    body: dict[str, Any] = {
        "channel": channel,
        "subscription": subscription,
        "selection": selection,
    }
    if rate_per_s is not None:
        body["rate_per_s"] = rate_per_s
    printed(commands.replay(ctx.obj, body), show.begun, as_json=as_json)
