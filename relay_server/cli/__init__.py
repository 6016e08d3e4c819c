"""The command `relay-server`: a module for each noun holds its options, requests and answers.

A command reads its options, asks the API (of the server that runs on the data dir, or of itself,
alone, while none does: `control.py`) and prints the answer, as JSON or for people. What takes long
to import is imported where it is used: `--help` and `health` need none of it.
"""

from __future__ import annotations

from relay_server.cli import (
    audit,
    channels,
    chatwoot,
    doctor,
    drifts,
    events,
    host,
    invitations,
    replays,
    stores,
    subscriptions,
)
from relay_server.cli.command import command as make_command  # its module keeps its name
from relay_terminal.completion import add_completion
from relay_terminal.program import FAILED, USAGE, run_program

app = host.app
make_command(app, "replay", replays.show_begun)(replays.replay)
app.add_typer(channels.app, name="channel")
app.add_typer(channels.tokens, name="token")
app.add_typer(invitations.app, name="invite")
app.add_typer(subscriptions.app, name="subscription")
app.add_typer(subscriptions.forwards, name="forward")
app.add_typer(events.app, name="events")
app.add_typer(replays.app, name="replays")
app.add_typer(replays.dead, name="dead")
app.add_typer(audit.app, name="audit")
app.add_typer(chatwoot.app, name="chatwoot")
app.command()(doctor.doctor)
app.add_typer(drifts.app, name="drift")
app.add_typer(stores.app, name="store")
add_completion(app, "relay-server")


def main() -> None:
    """Run a command."""
    run_program("relay-server", app, lambda exc: USAGE if exc.code == "invalid_setting" else FAILED)
