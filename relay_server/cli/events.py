"""`relay-server events …`: what came in, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.command import Work, command, route, target_of
from relay_server.cli.options import Channel, Json
from relay_server.cli.text import MAX_CELL_CHARS, about, lines, pairs, table, when
from relay_terminal.states import state_of
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("What came in, and what became of it.")


def show_events(result: Json) -> None:
    """Two lines an event, newest first."""
    if not result["events"]:
        lines(_("No event matches.") if result["newest"] else _("Nothing came in yet."))
    for event in result["events"]:
        lines(*_event(event))


def show_event(result: Json) -> None:
    """Everything that is known of one event."""
    facts = {
        _("event"): result["id"],
        _("channel"): _("{channel}, sequence {sequence}").format(
            channel=result["channel"], sequence=result["sequence"]
        ),
        _("received"): when(result["received_at"], zoned=True),
        _("kind"): result["kind"] or "-",
        _("order kept by"): result["key"] or _("the channel"),
        _("sender"): result["sender"] or "-",
        _("request"): f"{result['method']} {result['request_target']}",
    }
    if result["repeat_of"]:
        facts[_("sent before as")] = result["repeat_of"]
    if result["edited_from"]:
        facts[_("edited from")] = _("{event} by {who}").format(
            event=result["edited_from"], who=result["made_by"] or _("somebody here")
        )
    if result["pinned"]:
        facts[_("pinned as")] = result["pinned"]
    if result["damaged"]:
        facts[_("damaged")] = _("its stored bytes are not those that came; it is sent to nobody")
    pairs(facts)
    lines("", *(f"{name}: {value}" for name, value in result["headers"]), "")
    lines(*_body(result).splitlines(), "")
    table(
        (_("subscription"), _("attempt"), _("began"), _("took"), _("outcome")),
        [_attempt(attempt) for attempt in result["attempts"]],
    )
    lines(*(_delivery(d) for d in result["deliveries"] if d["state"] != "delivered"))


def _event(event: Json) -> tuple[str, str]:
    states = ", ".join(f"{_whose(d)}: {_state(d)}" for d in event["deliveries"])
    return (
        f"{when(event['received_at'])}  {event['id']}",
        f"    {about(event)}; {states or _('nobody had subscribed then')}",
    )


def _state(delivery: Json) -> str:
    said, status = state_of(delivery["state"], delivery["attempt"]), delivery["status"]
    return said if status is None else f"{said} ({status})"


def _attempt(attempt: Json) -> Sequence[object]:
    outcome = attempt["outcome"].replace("_", " ")
    if attempt["status"] is not None:
        outcome = str(attempt["status"])
    if attempt["text"]:
        outcome += f": {attempt['text']}"
    took = f"{attempt['elapsed_ms']} ms"
    return _whose(attempt), attempt["attempt"], when(attempt["started_at"]), took, outcome


def _delivery(delivery: Json) -> str:
    line = f"{_whose(delivery)}: {state_of(delivery['state'], delivery['attempt'])}"
    if delivery["due_at"]:
        line += _(", next attempt {time}").format(time=when(delivery["due_at"]))
    return f"{line} ({delivery['reason']})" if delivery["reason"] else line


def _whose(record: Json) -> str:
    """A subscription's own delivery, or that of a replay."""
    if not record["replay"]:
        return str(record["subscription"])
    return _("{subscription} (replay {number})").format(
        subscription=record["subscription"], number=record["replay"]
    )


def _body(result: Json) -> str:
    """The body as people read it: indented where it is JSON."""
    if result["body"] is None:
        return _("({size} bytes that are no text; --json gives them in base64)").format(
            size=result["size"]
        )
    try:
        text = json.dumps(json.loads(result["body"]), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = result["body"]
    if len(text) > MAX_CELL_CHARS:
        return (
            text[:MAX_CELL_CHARS]
            + "\n"
            + _("… {count} characters more").format(count=len(text) - MAX_CELL_CHARS)
        )
    return text


@command(app, "list", show_events, dashes=True)
def events_list(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER",
            help='Those that it means, such as kind:message_created -is:private "bom dia".',
        ),
    ] = None,
    channel: Channel = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    before: Annotated[
        int | None, typer.Option(help="Only those before this sequence number.")
    ] = None,
) -> Work:
    """List the newest events, and what became of each."""
    for word in words or []:
        if word.startswith("--"):
            raise typer.BadParameter(_("there is no option {word}").format(word=word))
    query = {"channel": channel, "limit": limit, "before": before, "q": " ".join(words or [])}
    return lambda api: _listed(api, query)


async def _listed(api: Api, query: Json) -> Json:
    """Events up to a limit; the server looks at some for each answer, and a rare one takes many."""
    events = list[Json]()
    while True:
        asked = query | {"limit": query["limit"] - len(events)}
        page = await api.call("GET", target_of("events", query=asked))
        events += page["events"]
        if page["complete"]:
            return page | {"events": events}
        query["before"] = page["scanned_to"]


@route(app, "show", "GET events/{event}", show_event)
def events_show() -> None:
    """Show an event whole: headers, body and every attempt."""
