"""The commands that ask the relay something, or keep something here."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from relay_client import __version__, answers, saved_login
from relay_client.answers import Status, SubscriptionStatus
from relay_client.api import Api, Whoami
from relay_client.console import Colour, Console, counted, duration, table
from relay_client.errors import ClientError, UsageError
from relay_client.relay import Relay, parse_url
from relay_client.settings import DEFAULT, Configuration, is_token, read_token
from relay_protocol.limits import MAX_UNIX_MS
from relay_protocol.text import harmless

_READERS = frozenset({"subscribe", "admin"})


async def run_login(
    url: str,
    token_file: Path | None,
    configuration: Configuration,
    console: Console,
    *,
    as_json: bool,
) -> None:
    """Check a token with its relay, and keep both."""
    try:
        url = parse_url(url)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    token = read_token(token_file) if token_file is not None else _asked_token(console)
    ca_file = configuration.settings.ca_file
    relay = Relay(url, token, ca_file.absolute() if ca_file is not None else None)
    if relay.sends_token_in_clear:
        console.note(f"Warning: {url} is without TLS: anyone on the way can read the token.")
    async with Api(relay) as api:
        me = await api.whoami()
    if _READERS.isdisjoint(me.scopes):
        raise ClientError(
            f"the token {harmless(me.name)} may only {' and '.join(me.scopes)}",
            "Ask for one with the scope subscribe.",
        )
    file = saved_login.save(configuration.folder, _login(relay))
    if as_json:
        console.line(json.dumps({"url": url, "name": me.name, "file": str(file)}))
        return
    console.line(f"Logged in to {url} as {harmless(me.name)}. Kept in {file}")
    console.line("Next: relay-client connect --to localhost:8000")
    for name in ("url", "token"):
        if configuration.sources[name] == "environment":
            console.note(f"Note: RELAY_CLIENT_{name.upper()} is set and outweighs this login.")


def run_logout(configuration: Configuration, console: Console, *, as_json: bool) -> None:
    """Forget the saved login."""
    was_there = saved_login.forget(configuration.folder)
    if as_json:
        console.line(json.dumps({"logged_out": was_there}))
    else:
        console.line("Logged out." if was_there else "There was no login.")


async def run_whoami(configuration: Configuration, console: Console, *, as_json: bool) -> None:
    """Say who the token stands for, and where each setting comes from."""
    relay = configuration.relay()
    async with Api(relay) as api:
        me = await api.whoami()
    if as_json:
        whole = {
            "name": me.name,
            "scopes": me.scopes,
            "channels": me.channels,
            "server_version": me.server_version,
            "client_version": __version__,
            "url": relay.url,
            "settings": configuration.described(),
        }
        console.line(json.dumps(whole))
        return
    for line in [*table(_identity(me, relay)), *_sources(configuration)]:
        console.line(line)


async def run_channels(configuration: Configuration, console: Console, *, as_json: bool) -> None:
    """List the channels that the token may use."""
    relay = configuration.relay()
    async with Api(relay) as api:
        answer = await api.channels()
    if as_json:
        console.line(answers.written(answer))
        return
    rows = [("CHANNEL", "WEBHOOK URL", "SENDERS PROVE THEMSELVES BY", "KEPT")]
    for channel in answers.read(answer, answers.Channels).channels:
        proof = ", ".join(channel.sender_auth) or "nothing"
        path = relay.url + channel.webhook_path
        days = f"{channel.retention_days:g} d"
        rows.append((harmless(channel.name), harmless(path), harmless(proof), days))
    for line in table(rows):
        console.line(line)


async def run_status(configuration: Configuration, console: Console, *, as_json: bool) -> None:
    """Say how the relay and the token's channels and subscriptions are."""
    relay = configuration.relay()
    async with Api(relay) as api:
        answer = await api.status()
    if as_json:
        settings = configuration.described()
        console.line(answers.written({**answer, "url": relay.url, "client_settings": settings}))
        return
    found = answers.read(answer, answers.Status)
    up = duration(found.uptime_s)
    console.line(f"{relay.url} is up for {up}, version {harmless(found.version)}")
    console.line("")
    for line in [*table(_channel_rows(found)), "", *_subscription_lines(found, console)]:
        console.line(line)
    for line in _sources(configuration):
        console.line(line)


