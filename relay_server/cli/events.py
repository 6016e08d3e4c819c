"""`relay-server events …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, printed

app = typer.Typer(help="What came in, and what became of it.", no_args_is_help=True)


@app.command("list")
def events_list(
    ctx: typer.Context,
    channel: Annotated[str | None, typer.Option(help="Of which channel.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    before: Annotated[
        int | None, typer.Option(help="Only those before this sequence number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest events, and what became of each."""
    from relay_server.commands.calls import call
    from relay_server.show import events as show

    query = {"channel": channel, "limit": limit, "before": before}
    printed(call(ctx.obj, "GET", "events", query=query), show.events, as_json=as_json)


@app.command("show")
def events_show(
    ctx: typer.Context,
    event: Annotated[str, typer.Argument(help="Its id, evt_…")],
    as_json: AsJson = False,
) -> None:
    """Show an event whole: headers, body and every attempt."""
    from relay_server.commands.calls import call
    from relay_server.show import events as show

    printed(call(ctx.obj, "GET", "events", event), show.event, as_json=as_json)
