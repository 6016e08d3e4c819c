"""The commands that ask the relay, a module for each noun. Parameters of functions are options."""

from __future__ import annotations

from relay_client.commands import account, events, replays, sending, subscriptions, waiting
from relay_terminal.usage import App

app = App()
# As they are listed.
for noun in (account, replays, sending, waiting, subscriptions):
    app.registered_commands += noun.app.registered_commands
app.add_typer(events.app, name="events")
