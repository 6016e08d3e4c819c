"""What the commands have in common: options, what a command is given, and how it is run.

What takes long to import is imported where a command runs: `--help` is quick that way.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from relay_client.errors import CHECK_URL, RelayProblem
from relay_terminal.console import Console
from relay_terminal.usage import Old
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.api import Api
    from relay_client.settings import Configuration

_T = TypeVar("_T")

Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Which of several saved logins to use."),
]
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
    str | None,
    typer.Option(
        "--as",
        Old("--subscription"),
        metavar="NAME",
        help="Name of the subscription. (default: the token's)",
    ),
]
Channel = Annotated[str | None, typer.Option(help="Of which channel.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="[CHANNEL=][https://]HOST:PORT[/path]",
        help="Where your app listens. Repeatable. With a path everything goes to that path.",
    ),
]
TargetCa = Annotated[
    Path | None,
    typer.Option("--target-ca", help="More certificates to trust of an app by https, in PEM."),
]
InsecureTarget = Annotated[
    bool | None,
    typer.Option("--insecure-target", help="Take any certificate of an app by https."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Take, from now on, targets of relay.toml that are not on this machine."
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Seconds your app may take. (default: 30)"),
]


_OF_RELAY = {
    "profile": Profile,
    "url": Url,
    "token": Token,
    "token_file": TokenFile,
    "ca_file": CaFile,
}


@dataclass(frozen=True)
class Given:
    """The configuration that a command was given, and the streams it writes to.

    Attributes:
        as_json: JSON alone is printed, for programs.
        api: The conversation with the relay.
    """

    configuration: Configuration
    console: Console
    as_json: bool
    api: Api

    def show(self, answer: Mapping[str, Any], lines: Callable[[], Iterable[str]]) -> None:
        """Print an answer for programs, or lines for people.

        JSON is in ASCII alone, so that nothing in an answer steers a terminal.

        Raises:
            RelayProblem: The answer is too deep, as no relay's is.
        """
        if not self.as_json:
            self.console.say(*lines())
            return
        try:
            self.console.line(json.dumps(answer))
        except RecursionError as exc:
            raise RelayProblem(_("what answers there is no relay"), CHECK_URL) from exc


def asking(function: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """Make a command of a function that asks the relay.

    It gets the options that say which relay, and `--json`, behind its own. All that are named like
    a setting are settings of this run. The function gets what that comes to, and its own options.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [_option(name, kind, None) for name, kind in _OF_RELAY.items()]

    @functools.wraps(function)
    def command(ctx: typer.Context, *, as_json: bool = False, **options: Any) -> None:
        configuration, console = prepare(ctx, **options)
        mine = {one.name: options[one.name] for one in own}
        run(ask(function, configuration, console, as_json=as_json, **mine))

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *own, *shared, _option("as_json", Json, False)]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    )
    return command


async def ask(
    function: Callable[..., Coroutine[object, object, _T]],
    configuration: Configuration,
    console: Console,
    *,
    as_json: bool,
    **options: Any,
) -> _T:
    """Run a command's function within a conversation with the relay."""
    from relay_client.api import Api

    async with Api(configuration.relay()) as api:
        return await function(Given(configuration, console, as_json, api), **options)


def prepare(
    ctx: typer.Context, *, with_login: bool = True, **options: object
) -> tuple[Configuration, Console]:
    """The configuration that options give, and the console that goes with it."""
    from relay_client.settings import ClientSettings, load

    flags = {name: value for name, value in options.items() if name in ClientSettings.declared()}
    configuration = load(flags, with_login=with_login)
    console: Console = ctx.obj
    return configuration, console.coloured(configuration.colour)


def run(work: Coroutine[object, object, _T]) -> _T:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _option(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
