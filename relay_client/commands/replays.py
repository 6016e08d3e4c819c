"""Commands that have events delivered once more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.meant import channel_of, date, moment, name_of
from relay_client.console import Colour, counted, duration, table
from relay_client.errors import UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Plan, Replay

app = App()

WHICH_EVENTS = (
    "Name events by id, or say --since 2h, --conversation 42, --kind, --filter or --dead; --all is"
    " everything that is kept."
)


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
    from relay_client import answers

    # An empty key or kind is a condition, too: events that have none.
    chosen: dict[str, Any] = {
        "events": events or None,
        "received_from": moment(received_since, "--since"),
        "received_before": moment(until, "--until"),
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
        "channel": given.configuration.settings.channel if events else await channel_of(given),
        "subscription": await name_of(given),
        "selection": chosen,
    }
    if rate_per_s is not None:
        body["rate_per_s"] = rate_per_s
    if dry_run:
        plan = await given.api.ask("POST", "replays", answers.Plan, {**body, "dry_run": True})
        given.show(plan.whole, lambda: _plan_lines(plan.read()))
        return
    answer = await given.api.ask("POST", "replays", answers.Replays, body)
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
    from relay_client import answers

    if stop is not None:
        await given.api.stop_replay(stop)
    query = {"channel": channel or given.configuration.settings.channel}
    answer = await given.api.ask("GET", "replays", answers.Replays, **query)

    def lines() -> list[str]:
        found = answer.read().replays
        heading = ("REPLAY", "CHANNEL", "SUBSCRIPTION", "STATE", "DONE", "DELIVERED", "DEAD", "")
        return table([heading, *map(_replay_row, found)]) if found else ["There is no replay."]

    given.show(answer.whole, lines)


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
        yield f"{date(event.received_at)}  {harmless(event.id)}"
        yield f"    {harmless(f'{event.kind or event.method}{key}')}"
    yield "Nothing was begun: that takes the same without --dry-run."


def _replay_row(one: Replay) -> tuple[str, ...]:
    state = harmless(one.state)
    if state == "running" and one.paused:
        state = "PAUSED"
    elif state == "running" and not one.connected:
        state = "waits for its client"
    names = harmless(one.channel), harmless(one.subscription)
    counts = f"{one.percent:g} %", str(one.delivered), str(one.dead)
    return (str(one.number), *names, state, *counts, _rest_of(one))


def _rest_of(one: Replay) -> str:
    """What is tried again and when, and how long the rest takes."""
    said = []
    if one.retrying and one.next_attempt_at is not None:
        at = date(one.next_attempt_at)
        said.append(
            _("{number:,} tried again, from {time} on").format(number=one.retrying, time=at)
        )
    if one.left_s is not None:
        said.append(_("about {time} left").format(time=duration(one.left_s)))
    return ", ".join(said)
