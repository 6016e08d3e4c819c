"""The commands that ask the relay: each function is one, and its parameters are its options."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client import __version__
from relay_client.console import Colour, counted, duration, table
from relay_client.errors import UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.limits import MAX_UNIX_MS
from relay_protocol.text import harmless

if TYPE_CHECKING:
    from relay_client.api import ChannelStatus, Plan, Replay, Status, SubscriptionStatus
    from relay_client.settings import Configuration

app = typer.Typer()

WHICH_EVENTS = (
    "Name events by id, or say --since 2h, --conversation 42, --kind, --filter or --dead; --all is"
    " everything that is kept."
)


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
        "settings": given.configuration.described(),
    }
    names = "all" if me.channels is None else ", ".join(me.channels) or "none"
    identity = [
        ("relay", f"{url}, version {harmless(me.server_version)}"),
        ("token", f"{harmless(me.name)}, may {harmless(', '.join(me.scopes))}"),
        ("channels", harmless(names)),
        ("client", f"version {__version__}"),
    ]
    given.show(whole, lambda: [*table(identity), *_sources(given.configuration)])


@app.command()
@asking
async def channels(given: Given) -> None:
    """List the channels that the token may use."""
    answer = await given.api.channels()

    def rows() -> Iterator[tuple[str, ...]]:
        yield "CHANNEL", "WEBHOOK URL", "SENDERS PROVE THEMSELVES BY", "KEPT"
        for one in answer.read().channels:
            proof = ", ".join(one.sender_auth) or "nothing"
            url = given.api.url + one.webhook_path
            yield harmless(one.name), harmless(url), harmless(proof), f"{one.retention_days:g} d"

    given.show(answer.whole, lambda: table([*rows()]))


@app.command()
@asking
async def status(given: Given) -> None:
    """Say how the relay, your channels and subscriptions are."""
    answer = await given.api.status()
    settings = given.configuration.described()
    whole = {**answer.whole, "url": given.api.url, "client_settings": settings}
    given.show(whole, lambda: _status_lines(given, answer.read()))


@app.command()
@asking
async def replay(
    given: Given,
    events: Annotated[list[str] | None, typer.Argument(help="Ids of events, evt_…")] = None,
    first: Annotated[int | None, typer.Option(help="From this sequence number on.")] = None,
    last: Annotated[int | None, typer.Option(help="Up to this sequence number.")] = None,
    received_since: Annotated[
        str | None, typer.Option("--since", help="Received since: 2h, 3d, or a time (RFC 3339).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before: the same.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind, e.g. message_created.")] = None,
    key: Annotated[
        str | None,
        typer.Option("--conversation", "--key", help="Of this conversation, or other key."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="With this text in the body.")] = None,
    q: Annotated[
        str | None, typer.Option("--filter", help="That a filter means, e.g. 'from:customer bolo'.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Those that are dead.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is kept.")] = False,
    channel: Channel = None,
    name: Name = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Deliveries a second at most. (default: 200)")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many it would be, and the first.")
    ] = False,
) -> None:
    """Get events once more, with the same ids: those for which all that is said is true."""
    # An empty key or kind is a condition, too: events that have none.
    chosen: dict[str, Any] = {
        "events": events or None,
        "received_from": _moment(received_since, "--since"),
        "received_before": _moment(until, "--until"),
        "first": first,
        "last": last,
        "kind": kind,
        "key": key,
        "text": text,
        "q": q,
        "dead": dead or None,
        "all": all_ or None,
    }
    chosen = {condition: value for condition, value in chosen.items() if value is not None}
    if not chosen:
        raise UsageError("nothing says which events are meant", WHICH_EVENTS)
    if all_ and len(chosen) > 1:
        raise UsageError("--all goes with no other condition", WHICH_EVENTS)
    if rate_per_s is not None and not math.isfinite(rate_per_s):
        raise UsageError(f"--rate-per-s: {rate_per_s} is no number of deliveries")
    body: dict[str, Any] = {
        "channel": given.configuration.settings.channel if events else await _channel(given),
        "subscription": await _name(given),
        "selection": chosen,
    }
    if rate_per_s is not None:
        body["rate_per_s"] = rate_per_s
    if dry_run:
        plan = await given.api.plan_replay(body)
        given.show(plan.whole, lambda: _plan_lines(plan.read()))
        return
    answer = await given.api.replay(body)
    given.show(answer.whole, lambda: _begun_lines(given, answer.read().replays))


@app.command("replays")
@asking
async def list_replays(
    given: Given,
    stop: Annotated[
        int | None, typer.Option(min=1, help="Stop the replay of this number first.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Of which channel alone.")] = None,
) -> None:
    """List the replays of your channels and how far each is; stop one that you began."""
    if stop is not None:
        await given.api.stop_replay(stop)
    answer = await given.api.replays(channel or given.configuration.settings.channel)

    def lines() -> list[str]:
        found = answer.read().replays
        heading = ("REPLAY", "CHANNEL", "SUBSCRIPTION", "STATE", "DONE", "DELIVERED")
        return table([heading, *map(_replay_row, found)]) if found else ["There is no replay."]

    given.show(answer.whole, lines)


@app.command()
@asking
async def resume(
    given: Given,
    channel: Annotated[
        str | None, typer.Option(help="Its channel. (default: the token's, or chatwoot)")
    ] = None,
    name: Name = None,
) -> None:
    """Go on with a subscription that was paused because your app answered 410."""
    where, who = await _channel(given), await _name(given)
    await given.api.resume(where, who)
    text = f"{harmless(who)} goes on: what waited of {harmless(where)} is delivered now."
    given.show({"channel": where, "subscription": who, "resumed": True}, lambda: [text])


async def _channel(given: Given) -> str:
    """The one that is set, or that the token makes clear."""
    channel = given.configuration.settings.channel
    return channel or await given.api.choose_channel("Say which one: --channel NAME")


async def _name(given: Given) -> str:
    return given.configuration.settings.name or (await given.api.whoami()).name


def _moment(text: str | None, option: str) -> int | None:
    from relay_client.settings import parse_since

    if text is None:
        return None
    now = round(time.time() * 1_000)
    found = parse_since(text, now, option)
    return now if found is None else found


def _sources(configuration: Configuration) -> list[str]:
    """Say where each setting comes from, but for defaults."""
    rows = [("SETTING", "VALUE", "FROM")]
    for name, described in configuration.described().items():
        value, source = described["value"], described["source"]
        if source != "default":
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            rows.append((name, harmless(shown), str(source)))
    return ["", *table(rows)] if len(rows) > 1 else []


def _status_lines(given: Given, found: Status) -> list[str]:
    up = f"{given.api.url} is up for {duration(found.uptime_s)}, version {harmless(found.version)}"
    channels = [("CHANNEL", "EVENTS", "FULL", "LAST RECEIVED"), *map(_channel_row, found.channels)]
    heading = ("CHANNEL", "SUBSCRIPTION", "STATE", "WAITING", "DEAD")
    first, *lines = table([heading, *map(_subscription_row, found.subscriptions)])
    shown = [  # one that is paused must not be overlooked
        given.console.paint(line, Colour.BAD) if one.paused else line
        for line, one in zip(lines, found.subscriptions, strict=True)
    ]
    return [up, "", *table(channels), "", first, *shown, *_sources(given.configuration)]


def _channel_row(one: ChannelStatus) -> tuple[str, ...]:
    full = "-" if one.full_percent is None else f"{one.full_percent:g} %"
    return harmless(one.name), str(one.events), full, _date(one.last_received_at)


def _subscription_row(one: SubscriptionStatus) -> tuple[str, ...]:
    state = "connected" if one.connected else "away"
    if one.forward:
        state = "forward"  # the server reads it itself
    elif one.readers > 1:
        state += f" ×{one.readers}"
    if one.target_down:
        state += ", target down"
    if one.paused:
        state += f", PAUSED: {harmless(one.paused)}"
    waiting = counted(one.backlog, "webhook")
    return harmless(one.channel), harmless(one.name), state, waiting, str(one.dead)


def _date(unix_ms: int | None) -> str:
    if unix_ms is None or not 0 <= unix_ms <= MAX_UNIX_MS:
        return "never"
    try:
        return datetime.fromtimestamp(unix_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (OverflowError, ValueError):  # the year 10,000 begins earlier in the east
        return "never"


def _begun_lines(given: Given, begun: tuple[Replay, ...]) -> Iterator[str]:
    for one in begun:
        who = f"{harmless(one.subscription)} of {harmless(one.channel)}"
        most = counted(one.at_most, "event")
        yield f"Replay {one.number} for {who}: at most {most}, {one.rate_per_s:g} a second."
        if one.paused:
            yield given.console.paint(f"It is PAUSED: {harmless(one.paused)}", Colour.BAD)
        elif not one.connected:
            yield "Nobody is connected under that name: it begins with relay-client connect."
    yield "How far it is: relay-client replays"


def _plan_lines(plan: Plan) -> Iterator[str]:
    most = "" if plan.complete else "at most "
    yield f"It would be {most}{counted(plan.at_most, 'event')}."
    if plan.sample:
        yield "The first of them:"
    for event in reversed(plan.sample):
        key = f", key {event.key}" if event.key else ""
        yield f"{_date(event.received_at)}  {harmless(event.id)}"
        yield f"    {harmless(f'{event.kind or event.method}{key}')}"
    yield "Nothing was begun: that takes the same without --dry-run."


def _replay_row(one: Replay) -> tuple[str, ...]:
    state = harmless(one.state)
    if state == "running" and one.paused:
        state = "PAUSED"
    elif state == "running" and not one.connected:
        state = "waits for its client"
    names = harmless(one.channel), harmless(one.subscription)
    return (str(one.number), *names, state, f"{one.percent:g} %", str(one.delivered))
