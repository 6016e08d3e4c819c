"""The `relay-client` command: its options, and the one place where errors become exit statuses.

What a command does is in the module that it imports when it runs: `--help` is quick that way.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

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
Channel = Annotated[str | None, typer.Option(help="Of which channel.")]
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


_OF_RELAY = {"url": Url, "token": Token, "token_file": TokenFile, "ca_file": CaFile}


@dataclass(frozen=True)
class Given:
    """The configuration that a command was given, and the streams it writes to.

    Attributes:
        as_json: JSON alone is printed, for programs.
    """

    configuration: Configuration
    console: Console
    as_json: bool = False

    def run(self, command: Callable[..., Coroutine[object, object, _T]], *arguments: object) -> _T:
        """Run a command of these modules to its end."""
        return _run(command(*arguments, self.configuration, self.console, as_json=self.as_json))


def _relay_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which relay, and `--json`, behind its own.

    All that are named like a setting are settings of this run. The function gets what that comes
    to, and then its own options.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [_option(name, kind, None) for name, kind in _OF_RELAY.items()]

    @functools.wraps(function)
    def command(ctx: typer.Context, *, as_json: bool = False, **options: Any) -> None:
        given = Given(*_prepare(ctx, **options), as_json)
        function(given, **{one.name: options[one.name] for one in own})

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *own, *shared, _option("as_json", Json, False)]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    )
    return command


def _option(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


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
    from relay_client.connect import run_connect

    _run(run_connect(*_prepare(ctx, **ctx.params)))


@app.command()
@_relay_command
def whoami(given: Given) -> None:
    """Say who the token stands for, and where each setting comes from."""
    from relay_client.commands import run_whoami

    given.run(run_whoami)


@app.command()
@_relay_command
def channels(given: Given) -> None:
    """List the channels that the token may use."""
    from relay_client.commands import run_channels

    given.run(run_channels)


@app.command()
@_relay_command
def status(given: Given) -> None:
    """Say how the relay, your channels and subscriptions are."""
    from relay_client.commands import run_status

    given.run(run_status)


@app.command()
@_relay_command
def replay(
    given: Given,
    events: Annotated[list[str] | None, typer.Argument(help="Ids of events, evt_…")] = None,
    first: Annotated[int | None, typer.Option(help="From this sequence number on.")] = None,
    last: Annotated[int | None, typer.Option(help="Up to this sequence number.")] = None,
    received_since: Annotated[
        str | None, typer.Option("--since", help="Received since: 2h, 3d, or a time (RFC 3339).")
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
    name: Name = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
) -> None:
    """Get events once more, with the same ids: those for which all that is said is true."""
    from relay_client import replays

    chosen = replays.selection(
        events=events or (),
        first=first,
        last=last,
        since=received_since,
        until=until,
        kind=kind,
        key=key,
        text=text,
        dead=dead,
        all=all_,
    )
    given.run(replays.run_replay, chosen, rate_per_s)


@app.command("replays")
@_relay_command
def list_replays(
    given: Given,
    stop: Annotated[
        int | None, typer.Option(min=1, help="Stop the replay of this number first.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Of which channel alone.")] = None,
) -> None:
    """List the replays of your channels and how far each is; stop one that you began."""
    from relay_client.replays import run_replays

    given.run(run_replays, stop)


@app.command()
@_relay_command
def resume(
    given: Given,
    channel: Annotated[
        str | None, typer.Option(help="Its channel. (default: the token's, or chatwoot)")
    ] = None,
    name: Name = None,
) -> None:
    """Go on with a subscription that was paused because your app answered 410."""
    from relay_client.commands import run_resume

    given.run(run_resume)


@app.command()
@_relay_command
def doctor(given: Given, to: To = None, timeout_s: Timeout = None) -> None:
    """Send a canary all the way to your app and back, and say what to do where it stops."""
    from relay_client.doctor import run_doctor

    raise typer.Exit(given.run(run_doctor))


def _prepare(
    ctx: typer.Context, *, with_login: bool = True, **options: object
) -> tuple[Configuration, Console]:
    from relay_client.settings import ClientSettings, load

    flags = {name: value for name, value in options.items() if name in ClientSettings.model_fields}
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
