"""The `relay-client` command."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from relay_client import __version__
from relay_client.console import Colour, Console
from relay_client.errors import ClientError
from relay_http.streams import standard_streams
from relay_protocol.errors import RelayError
from relay_protocol.text import harmless

if TYPE_CHECKING:
    from relay_client.settings import Configuration

_T = TypeVar("_T")

app = typer.Typer(
    name="relay-client",
    help="Brings the webhooks of a relay to the machine you develop on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # errors are told by main
)

Url = Annotated[str | None, typer.Option("--url", help="The relay, https://HOST.")]
Token = Annotated[
    str | None,
    typer.Option("--token", help="The token; others on this machine can see it. Rather a file."),
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File with the token.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="More certificates to trust, in PEM.")
]
Name = Annotated[
    str | None, typer.Option("--as", help="Name of the subscription. (default: the token's)")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="[CHANNEL=]HOST:PORT[/path]",
        help="Where your app listens. Repeatable. With a path everything goes to that path.",
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds your app may take. (default: 30)")
]


def main() -> None:
    """Run a command; the one place where errors become exit statuses."""
    with standard_streams():
        console = Console.of_process()
        try:
            app(obj=console)
        except RelayError as exc:
            _tell(console, exc)
            sys.exit(exc.exit_status if isinstance(exc, ClientError) else 1)


@app.callback(invoke_without_command=True)
def top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        ctx.obj.line(f"relay-client {__version__}")
        raise typer.Exit


@app.command()
def login(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="The relay, e.g. https://relay.example.com.")],
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Check a token with a relay and keep it; asks for it, or reads it from standard input."""
    from relay_client.commands import run_login

    configuration, console = _prepare(ctx, with_login=False, ca_file=ca_file)
    _run(run_login(url, token_file, configuration, console, as_json=as_json))


@app.command()
def logout(ctx: typer.Context, as_json: Json = False) -> None:
    """Forget the saved login."""
    from relay_client.commands import run_logout

    run_logout(*_prepare(ctx, with_login=False), as_json=as_json)


@app.command()
def connect(
    ctx: typer.Context,
    to: To = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel of a target that names none.")
    ] = None,
    name: Name = None,
    share: Annotated[
        bool | None,
        typer.Option(
            "--share", help="Share the work with other clients of this name that say --share."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Where a new subscription starts: now, beginning, 2h, 3d, or a time."),
    ] = None,
    timeout_s: Timeout = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Webhooks your app gets at once. (default: 8)")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="pretty, plain or json. (default: pretty on a terminal)")
    ] = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Replay every webhook of your channels against a local server, until interrupted."""
    configuration, console = _prepare(
        ctx,
        to=tuple(to or ()),
        channel=channel,
        name=name,
        share=share,
        since=since,
        timeout_s=timeout_s,
        concurrency=concurrency,
        output=output,
        url=url,
        token=token,
        token_file=token_file,
        ca_file=ca_file,
    )
    from relay_client.connect import run_connect

    _run(run_connect(configuration, console))


@app.command()
def whoami(
    ctx: typer.Context,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Say who the token stands for, and where each setting comes from."""
    from relay_client.commands import run_whoami

    prepared = _prepare(ctx, url=url, token=token, token_file=token_file, ca_file=ca_file)
    _run(run_whoami(*prepared, as_json=as_json))


@app.command()
def channels(
    ctx: typer.Context,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List the channels that the token may use."""
    from relay_client.commands import run_channels

    prepared = _prepare(ctx, url=url, token=token, token_file=token_file, ca_file=ca_file)
    _run(run_channels(*prepared, as_json=as_json))


@app.command()
def status(
    ctx: typer.Context,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Say how the relay, your channels and subscriptions are."""
    from relay_client.commands import run_status

    prepared = _prepare(ctx, url=url, token=token, token_file=token_file, ca_file=ca_file)
    _run(run_status(*prepared, as_json=as_json))


@app.command()
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
    channel: Annotated[str | None, typer.Option(help="Of which channel.")] = None,
    name: Name = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Get events once more, with the same ids: those for which all that is said is true."""
    from relay_client import replays

    chosen = replays.selection(
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
    prepared = _prepare(
        ctx,
        channel=channel,
        name=name,
        url=url,
        token=token,
        token_file=token_file,
        ca_file=ca_file,
    )
    _run(replays.run_replay(chosen, rate_per_s, *prepared, as_json=as_json))


@app.command("replays")
def list_replays(
    ctx: typer.Context,
    stop: Annotated[
        int | None, typer.Option(min=1, help="Stop the replay of this number first.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Of which channel alone.")] = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List the replays of your channels and how far each is; stop one that you began."""
    from relay_client.replays import run_replays

    prepared = _prepare(
        ctx, channel=channel, url=url, token=token, token_file=token_file, ca_file=ca_file
    )
    _run(run_replays(stop, *prepared, as_json=as_json))


@app.command()
def resume(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Option(help="Its channel. (default: the token's, or chatwoot)")
    ] = None,
    name: Name = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Go on with a subscription that was paused because your app answered 410."""
    from relay_client.commands import run_resume

    prepared = _prepare(
        ctx,
        channel=channel,
        name=name,
        url=url,
        token=token,
        token_file=token_file,
        ca_file=ca_file,
    )
    _run(run_resume(*prepared, as_json=as_json))


@app.command()
def doctor(
    ctx: typer.Context,
    to: To = None,
    timeout_s: Timeout = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a canary all the way to your app and back, and say what to do where it stops."""
    from relay_client.doctor import run_doctor

    configuration, console = _prepare(
        ctx,
        to=tuple(to or ()),
        timeout_s=timeout_s,
        url=url,
        token=token,
        token_file=token_file,
        ca_file=ca_file,
    )
    raise typer.Exit(_run(run_doctor(configuration, console, as_json=as_json)))


def _prepare(
    ctx: typer.Context, *, with_login: bool = True, **flags: object
) -> tuple[Configuration, Console]:
    from relay_client.settings import load

    configuration = load(flags, with_login=with_login)
    console: Console = ctx.obj
    return configuration, console.coloured(configuration.colour)


def _run(work: Coroutine[object, object, _T]) -> _T:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _tell(console: Console, exc: RelayError) -> None:
    """Say on the error stream what happened, and what to do."""
    err_colour = console.paint("Error:", Colour.BAD)
    console.note(f"{err_colour} {harmless(str(exc), 1_000)}")
    if exc.hint:
        console.note(harmless(exc.hint, 1_000))
