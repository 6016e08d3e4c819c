"""The program with every command."""

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
from relay_server.cli.command import command
from relay_terminal.completion import add_completion

app = host.app
command(app, "replay", replays.show_begun)(replays.replay)
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
