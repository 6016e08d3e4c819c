"""Where a subscription begins, as `connect --from` says.

A new one begins where it says. One that is there goes on where it was, whatever is said: then that
is explained, and what waits is skipped where a person says yes to it.
"""

from __future__ import annotations

import dataclasses
import time

from relay_client.answers import SubscriptionStatus
from relay_client.api import Api
from relay_client.commands.meant import names_event
from relay_client.commands.subscriptions import skip_question, skip_waiting, waiting_text
from relay_client.errors import RelayUnreachable
from relay_client.routes import Route, parse_since
from relay_client.settings import Configuration
from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_terminal.console import Console
from relay_terminal.program import confirmed
from relay_terminal.words import _


async def settle_beginning(configuration: Configuration, console: Console) -> Configuration:
    """Say what becomes of `--from`, and give it as a time.

    Raises:
        UsageError: It is no moment.
        RelayProblem: The relay knows no such event.
        typer.Abort: The answer to the question was no.
    """
    since = configuration.settings.since
    if not names_event(since):
        parse_since(since, round(time.time() * 1_000))
    try:
        async with Api(configuration.relay()) as api:
            if names_event(since):
                since = rfc3339((await api.event(since)).read().received_at)
            for known in await _known(api, configuration):
                await _explain(api, known, since, console)
    except RelayUnreachable:
        pass  # connect waits for it; a new subscription begins there all the same
    settings = dataclasses.replace(configuration.settings, since=since)
    return dataclasses.replace(configuration, settings=settings)


async def _known(api: Api, configuration: Configuration) -> list[SubscriptionStatus]:
    settings = configuration.settings
    if settings.temporary:
        return []
    name = settings.name or (await api.whoami()).name
    channels = {Route.parse(text).channel or settings.channel for text in settings.to}
    if None in channels:
        channels = channels - {None} | {
            await api.choose_channel(_("Say which one: --channel NAME"))
        }
    known = (await api.status()).read().subscriptions
    return [one for one in known if one.name == name and one.channel in channels]


async def _explain(api: Api, known: SubscriptionStatus, since: str, console: Console) -> None:
    name, waiting = harmless(known.name), waiting_text(known)
    if since != "now":
        console.note(
            _(
                "Note: {name} is there already and goes on where it was; {waiting} To get events"
                " again: relay-client replay --since {since}"
            ).format(name=name, waiting=waiting, since=harmless(since))
        )
    elif known.backlog and console.asks:
        confirmed(skip_question(known), yes=False)
        await skip_waiting(api, known.channel, known.name, None)
    elif known.backlog:
        console.note(
            _(
                "Note: {name} goes on where it was; {waiting} To skip them: relay-client skip --yes"
            ).format(name=name, waiting=waiting)
        )
