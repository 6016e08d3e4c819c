"""The commands that ask the relay, a module for each noun. Parameters of functions are options."""

from __future__ import annotations

from relay_client.commands import (
    account,
    bot,
    cases,
    evaluating,
    events,
    replaying,
    replays,
    sending,
    subscriptions,
    waiting,
)
from relay_terminal.usage import App

app = App()
# As they are listed.
for noun in (account, replaying, sending, waiting, cases, subscriptions):
    app.registered_commands += noun.app.registered_commands
bot.app.registered_commands += evaluating.app.registered_commands
for name, listing in {
    "events": events.app,
    "replays": replays.listing,
    "dead": cases.dead,
    "pins": cases.pins,
    "subscription": subscriptions.subscription,
    "bot": bot.app,
}.items():
    app.add_typer(listing, name=name)
