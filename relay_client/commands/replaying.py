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
from relay_protocol.text import harmless, short_id
from relay_terminal.layout import Colour, when
from relay_terminal.meant import (
    All,
    Dead,
    First,
    Key,
    Kind,
    Last,
    Meant,
    Since,
    Text,
    Through,
    Until,
    ranged,
    said,
    unclear,
)
from relay_terminal.retold import retold
from relay_terminal.usage import App, Filtering
from relay_terminal.words import N_, _, plural

if TYPE_CHECKING:
    from relay_client.answers import Plan, Replay

app = App()

LOOK_S = 0.5  # between looks at a replay that is waited for

WHICH_EVENTS = N_(
    "Name events by id, or say --last 5, --since 2h, --conversation 42, --dead or "
    "a filter; --all is everything that is kept."
)


@app.command(cls=Filtering)
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
    last: Last = None,
    first: First = None,
    through: Through = None,
    received_since: Since = None,
    until: Until = None,
    kind: Kind = None,
    key: Key = None,
    text: Text = None,
    q: Meant = None,
    dead: Dead = False,
    all_: All = False,
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
    """Get events once more, with the same ids: those that meet every condition.

    Where nothing is meant, nothing begins: exit status 6.
    """
    from relay_client import answers

    if rate_per_s is not None and not math.isfinite(rate_per_s):
        raise UsageError(
            _("--rate-per-s: {rate} is no number of deliveries").format(rate=rate_per_s)
        )
    through, last = ranged(first, through, last)
    ids, q = await _named(given, words or (), q)
    asked = said(
        {
            "received_from": moment(received_since, "--since"),
            "received_before": moment(until, "--until"),
            "kind": kind,
            "key": key,
            "text": text,
            "q": q,
        }
    )
    others = said({"events": ids or None, "first": first, "last": through})
    others |= said({"dead": dead or None, "all": all_ or None})
    if wrong := unclear(asked, others, last):
        raise UsageError(wrong, _(WHICH_EVENTS))
    where = given.configuration.settings.channel
    if not ids:
        where = await channel_of(given)
    body = {
        "channel": where,
        "subscription": await name_of(given),
        "selection": others | asked
        if last is None
        else await _newest(given, {"channel": where, **asked}, last),
        **said({"rate_per_s": rate_per_s}),
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
        await _watch(given, one.number, planned.at_most)


async def _newest(given: Given, query: dict[str, Any], last: int) -> dict[str, Any]:
    """A selection of the newest events that are meant."""
    found, _older = await newest_events(given, query, last)
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


async def _watch(given: Given, number: int, at_most: int) -> None:
    """Show how far a replay is, of so many events, until it has ended.

    Raises:
        NotDelivered: Not all of it was delivered.
    """
    import asyncio

    from relay_client import answers
    from relay_terminal.progress import progress

    title = _("Replay {number}").format(number=number)
    goes_on = _("The replay goes on. To end it: relay-client replays stop {number}")
    with progress(title, at_most, goes_on.format(number=number)) as reach:
        while True:
            answer = await given.api.ask("GET", f"replays/{number}", answers.Replay)
            one = answer.read()
            if one.state != "running":
                break
            reach(int(at_most * one.percent / 100), _note(one))
            await asyncio.sleep(LOOK_S)
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
        said.append(_("paused: {reason}").format(reason=harmless(retold(one.paused))))
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
            text = _("It is paused: {reason}").format(reason=harmless(retold(one.paused)))
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
        at, id_ = when(event.received_at, zoned=True), short_id(event.id)
        yield f"{at}  {id_}  {what_of(event)}  {conversation_of(event)}"
    yield _("Nothing was begun: that takes the same without --dry-run.")
