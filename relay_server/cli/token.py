"""`relay-server token …`: its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.options import AsJson, Name, printed

app = typer.Typer(help="Secrets that let senders and readers in.", no_args_is_help=True)


@app.command("create")
def token_create(
    ctx: typer.Context,
    name: Name,
    scope: Annotated[list[str], typer.Option(help="send, subscribe or admin. Repeat for more.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="Where it is good. Repeat for more; all if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once: only a digest is kept."""
    from relay_server.commands.calls import call
    from relay_server.show import tokens as show

    body = {"name": name, "scopes": scope, "channels": channel or None}
    printed(call(ctx.obj, "POST", "tokens", body=body), show.new_token, as_json=as_json)


@app.command("list")
def token_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    from relay_server.commands.calls import call
    from relay_server.show import tokens as show

    printed(call(ctx.obj, "GET", "tokens"), show.tokens, as_json=as_json)


@app.command("revoke")
def token_revoke(ctx: typer.Context, name: Name) -> None:
    """Revoke a token at once; its connections are closed."""
    from relay_server.commands.calls import call

    call(ctx.obj, "DELETE", "tokens", name)
    typer.echo(f"Revoked {name}. What its subscriptions have not had yet stays stored.")
