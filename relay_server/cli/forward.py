"""`relay-server forward …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, Name, OfChannel, Yes, printed

app = typer.Typer(help="Subscriptions that the server itself posts to a URL.", no_args_is_help=True)

Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds for the whole answer. (default: 30)")
]
Concurrency = Annotated[
    int | None, typer.Option(help="Requests that are open at once. (default: 8)")
]
HeaderFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--header-file",
        metavar="NAME=FILE",
        help="Header to add to each request, its value in a file. Repeat for more.",
    ),
]


@app.command("create")
def forward_create(
    ctx: typer.Context,
    channel: OfChannel,
    url: Annotated[str, typer.Argument(help="Where to, e.g. http://bot:8001/webhook.")],
    name: Annotated[str | None, typer.Option(help="Its name. (default: forward)")] = None,
    timeout_s: Timeout = None,
    concurrency: Concurrency = None,
    header_file: HeaderFiles = None,
    since: Annotated[
        str | None, typer.Option(help="Where it starts: now, beginning, 2h, 3d, or a time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the server itself post a channel's webhooks to a URL."""
    from relay_server.commands.calls import call
    from relay_server.commands.forwards import forward_fields
    from relay_server.show import forwards as show

    body = forward_fields(
        channel=channel,
        url=url,
        name=name,
        timeout_s=timeout_s,
        concurrency=concurrency,
        header_files=header_file,
        since=since,
    )
    printed(call(ctx.obj, "POST", "forwards", body=body), show.forward, as_json=as_json)


@app.command("list")
def forward_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the forwards, and what waits for each."""
    from relay_server.commands.calls import call
    from relay_server.show import forwards as show

    printed(call(ctx.obj, "GET", "forwards"), show.forwards, as_json=as_json)


@app.command("set")
def forward_set(
    ctx: typer.Context,
    channel: OfChannel,
    name: Name,
    url: Annotated[str | None, typer.Option(help="Where to.")] = None,
    timeout_s: Timeout = None,
    concurrency: Concurrency = None,
    header_file: HeaderFiles = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Add no headers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change a forward; what is not named stays. Headers are set as a whole."""
    from relay_server.commands.calls import call
    from relay_server.commands.forwards import forward_fields
    from relay_server.show import forwards as show

    body = forward_fields(
        url=url,
        timeout_s=timeout_s,
        concurrency=concurrency,
        header_files=[] if no_headers else header_file,
    )
    changed = call(ctx.obj, "PATCH", "forwards", channel, name, body=body)
    printed(changed, show.forward, as_json=as_json)


@app.command("pause")
def forward_pause(
    ctx: typer.Context, channel: OfChannel, name: Name, as_json: AsJson = False
) -> None:
    """Post nothing until it is resumed; what comes waits."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    changed = call(ctx.obj, "PATCH", "forwards", channel, name, body={"paused": True})
    printed(changed, show.paused, as_json=as_json)


@app.command("resume")
def forward_resume(
    ctx: typer.Context, channel: OfChannel, name: Name, as_json: AsJson = False
) -> None:
    """Go on with a forward that was paused, by hand or because its target answered 410."""
    from relay_server.commands.calls import call
    from relay_server.show import subscriptions as show

    changed = call(ctx.obj, "PATCH", "forwards", channel, name, body={"paused": False})
    printed(changed, show.paused, as_json=as_json)


@app.command("delete")
def forward_delete(ctx: typer.Context, channel: OfChannel, name: Name, yes: Yes = False) -> None:
    """End a forward, and forget what waits for it."""
    from relay_server.commands.calls import call

    if not yes:
        typer.confirm(f"End {name} of {channel}, and what waits for it?", abort=True, err=True)
    call(ctx.obj, "DELETE", "forwards", channel, name)
    typer.echo(f"Ended {name} of {channel}.")
