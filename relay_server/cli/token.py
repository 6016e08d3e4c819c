"""`relay-server token …`: secrets that let senders and readers in."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.asking import Json, call, printed
from relay_server.cli.options import AsJson, Name
from relay_server.cli.text import lines, table, when

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
    body = {"name": name, "scopes": scope, "channels": channel or None}
    printed(call(ctx, "POST", "tokens", body=body), show_new_token, as_json=as_json)


@app.command("list")
def token_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    printed(call(ctx, "GET", "tokens"), show_tokens, as_json=as_json)


@app.command("revoke")
def token_revoke(ctx: typer.Context, name: Name) -> None:
    """Revoke a token at once; its connections are closed."""
    call(ctx, "DELETE", "tokens", name)
    typer.echo(f"Revoked {name}. What its subscriptions have not had yet stays stored.")


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
