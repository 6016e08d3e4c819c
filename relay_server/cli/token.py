"""`relay-server token …`: secrets that let senders and readers in."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.asking import Json, call
from relay_server.cli.options import Name, shown
from relay_server.cli.text import lines, table, when

app = typer.Typer(help="Secrets that let senders and readers in.", no_args_is_help=True)


def show_tokens(result: Json) -> None:
    """A line a token."""
    table(
        ("token", "scopes", "channels", "made"),
        [
            (t["name"], ", ".join(t["scopes"]), _channels(t), when(t["created_at"]))
            for t in result["tokens"]
        ],
    )


def show_new_token(result: Json) -> None:
    """The secret, alone on its line so that it can be copied."""
    lines(
        f"Token {result['name']} ({', '.join(result['scopes'])} on {_channels(result)}):",
        "",
        result["token"],
        "",
        "It is shown this once: only a digest of it is kept.",
    )


def _channels(token: Json) -> str:
    return "every channel" if token["channels"] is None else ", ".join(token["channels"])


@app.command("create")
@shown(show_new_token)
def token_create(
    ctx: typer.Context,
    name: Name,
    scope: Annotated[list[str], typer.Option(help="send, subscribe or admin. Repeat for more.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="Where it is good. Repeat for more; all if left out.")
    ] = None,
) -> Json:
    """Make a token and print it, once: only a digest is kept."""
    body = {"name": name, "scopes": scope, "channels": channel or None}
    return call(ctx, "POST", "tokens", body=body)


@app.command("list")
@shown(show_tokens)
def token_list(ctx: typer.Context) -> Json:
    """List the tokens, without their secrets."""
    return call(ctx, "GET", "tokens")


@app.command("revoke")
def token_revoke(ctx: typer.Context, name: Name) -> None:
    """Revoke a token at once; its connections are closed."""
    call(ctx, "DELETE", "tokens", name)
    typer.echo(f"Revoked {name}. What its subscriptions have not had yet stays stored.")
