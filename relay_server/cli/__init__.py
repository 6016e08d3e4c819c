"""The command `relay-server`: parse, call, show; one place turns errors into exit statuses."""

from __future__ import annotations

import sys

from relay_http.streams import standard_streams, tell
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

FAILED, USAGE = 1, 2

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
    with standard_streams():
        try:
            app()
        except RelayError as exc:
            tell(f"relay-server: {exc}")
            if exc.hint:
                tell(exc.hint)
            sys.exit(USAGE if exc.code == "invalid_setting" else FAILED)
