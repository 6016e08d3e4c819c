"""The `relay-client` command.

Here are the commands that use more of this machine than the relay's answers; `commands` has the
others.
"""

from __future__ import annotations

import dataclasses
import functools
import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client import __version__, saved_login
from relay_client.errors import ClientError, TokenRefused, UsageError
from relay_client.options import (
    CaFile,
    InsecureTarget,
    Json,
    Name,
    Profile,
    TargetCa,
    Timeout,
    To,
    Token,
    TokenFile,
    Trust,
    Url,
    prepare,
    run,
)
from relay_client.project import FILE
from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal.completion import add_completion
from relay_terminal.console import Console
from relay_terminal.program import FAILED, run_program
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Whoami
    from relay_client.relay import Relay
    from relay_client.settings import Configuration

app = App("Brings the webhooks of a relay to the machine you develop on.", completes=True)


def main() -> None:
    """Run a command."""
    run_program("relay-client", app if sys.argv[1:2] == ["connect"] else whole(), _status_of)


@functools.cache
def whole() -> App:
    """The program with every command; a client that runs for days keeps no other in memory."""
    from relay_client import commands

    # As they are listed.
    app.registered_commands[3:3] = commands.app.registered_commands
    app.registered_groups += commands.app.registered_groups
    add_completion(app, "relay-client")
    return app


def _status_of(error: RelayError) -> int:
    return error.exit_status if isinstance(error, ClientError) else FAILED


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
    url: Annotated[
        str,
        typer.Argument(help="The relay, e.g. https://relay.example.com; or an invitation's URL."),
    ],
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Check a token with a relay and keep it; asks for it, or reads it from standard input.

    An invitation brings a token of its own.
    """
    configuration, console = prepare(ctx, with_login=False, ca_file=ca_file, profile=profile)
    run(run_login(url, token_file, configuration, console, as_json=as_json))


async def run_login(
    url: str,
    token_file: Path | None,
    configuration: Configuration,
    console: Console,
    *,
    as_json: bool,
) -> None:
    """Check a token with its relay, and keep both."""
    from relay_client.api import Api
    from relay_client.reasons import scope_missing
    from relay_client.relay import Relay, parse_invitation, parse_url
    from relay_client.settings import read_token

    url, code = parse_invitation(url)
    ca_file = configuration.settings.ca_file
    ca_file = ca_file.absolute() if ca_file is not None else None
    try:
        url = parse_url(url) if "://" in url else await _found(url, ca_file, console)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if code and token_file is not None:
        raise UsageError(_("an invitation brings a token of its own: leave --token-file away"))
    if token_file is not None:
        token = read_token(token_file)
    else:
        token = "" if code else _asked_token(console)
    relay = Relay(url, token, ca_file)
    if relay.sends_token_in_clear:
        console.note(
            _("Warning: {url} is without TLS: anyone on the way can read the token.").format(
                url=url
            )
        )
    if code:
        async with Api(relay) as api:
            token = await api.accept(code, saved_login.keep_nonce(configuration.folder))
        relay = dataclasses.replace(relay, token=token)
    me = await _who(relay)
    if (missing := scope_missing(me)) is not None:
        raise ClientError(str(missing), missing.hint)
    file = saved_login.save(configuration.folder, _login(relay), configuration.settings.profile)
    saved_login.forget_nonce(configuration.folder)
    if as_json:
        console.line(json.dumps({"url": url, "name": me.name, "file": str(file)}))
        return
    console.line(
        _("Logged in to {url} as {name}. Kept in {file}").format(
            url=url, name=harmless(me.name), file=file
        )
    )
    console.line(_("Next: relay-client connect --to localhost:8000"))
    for name in ("url", "token"):
        if configuration.sources[name] == "environment":
            console.note(
                _("Note: RELAY_CLIENT_{name} is set and outweighs this login.").format(
                    name=name.upper()
                )
            )


@app.command()
def logout(ctx: typer.Context, profile: Profile = None, as_json: Json = False) -> None:
    """Forget the saved login."""
    configuration, console = prepare(ctx, with_login=False, profile=profile)
    was_there = saved_login.forget(configuration.folder, configuration.settings.profile)
    said = _("Logged out.") if was_there else _("There was no login.")
    console.line(json.dumps({"logged_out": was_there}) if as_json else said)


@app.command()
def connect(
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET]…", help="Where your app listens: 8000 is localhost:8000."),
    ] = None,
    to: To = None,
    trust: Trust = False,
    target_ca: TargetCa = None,
    insecure_target: InsecureTarget = None,
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
    filter: Annotated[  # noqa: A002  (it is the option's name)
        str | None,
        typer.Option(
            help="Which webhooks the subscription gets from now on, e.g. 'kind:message_*"
            " -is:private'; '' for all. (default: as it is set)"
        ),
    ] = None,
    temporary: Annotated[
        bool | None,
        typer.Option(
            "--temporary", help="The subscription goes with this client, and holds no events then."
        ),
    ] = None,
    resign: Annotated[
        bool | None,
        typer.Option(
            "--resign/--no-resign",
            help="Have each webhook signed anew, so that your app takes late ones, or not from now"
            " on. (default: as it is set)",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Where a new subscription starts: now, beginning, 2h, 3d, a time or an event."
            " One that is there goes on; with now it asks to skip what waits. (default: cursor)",
        ),
    ] = None,
    old_since: Annotated[str | None, typer.Option("--since", hidden=True)] = None,
    timeout_s: Timeout = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Webhooks your app gets at once. (default: 8)")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="pretty, plain or json. (default: pretty on a terminal)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    profile: Profile = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Bring every webhook of your channels to your app as it comes, until interrupted."""
    from relay_client.connect import run_connect

    where = {"to": [*(targets or ()), *(to or ())], "since": since or old_since}
    how = {"output": "json" if as_json else output}
    configuration, console = _with_targets(ctx, **{**ctx.params, **where, **how})
    if configuration.settings.since != "cursor":
        from relay_client.beginning import settle_beginning

        configuration = run(settle_beginning(configuration, console))
    run(run_connect(configuration, console))