async def run_resume(configuration: Configuration, console: Console, *, as_json: bool) -> None:
    """Have a subscription go on that the relay paused."""
    settings = configuration.settings
    async with Api(configuration.relay()) as api:
        channel = settings.channel or await api.choose_channel("Say which one: --channel NAME")
        name = settings.name or (await api.whoami()).name
        await api.resume(channel, name)
    if as_json:
        console.line(json.dumps({"channel": channel, "subscription": name, "resumed": True}))
        return
    console.line(f"{harmless(name)} goes on: what waited of {harmless(channel)} is delivered now.")


def _asked_token(console: Console) -> str:
    if console.asks:
        token = getpass.getpass("Token: ", stream=console.err).strip()
    else:
        token = sys.stdin.readline().strip()
    if not is_token(token):
        raise UsageError("that is no token: one word is expected", "Copy it as it was printed.")
    return token


def _login(relay: Relay) -> dict[str, str]:
    login = {"url": relay.url, "token": relay.token}
    return login if relay.ca_file is None else {**login, "ca_file": str(relay.ca_file)}


def _identity(me: Whoami, relay: Relay) -> Sequence[tuple[str, ...]]:
    channels = "all" if me.channels is None else ", ".join(me.channels) or "none"
    return [
        ("relay", f"{relay.url}, version {harmless(me.server_version)}"),
        ("token", f"{harmless(me.name)}, may {harmless(', '.join(me.scopes))}"),
        ("channels", harmless(channels)),
        ("client", f"version {__version__}"),
    ]


def _sources(configuration: Configuration) -> list[str]:
    """Say where each setting comes from, but for defaults."""
    rows = [("SETTING", "VALUE", "FROM")]
    for name, described in configuration.described().items():
        value, source = described["value"], described["source"]
        if source != DEFAULT:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            rows.append((name, harmless(shown), str(source)))
    return ["", *table(rows)] if len(rows) > 1 else []


def _channel_rows(status: Status) -> Sequence[tuple[str, ...]]:
    rows = [("CHANNEL", "EVENTS", "FULL", "LAST RECEIVED")]
    for channel in status.channels:
        full = "-" if channel.full_percent is None else f"{channel.full_percent:g} %"
        last = _moment(channel.last_received_at)
        rows.append((harmless(channel.name), str(channel.events), full, last))
    return rows


def _subscription_lines(status: Status, console: Console) -> list[str]:
    """A line a subscription; one that is paused must not be overlooked."""
    found = status.subscriptions
    heading, *lines = table([_SUBSCRIPTION_HEADING, *map(_subscription_row, found)])
    shown = [
        console.paint(line, Colour.BAD) if subscription.paused else line
        for line, subscription in zip(lines, found, strict=True)
    ]
    return [heading, *shown]


def _subscription_row(subscription: SubscriptionStatus) -> tuple[str, ...]:
    names = harmless(subscription.channel), harmless(subscription.name)
    waiting = counted(subscription.backlog, "webhook")
    return (*names, _state(subscription), waiting, str(subscription.dead))


def _state(subscription: SubscriptionStatus) -> str:
    state = "connected" if subscription.connected else "away"
    if subscription.forward:
        state = "forward"  # the server reads it itself
    elif subscription.readers > 1:
        state += f" ×{subscription.readers}"
    if subscription.target_down:
        state += ", target down"
    if subscription.paused:
        state += f", PAUSED: {harmless(subscription.paused)}"
    return state


_SUBSCRIPTION_HEADING = ("CHANNEL", "SUBSCRIPTION", "STATE", "WAITING", "DEAD")


def _moment(unix_ms: int | None) -> str:
    if unix_ms is None or not 0 <= unix_ms <= MAX_UNIX_MS:
        return "never"
    try:
        return datetime.fromtimestamp(unix_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (OverflowError, ValueError):  # the year 10,000 begins earlier in the east
        return "never"
