"""`relay-client replay`: events delivered once more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.lines import conversation_of, what_of
from relay_client.commands.meant import (
    channel_of,
    event_of,
    filter_of,
    moment,
    name_of,
    names_event,
    newest_events,
)
from relay_client.commands.replays import rest_of
from relay_client.errors import NotDelivered, NothingFound, UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless
from relay_terminal.layout import Colour, when
from relay_terminal.usage import App, Old
from relay_terminal.words import N_, _, counted, plural

if TYPE_CHECKING:
    from relay_client.answers import Plan, Replay

app = App()

MAX_LAST = 1_000  # of `replay --last`: so many events can be named at once
LOOK_S = 0.5  # between looks at a replay that is waited for

WHICH_EVENTS = N_(
    "Name events by id, or say --last 5, --since 2h, --conversation 42, --dead or "
    "a filter; --all is everything that is kept."
)


@app.command()
@asking
async def replay(
    given: Given,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVENT|FILTER]…",
            help="Events (evt_…, its end, @PIN or latest), or those that a filter means.",
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The newest so many of them.")
    ] = None,
    first: Annotated[
        int | None, typer.Option(metavar="SEQUENCE", help="From this sequence on.")
    ] = None,
    through: Annotated[
        int | None, typer.Option(metavar="SEQUENCE", help="Up to this sequence.")
    ] = None,
    received_since: Annotated[
        str | None, typer.Option("--since", help="Received since: 2h, 3d, or a time (RFC 3339).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before: the same.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind, e.g. message_created.")] = None,
    key: Annotated[
        str | None,
        typer.Option("--conversation", Old("--key"), help="Of this conversation, or other key."),
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
    waits: Annotated[
        bool, typer.Option("--wait", help="Until all are delivered; exit status 8 if one is not.")
    ] = False,
) -> None:
    """Get events once more, with the same ids: those for which all that is said is true.

    Where nothing is meant, nothing begins: exit status 6.
    """
    from relay_client import answers

    if rate_per_s is not None and not math.isfinite(rate_per_s):
        raise UsageError(
            _("--rate-per-s: {rate} is no number of deliveries").format(rate=rate_per_s)
        )
    if first is not None and last is not None:  # as a range was written before
        through, last = last, None
    ids, q = await _named(given, words or (), q)
    # An empty key or kind is a condition, too: events that have none.
    asked: dict[str, Any] = {
        "received_from": moment(received_since, "--since"),
        "received_before": moment(until, "--until"),
        "kind": kind,
        "key": key,
        "text": text,
        "q": q,
    }
    others = {"events": ids or None, "first": first, "last": through}
    others |= {"dead": dead or None, "all": all_ or None}
    where = given.configuration.settings.channel
    if not ids and (_set(asked) or _set(others) or last is not None):
        where = await channel_of(given)
    body = {
        "channel": where,
        "subscription": await name_of(given),
        "selection": await _selection(given, where, _set(asked), _set(others), last),
        **_set({"rate_per_s": rate_per_s}),
    }
    plan = await given.api.ask("POST", "replays", answers.Plan, {**body, "dry_run": True})
    planned = plan.read()
    if dry_run:
        given.show(plan.whole, lambda: _plan_lines(planned))
        return
    if planned.complete and not planned.at_most:
        raise NothingFound(_("no event matches: nothing was begun"), _(WHICH_EVENTS))
    answer = await given.api.ask("POST", "replays", answers.Replays, body)
    begun = answer.read().replays
    if not waits:
        given.show(answer.whole, lambda: _begun_lines(given, begun, planned))
        return
    if not given.as_json:
        given.console.say(*_begun_lines(given, begun, planned))
    for one in begun:
        await _watch(given, one.number)


def _set(conditions: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in conditions.items() if value is not None}


async def _selection(
    given: Given,
    channel: str | None,
    asked: dict[str, Any],
    others: dict[str, Any],
    last: int | None,
) -> dict[str, Any]:
    """What a replay is to be of.

    Args:
        given: The command's.
        channel: Whose events.
        asked: What lists of events are asked for, too.
        others: What is said beside.
        last: How many of the newest; None for all of them.
    """
    chosen = {**others, **asked}
    if not chosen and last is None:
        raise UsageError(_("nothing says which events are meant"), _(WHICH_EVENTS))
    if "all" in others and (len(chosen) > 1 or last is not None):
        raise UsageError(_("--all goes with no other condition"), _(WHICH_EVENTS))
    if last is None:
        return chosen
    if others:
        text = _("--last goes with a filter, a kind, a conversation, a text or a time")
        raise UsageError(text, _(WHICH_EVENTS))
    if last > MAX_LAST:
        text = _("--last takes up to {number}").format(number=counted(MAX_LAST))
        raise UsageError(text, _("Say --since 2h, or --first and --through."))
    found, _older = await newest_events(given, {"channel": channel, **asked}, last)
    if not found:
        raise NothingFound(_("no event matches: nothing was begun"), _(WHICH_EVENTS))
    return {"events": [str(event["id"]) for event in found]}


async def _named(given: Given, words: Sequence[str], q: str | None) -> tuple[list[str], str | None]:
    """What words say: ids of events, or a filter."""
    named = [word for word in words if names_event(word)]
    if not named:
        return [], filter_of(words, q)
    if len(named) < len(words):
        raise UsageError(_("events that are named go with no filter"), _("Leave one of them out."))
    return [await event_of(given, word) for word in named], q


async def _watch(given: Given, number: int) -> None:
    """Show how far a replay is until it has ended.

    Raises:
        NotDelivered: Not all of it was delivered.
    """
    import asyncio

    from relay_client import answers
    from relay_terminal.progress import progress

    try:
        with progress(_("Replay {number}").format(number=number), 100) as reach:
            while True:
                answer = await given.api.ask("GET", f"replays/{number}", answers.Replay)
                one = answer.read()
                if one.state != "running":
                    break
                reach(int(one.percent), _note(one))
                await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        text = _("The replay goes on. To end it: relay-client replays stop {number}")
        given.console.note(text.format(number=number))
        raise
    delivered = plural("{number} event delivered", "{number} events delivered", one.delivered)
    if one.state != "done":
        raise NotDelivered(_("it was stopped: {text}").format(text=delivered))
    if one.dead:
        dead = plural("{number} is dead", "{number} are dead", one.dead)
        raise NotDelivered(f"{delivered}, {dead}", _("relay-client dead lists what is dead."))
    given.show(answer.whole, lambda: [_("Done: {text}.").format(text=delivered)])


def _note(one: Replay) -> str:
    """What is to be known of a replay beside how far it is."""
    said = [plural("{number} delivered", "{number} delivered", one.delivered)]
    if one.dead:
        said.append(plural("{number} dead", "{number} dead", one.dead))
    if one.paused:
        said.append(_("paused: {reason}").format(reason=harmless(one.paused)))
    elif not one.connected:
        said.append(_("waits for its client"))
    return ", ".join(filter(None, [*said, rest_of(one)]))


def _begun_lines(given: Given, begun: Sequence[Replay], planned: Plan) -> Iterator[str]:
    events = plural("{number} event", "{number} events", planned.at_most)
    most = events if planned.complete else _("at most {events}").format(events=events)
    for one in begun:
        yield _("Replay {number} for {name} of {channel}: {most}, {rate:g} a second.").format(
            number=one.number,
            name=harmless(one.subscription),
            channel=harmless(one.channel),
            most=most,
            rate=one.rate_per_s,
        )
        if one.paused:
            text = _("It is paused: {reason}").format(reason=harmless(one.paused))
            yield given.console.paint(text, Colour.BAD)
        elif not one.connected:
            yield _("Nobody is connected under that name: it begins with relay-client connect.")
    yield _("How far it is: relay-client replays")


def _plan_lines(plan: Plan) -> Iterator[str]:
    events = plural("{number} event", "{number} events", plan.at_most)
    most = events if plan.complete else _("at most {events}").format(events=events)
    yield _("It would be {most}.").format(most=most)
    if plan.sample:
        yield _("The first of them:")
    for event in reversed(plan.sample):
        yield f"{when(event.received_at, zoned=True)}  {harmless(event.id)}"
        yield f"    {what_of(event)}  {conversation_of(event)}"
    yield _("Nothing was begun: that takes the same without --dry-run.")
