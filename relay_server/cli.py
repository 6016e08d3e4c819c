"""The command `relay-server`: parse, call, show; one place turns errors into exit statuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_protocol.errors import RelayError

OK, FAILED, USAGE = 0, 1, 2

app = typer.Typer(
    help="Takes webhooks, stores them, and pushes them to whoever reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
channel_app = typer.Typer(help="Named inboxes, each with its own URL and rules.")
token_app = typer.Typer(help="Secrets that let senders and readers in.")
subscription_app = typer.Typer(help="Named readers of a channel, each with its own progress.")
events_app = typer.Typer(help="What came in, and what became of it.")
app.add_typer(channel_app, name="channel", no_args_is_help=True)
app.add_typer(token_app, name="token", no_args_is_help=True)
app.add_typer(subscription_app, name="subscription", no_args_is_help=True)
app.add_typer(events_app, name="events", no_args_is_help=True)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store [RELAY_SERVER_DATA_DIR].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Name = Annotated[str, typer.Argument(help="Its name.")]


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    data_dir: DataDir = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    ctx.obj = {"data_dir": data_dir}
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"relay-server {version_of('relay-tunnel')}")
        raise typer.Exit


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    ops_port: Annotated[int | None, typer.Option(help="Port of readiness and metrics.")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where senders and clients reach this server.")
    ] = None,
) -> None:
    """Run the server until it is stopped."""
    import asyncio

    from relay_server import log
    from relay_server.app import serve as serve_app
    from relay_server.settings import load
    from relay_server.stopping import no_more_signals

    settings, sources = load(
        **ctx.obj, host=host, port=port, ops_port=ops_port, public_url=public_url
    )
    log.set_up(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        status = runner.run(serve_app(settings, sources))
    no_more_signals()
    raise typer.Exit(status)


@app.command()
def init(
    ctx: typer.Context,
    public_url: Annotated[
        str | None,
        typer.Option(help="Where senders and clients reach this server; kept in settings.toml."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the data dir, the channel and its tokens; safe to repeat."""
    from relay_server import commands, show

    result = commands.init(ctx.obj, public_url)
    _print(result, show.init, as_json=as_json)


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Say how channels and readers are doing, and what is set."""
    from relay_server import commands, show

    _print(commands.status(ctx.obj), show.status, as_json=as_json)


@app.command()
def health(ctx: typer.Context) -> None:
    """Ask the running server whether it is ready; exit status 0 when it is."""
    from relay_server import commands

    typer.echo(commands.health(ctx.obj))


@app.command()
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the whole store to a file, whether or not the server runs."""
    from relay_server import commands, show

    result = commands.call(ctx.obj, "POST", "backup", body={"file": str(file.absolute())})
    _print(result, show.backup, as_json=as_json)


@app.command()
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the store, which is kept beside it; with the server stopped."""
    from relay_server import commands, show

    if not yes:
        typer.confirm(f"Replace the store by {file}?", abort=True, err=True)
    _print(commands.restore(ctx.obj, file), show.restore, as_json=as_json)


@channel_app.command("list")
def channel_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the channels."""
    from relay_server import commands, show

    _print(commands.call(ctx.obj, "GET", "channels"), show.channels, as_json=as_json)


