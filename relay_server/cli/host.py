"""Commands for the server as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from relay_server.cli.options import AsJson, DataDir, printed

app = typer.Typer(
    help="Takes webhooks, stores them, and pushes them to whoever reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
    from relay_server.commands import host as commands
    from relay_server.show import host as show

    result = commands.init(ctx.obj, public_url)
    printed(result, show.init, as_json=as_json)


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Say how channels and readers are doing, and what is set."""
    from relay_server.commands import host as commands
    from relay_server.show import host as show

    printed(commands.status(ctx.obj), show.status, as_json=as_json)


@app.command()
def health(ctx: typer.Context) -> None:
    """Ask the running server whether it is ready; exit status 0 when it is."""
    from relay_server.commands import host as commands

    typer.echo(commands.health(ctx.obj))


@app.command()
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the whole store to a file, whether or not the server runs."""
    from relay_server.commands.calls import call
    from relay_server.show import host as show

    result = call(ctx.obj, "POST", "backup", body={"file": str(file.absolute())})
    printed(result, show.backup, as_json=as_json)


@app.command()
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the store, which is kept beside it; with the server stopped."""
    from relay_server.commands.host import restore
    from relay_server.show import host as show

    if not yes:
        typer.confirm(f"Replace the store by {file}?", abort=True, err=True)
    printed(restore(ctx.obj, file), show.restore, as_json=as_json)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
