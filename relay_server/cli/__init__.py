"""The command `relay-server`: parse, call, show; one place turns errors into exit statuses."""

from __future__ import annotations

import sys

import typer

from relay_protocol.errors import RelayError
from relay_server.cli import (
    channel,
    dead,
    events,
    forward,
    host,
    replay,
    replays,
    subscription,
    token,
)

OK, FAILED, USAGE = 0, 1, 2

app = host.app
app.command()(replay.replay)
app.add_typer(channel.app, name="channel")
app.add_typer(token.app, name="token")
app.add_typer(subscription.app, name="subscription")
app.add_typer(forward.app, name="forward")
app.add_typer(events.app, name="events")
app.add_typer(replays.app, name="replays")
app.add_typer(dead.app, name="dead")


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