@channel_app.command("show")
def channel_show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a channel and its rules."""
    from relay_server import commands, show

    _print(commands.call(ctx.obj, "GET", "channels", name), show.channel, as_json=as_json)


Sender = Annotated[str | None, typer.Option(help="Who posts to it: chatwoot or other.")]
TokenRule = Annotated[
    bool | None, typer.Option("--token/--no-token", help="Its sender must show a send token.")
]
HmacSecretFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--hmac-secret-file",
        help="File with a secret that its sender signs with; '-' reads a line. Repeat to rotate.",
    ),
]
HmacLogOnly = Annotated[
    bool | None,
    typer.Option("--hmac-log-only/--hmac-enforce", help="Log wrong signatures, or refuse them."),
]
NoHmac = Annotated[bool, typer.Option("--no-hmac", help="Ask for no signature.")]
AllowFrom = Annotated[
    list[str] | None,
    typer.Option(help="Network of its sender, e.g. 203.0.113.0/24. Repeat for more; '' for any."),
]
KeyPointer = Annotated[
    str | None, typer.Option(help="JSON pointer to what keeps order, e.g. /ticket/id.")
]
MaxBodyBytes = Annotated[int | None, typer.Option(help="Largest body; 0 for the server's.")]
RetentionDays = Annotated[float | None, typer.Option(help="Days that delivered events are kept.")]
RatePerS = Annotated[
    float | None, typer.Option(help="Webhooks a second that are taken; 0 for any number.")
]


@channel_app.command("create")
def channel_create(
    ctx: typer.Context,
    name: Name,
    sender: Sender = None,
    token: TokenRule = None,
    hmac_secret_file: HmacSecretFiles = None,
    hmac_log_only: HmacLogOnly = None,
    allow_from: AllowFrom = None,
    key_pointer: KeyPointer = None,
    max_body_bytes: MaxBodyBytes = None,
    retention_days: RetentionDays = None,
    rate_per_s: RatePerS = None,
    as_json: AsJson = False,
) -> None:
    """Make a channel."""
    from relay_server import commands, show

    body = commands.channel_fields(
        name=name,
        sender=sender,
        token=token,
        hmac_secret_files=hmac_secret_file,
        hmac_log_only=hmac_log_only,
        allow_from=allow_from,
        key_pointer=key_pointer,
        max_body_bytes=max_body_bytes,
        retention_days=retention_days,
        rate_per_s=rate_per_s,
    )
    _print(commands.call(ctx.obj, "POST", "channels", body=body), show.channel, as_json=as_json)


@channel_app.command("set")
def channel_set(
    ctx: typer.Context,
    name: Name,
    sender: Sender = None,
    token: TokenRule = None,
    hmac_secret_file: HmacSecretFiles = None,
    hmac_log_only: HmacLogOnly = None,
    no_hmac: NoHmac = False,
    allow_from: AllowFrom = None,
    key_pointer: KeyPointer = None,
    max_body_bytes: MaxBodyBytes = None,
    retention_days: RetentionDays = None,
    rate_per_s: RatePerS = None,
    as_json: AsJson = False,
) -> None:
    """Change a channel's rules; what is not named stays."""
    from relay_server import commands, show

    body = commands.channel_fields(
        sender=sender,
        token=token,
        hmac_secret_files=[] if no_hmac else hmac_secret_file,
        hmac_log_only=hmac_log_only,
        allow_from=allow_from,
        key_pointer=key_pointer,
        max_body_bytes=max_body_bytes,
        retention_days=retention_days,
        rate_per_s=rate_per_s,
    )
    result = commands.call(ctx.obj, "PATCH", "channels", name, body=body)
    _print(result, show.channel, as_json=as_json)


@channel_app.command("delete")
def channel_delete(
    ctx: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a channel with its events and readers."""
    from relay_server import commands

    if not yes:
        typer.confirm(f"Delete {name} with all its events?", abort=True, err=True)
    commands.call(ctx.obj, "DELETE", "channels", name)
    typer.echo(f"Deleted {name}.")


@token_app.command("create")
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
    from relay_server import commands, show

    body = {"name": name, "scopes": scope, "channels": channel or None}
    _print(commands.call(ctx.obj, "POST", "tokens", body=body), show.new_token, as_json=as_json)


@token_app.command("list")
def token_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    from relay_server import commands, show

    _print(commands.call(ctx.obj, "GET", "tokens"), show.tokens, as_json=as_json)


@token_app.command("revoke")
def token_revoke(ctx: typer.Context, name: Name) -> None:
    """Revoke a token at once; its connections are closed."""
    from relay_server import commands

    commands.call(ctx.obj, "DELETE", "tokens", name)
    typer.echo(f"Revoked {name}. What its subscriptions have not had yet stays stored.")


@subscription_app.command("list")
def subscription_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the subscriptions and what waits for each."""
    from relay_server import commands, show

    _print(commands.subscriptions(ctx.obj), show.subscriptions, as_json=as_json)


@subscription_app.command("delete")
def subscription_delete(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(help="Its channel.")],
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a subscription: what it has not had yet is not kept for it any more."""
    from relay_server import commands

    if not yes:
        typer.confirm(f"Forget {name} of {channel}, and what waits for it?", abort=True, err=True)
    commands.unsubscribe(ctx.obj, channel, name)
    typer.echo(f"Forgot {name} of {channel}.")


@events_app.command("list")
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
    from relay_server import commands, show

    _print(commands.events(ctx.obj, channel, limit, before), show.events, as_json=as_json)


@events_app.command("show")
def events_show(
    ctx: typer.Context,
    event: Annotated[str, typer.Argument(help="Its id, evt_…")],
    as_json: AsJson = False,
) -> None:
    """Show an event whole: headers, body and every attempt."""
    from relay_server import commands, show

    _print(commands.call(ctx.obj, "GET", "events", event), show.event, as_json=as_json)


def main() -> None:
    """Run the command, and turn errors into exit statuses."""
    try:
        app()
    except RelayError as exc:
        typer.echo(f"relay-server: {exc}", err=True)
        if exc.hint:
            typer.echo(exc.hint, err=True)
        sys.exit(USAGE if exc.code == "invalid_setting" else FAILED)
    except BrokenPipeError:
        sys.exit(OK)  # whoever read the output has seen enough


def _print(result: dict[str, Any], render: Any, *, as_json: bool) -> None:
    if as_json:
        import json

        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    render(result)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