@app.command()
def doctor(
    ctx: typer.Context,
    to: To = None,
    trust: Trust = False,
    target_ca: TargetCa = None,
    insecure_target: InsecureTarget = None,
    timeout_s: Timeout = None,
    profile: Profile = None,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a canary all the way to your app and back, and say what to do where it stops."""
    from relay_client.doctor import run_doctor

    raise typer.Exit(run(run_doctor(*_with_targets(ctx, **ctx.params), as_json=as_json)))


def _with_targets(
    ctx: typer.Context, *, trust: bool, **options: Any
) -> tuple[Configuration, Console]:
    """As `prepare`, of a command that posts to targets: see that they are meant."""
    configuration, console = prepare(ctx, **options)
    if configuration.sources["to"] == FILE:
        from relay_client.trust import settle_trust

        settle_trust(configuration, console, trusts=trust)
    return configuration, console


async def _found(place: str, ca_file: Path | None, console: Console) -> str:
    """The URL of a relay that is named without a scheme: by https, on this machine also by http.

    Raises:
        ValueError: It can be none.
        ClientError: Nothing that is a relay answers there.
    """
    from relay_client.api import Api
    from relay_client.relay import Relay, parse_url

    secure, plain = (Relay(parse_url(f"{s}://{place}"), "", ca_file) for s in ("https", "http"))
    for relay in (secure, plain) if secure.is_loopback else (secure,):
        try:
            async with Api(relay) as api:
                await api.check_health()
        except ClientError:
            if relay is plain or not secure.is_loopback:
                raise
            continue
        console.note(_("{url} answers.").format(url=relay.url))
        return relay.url
    raise AssertionError("the last one answers or raises")


def _asked_token(console: Console) -> str:
    from relay_client.pasted import pasted_token

    if console.asks:
        return pasted_token(getpass.getpass("Token: ", stream=console.err))
    return pasted_token(sys.stdin.readline())


async def _who(relay: Relay) -> Whoami:
    from relay_client.api import Api
    from relay_client.pasted import refused

    try:
        async with Api(relay) as api:
            return await api.whoami()
    except TokenRefused as exc:
        raise refused(exc, relay.token) from exc


def _login(relay: Relay) -> dict[str, str]:
    login = {"url": relay.url, "token": relay.token}
    return login if relay.ca_file is None else {**login, "ca_file": str(relay.ca_file)}
