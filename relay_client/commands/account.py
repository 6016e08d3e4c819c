"""Commands on the relay as a whole: who one is, which channels there are, how all is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from relay_client import __version__
from relay_client.commands.subscriptions import state_of
from relay_client.options import Given, asking
from relay_protocol.text import harmless
from relay_terminal.layout import Colour, duration, pairs, when
from relay_terminal.usage import App
from relay_terminal.words import _, counted

if TYPE_CHECKING:
    from relay_client.answers import ChannelStatus, Status, SubscriptionStatus

app = App()


@app.command()
@asking
async def whoami(given: Given) -> None:
    """Say who the token stands for, and where each setting comes from."""
    me = await given.api.whoami()
    url = given.api.url
    whole = {
        "name": me.name,
        "scopes": me.scopes,
        "channels": me.channels,
        "server_version": me.server_version,
        "client_version": __version__,
        "url": url,
        "project": str(given.configuration.project or "") or None,
        "settings": given.configuration.described(),
    }
    names = _("all") if me.channels is None else ", ".join(me.channels) or _("none")
    identity = [
        (
            _("relay"),
            _("{url}, version {version}").format(url=url, version=harmless(me.server_version)),
        ),
        (
            _("token"),
            _("{name}, may {scopes}").format(
                name=harmless(me.name), scopes=harmless(", ".join(me.scopes))
            ),
        ),
        (_("channels"), harmless(names)),
        (_("client"), _("version {version}").format(version=__version__)),
    ]
    cells = given.console.cells
    given.show(whole, lambda: [*pairs(identity, cells), *_sources(given)])


@app.command()
@asking
async def dashboard(given: Given) -> None:
    """Print a link that logs you in to the dashboard: once, and within a minute."""
    from relay_client.answers import LoginLink

    answer = await given.api.ask("POST", "login-links", LoginLink)

    def lines() -> list[str]:
        title = _("Open this link within a minute; it works once:")
        return [title, f"  {harmless(answer.read().url, 1_000)}"]

    given.show(answer.whole, lines)


@app.command()
@asking
async def channels(given: Given) -> None:
    """List the channels that the token may use."""
    answer = await given.api.channels()

    def rows() -> Iterator[tuple[str, ...]]:
        yield _("CHANNEL"), _("WEBHOOK URL"), _("SENDERS PROVE THEMSELVES BY"), _("KEPT")
        for one in answer.read().channels:
            proof = ", ".join(one.sender_auth) or _("nothing")
            url = given.api.url + one.webhook_path
            yield harmless(one.name), harmless(url), harmless(proof), f"{one.retention_days:g} d"

    given.show(answer.whole, lambda: given.console.table([*rows()]))


@app.command()
@asking
async def status(given: Given) -> None:
    """Say how the relay, your channels and subscriptions are."""
    answer = await given.api.status()
    settings = given.configuration.described()
    whole = {**answer.whole, "url": given.api.url, "client_settings": settings}
    given.show(whole, lambda: _status_lines(given, answer.read()))


def _sources(given: Given) -> list[str]:
    """Say where each setting comes from, but for defaults."""
    rows = [(_("SETTING"), _("VALUE"), _("FROM"))]
    for name, described in given.configuration.described().items():
        value, source = described["value"], described["source"]
        if source != "default":
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            rows.append((name, harmless(shown), _(str(source))))
    return ["", *given.console.table(rows)] if len(rows) > 1 else []


def _status_lines(given: Given, found: Status) -> list[str]:
    up = _("{url} is up for {time}, version {version}").format(
        url=given.api.url, time=duration(found.uptime_s), version=harmless(found.version)
    )
    channels = [
        (_("CHANNEL"), _("EVENTS"), _("FULL"), _("LAST RECEIVED")),
        *map(_channel_row, found.channels),
    ]
    heading = (_("CHANNEL"), _("SUBSCRIPTION"), _("STATE"), _("WAITING"), _("DEAD"))
    rows: list[tuple[str, ...]] = [heading]
    for one in found.subscriptions:
        row = _subscription_row(one)
        if one.paused:  # it must not be overlooked
            row = tuple(given.console.paint(cell, Colour.BAD) for cell in row)
        rows.append(row)
    forgotten = [_forgotten(one) for one in found.subscriptions if one.away_long and one.own]
    table = given.console.table
    lines = [up, "", *table(channels), "", *table(rows), *forgotten]
    return [*lines, *_sources(given)]


def _forgotten(one: SubscriptionStatus) -> str:
    """What holds its events for nobody, and how to end that."""
    text = _("{name} has had no client since {time}, and keeps what waits: {command}")
    command = shlex.join(
        ["relay-client", "subscription", "delete", harmless(one.name), "--channel", one.channel]
    )
    name, time = harmless(one.name), when(one.away_since, zoned=True)
    return text.format(name=name, time=time, command=harmless(command))


def _channel_row(one: ChannelStatus) -> tuple[str, ...]:
    full = "-" if one.full_percent is None else f"{one.full_percent:g} %"
    return harmless(one.name), counted(one.events), full, when(one.last_received_at, zoned=True)


def _subscription_row(one: SubscriptionStatus) -> tuple[str, ...]:
    counts = counted(one.backlog), counted(one.dead)
    return harmless(one.channel), harmless(one.name), state_of(one), *counts
