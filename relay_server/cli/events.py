"""`relay-server events …`: what came in, and what became of it."""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from relay_protocol.text import harmless, short_id
from relay_server.cli.command import Work, command, print_json, target_of
from relay_server.cli.options import Channel, Json, Subscription, moment
from relay_server.cli.text import MAX_CELL_CHARS, lines, pairs, table, when, zoned
from relay_server.errors import EventNotFound, InvalidValue, NothingSelected
from relay_terminal.console import Console
from relay_terminal.layout import size, zone
from relay_terminal.meant import Filter, Key, Kind, Since, State, Until, Words
from relay_terminal.retold import retold
from relay_terminal.states import Followed, answered, became, outcome_of, state_of
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("What came in, and what became of it.")

ANSWER_CHARS = 1_000  # of what a target said, in a line
WHAT_CHARS = 40  # of a request or a key, in a list
AGAIN_S = 1.0  # until a server that went away is asked again


class Unprintable(InvalidValue):
    """A terminal would take bytes of it for commands."""

    hint = "Send it to a file or a pipe."

    def __init__(self) -> None:
        super().__init__(
            _("it has bytes that are no text, which a terminal would take for commands")
        )


def show_events(result: Json) -> None:
    """Two lines an event, newest first."""
    events = result["events"]
    if not events:
        lines(_("No event matches.") if result["newest"] else _("Nothing came in yet."))
        return
    lines(_("Newest first: sequence, id, time ({zone}), kind").format(zone=zone()), "")
    for event in events:
        states = _states(event["deliveries"])
        lines(_line(event, _what(event)), f"    {states}; {_more(event)}")
    if result["older"] is not None:
        lines("", _("Older ones: --before {sequence}").format(sequence=result["older"]))


def show_event(result: Json) -> None:
    """Everything that is known of one event; or its body, or all of the request, as it came."""
    if part := result.get("part"):
        _write(_body_of(result) if part == "body" else _request_of(result))
        return
    sequence = _("{channel}, sequence {sequence}")
    facts = {
        _("event"): result["id"],
        _("channel"): sequence.format(channel=result["channel"], sequence=result["sequence"]),
        _("received"): when(result["received_at"], zoned=True),
        _("kind"): result["kind"] or "-",
        _("order kept by"): result["key"] or _("the channel"),
        _("sender"): result["sender"] or "-",
        _("request"): f"{result['method']} {result['request_target']}",
        _("size"): size(result["size"]),
    }
    if result["repeat_of"]:
        facts[_("sent before as")] = result["repeat_of"]
    if result["edited_from"]:
        by = result["made_by"] or _("somebody here")
        facts[_("edited from")] = _("{id} by {name}").format(id=result["edited_from"], name=by)
    if result["pinned"]:
        facts[_("pinned as")] = result["pinned"]
    if result["damaged"]:
        damaged = _("its stored bytes are not those that came; it is sent to nobody")
        facts[_("damaged")] = damaged
    if not result["kept"]:
        facts[_("body")] = _("not kept once everybody had it")
    pairs(facts)
    lines("", *(f"{name}: {value}" for name, value in result["headers"]), "")
    lines(*_body(result).splitlines(), "")
    table(
        (_("subscription"), _("attempt"), zoned(_("began")), _("took"), _("outcome")),
        [_attempt(attempt) for attempt in result["attempts"]],
    )
    lines(*(_delivery(d) for d in result["deliveries"] if d["state"] != "delivered"))
    for step in result["hand_off"]:
        text = retold(step["text"]) if step["done"] else _("begun, and not known to be done")
        template = _("{time}  hand-off of {name}: {step}: {text}")
        where = {"time": when(step["at"]), "name": step["subscription"], "step": step["step"]}
        lines(template.format(**where, text=harmless(text)))


def show_given_up(result: Json) -> None:
    """What became of the delivery, and how it comes after all."""
    lines(
        _delivery(result), _("relay-server dead replay ID delivers one after all; --all every one.")
    )


def _line(event: Json, *more: str) -> str:
    named = str(event["sequence"]), short_id(event["id"]), when(event["received_at"])
    return "  ".join((*named, *more))


def _what(event: Json) -> str:
    """What happened, and in which conversation, as people know it: `#318`."""
    key = harmless(event["key"], WHAT_CHARS)
    said = harmless(event["kind"], WHAT_CHARS) or "-"
    return f"{said}  {'#' if key.isdigit() else ''}{key}".rstrip()


def _more(event: Json) -> str:
    """What was asked for, and how large it is."""
    asked = harmless(f"{event['method']} {event['request_target']}", WHAT_CHARS)
    return f"{asked}, {size(event['size'])}"


def _states(deliveries: Sequence[Json]) -> str:
    """What became of it: of one subscription in a word, of many how many are how far."""
    if not deliveries:
        return _("nobody subscribed then")
    if len(deliveries) == 1:
        return _state(deliveries[0])
    counts = Counter(map(_word, deliveries))
    return ", ".join(f"{word} {number}" for word, number in counts.most_common())


def _state(delivery: Json) -> str:
    status = delivery["status"]
    return f"{_word(delivery)} {status}" if status is not None else _word(delivery)


def _word(delivery: Json) -> str:
    return state_of(delivery["state"], delivery["attempt"])


def _attempt(attempt: Json) -> Sequence[object]:
    outcome = outcome_of(attempt["outcome"])
    if attempt["status"] is not None:
        outcome = answered(attempt["status"], attempt["size"], attempt["headers"])
    if attempt["text"]:
        outcome += f": {retold(attempt['text'])[:ANSWER_CHARS]}"
    took = f"{attempt['elapsed_ms']} ms"
    return _whose(attempt), attempt["attempt"], when(attempt["started_at"]), took, outcome


def _delivery(delivery: Json) -> str:
    facts = (delivery[one] for one in ("state", "attempt", "status", "reason", "due_at"))
    return f"{_whose(delivery)}: {became(*facts)}"


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
        no_text = _("({size} bytes that are no text: --body sends them to a file or a pipe)")
        return no_text.format(size=result["size"])
    try:
        text = json.dumps(json.loads(result["body"]), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = result["body"]
    if len(text) > MAX_CELL_CHARS:
        more = _("… {number} characters more").format(number=len(text) - MAX_CELL_CHARS)
        return f"{text[:MAX_CELL_CHARS]}\n{more}"
    return text


def _body_of(event: Json) -> bytes:
    if event["body"] is not None:
        return str(event["body"]).encode()
    return base64.b64decode(event["body_base64"])


def _request_of(event: Json) -> bytes:
    """The request as it came, with secrets masked as everywhere."""
    head = [f"{event['method']} {event['request_target']} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in event["headers"]]
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + _body_of(event)


def _write(content: bytes) -> None:
    """Write to standard output, byte for byte; to a terminal only what cannot steer it.

    Raises:
        Unprintable: It could.
    """
    text = content.decode("utf-8", "replace")
    plain = all(char.isprintable() or char in "\r\n\t" for char in text)
    if Console.of_process().is_terminal and ("\ufffd" in text or not plain):
        raise Unprintable
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


@command(app, "list", show_events, filtering=True)
def events_list(
    ctx: typer.Context,
    words: Words = None,
    q: Filter = None,
    since: Since = None,
    until: Until = None,
    kind: Kind = None,
    key: Key = None,
    state: State = None,
    channel: Channel = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only those before this sequence.")] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="Show those that come, and what becomes of them, until stopped."
        ),
    ] = False,
) -> Work:
    """List the newest events, and what became of each."""
    meant = {
        "channel": channel,
        "q": " ".join([*(words or []), *([q] if q else [])]),
        "received_from": moment(since, "--since"),
        "received_before": moment(until, "--until"),
        "kind": kind,
        "key": key,
        "state": state and state.lower(),
    }
    if follow:
        as_json = bool(ctx.params["as_json"])
        # What becomes of a new event is not known yet, and a filter's state is another parameter.
        if state or before or since or until:
            raise typer.BadParameter(_("--follow goes with no time, state or sequence"))
        return lambda api: _followed(api, meant, as_json=as_json)
    return lambda api: listed(api, meant | {"limit": limit, "before": before})


async def listed(api: Api, query: Json) -> Json:
    """Events up to a limit; the server looks at some for each answer, and a rare one takes many."""
    events = list[Json]()
    while True:
        asked = query | {"limit": query["limit"] - len(events)}
        page = await api.call("GET", target_of("events", query=asked))
        events += page["events"]
        if page["complete"]:
            older = page["scanned_to"] if page["next"] else None
            return page | {"events": events, "older": older}
        query["before"] = page["scanned_to"]


async def _followed(api: Api, query: Json, *, as_json: bool) -> Json:
    """Show events as they come, and what becomes of them, until interrupted: so it ends.

    A server that goes away is asked again, from where it was: no event is missed.
    """
    import asyncio

    from relay_server.control import ServerGone

    note, position, is_away = Console.of_process().note, "", False
    followed = Followed("", everything=not any(query.values()))
    with suppress(asyncio.CancelledError):
        while True:
            try:
                asked = query | {"from": position or None, "state": 1}
                async for name, message, at in api.follow(target_of("feed", query=asked)):
                    if is_away:
                        note(_("The server is back."))
                    position, is_away = at or position, False
                    if followed.shows(name, message):
                        _show_followed(name, message, at, as_json=as_json)
                    elif name == "bye" and message["retry_ms"] is None:
                        why = message["why"]
                        raise InvalidValue(_("the relay ends the feed: {why}").format(why=why))
            except ServerGone:
                if not position:
                    raise
            if not is_away:
                note(_("The server is away. Trying again."))
            is_away = True
            await asyncio.sleep(AGAIN_S)
    raise typer.Exit


def _show_followed(name: str, message: Json, cursor: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"type": name, "cursor": cursor, **message})
        return
    console = Console.of_process()
    if name == "event":
        line = _line(message, _what(message), _more(message))
    else:
        line = f"{message['sequence']}  {short_id(message['event'])}  -> {_delivery(message)}"
    console.line(harmless(line, console.cells or MAX_CELL_CHARS))


async def _named(api: Api, event: str) -> str:
    """The event that is meant: `latest` is none's id, but a path of the API's own."""
    if event != "latest":
        return event
    found = await api.call("GET", target_of("events", query={"limit": 1}))
    if not found["events"]:
        raise EventNotFound(event)
    return str(found["events"][0]["id"])


@command(app, "show", show_event)
def events_show(
    event: Annotated[str, typer.Argument(help="Its id, the end of it, or latest.")],
    body: Annotated[
        bool, typer.Option("--body", help="Its body alone, byte for byte, to a file or a pipe.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The same with the head before it, secrets masked.")
    ] = False,
) -> Work:
    """Show an event whole: headers, body and every attempt."""

    async def found(api: Api) -> Json:
        whole = await api.call("GET", target_of("events", await _named(api, event)))
        part = "body" if body else "raw" if raw else None
        return whole | ({"part": part} if part else {})

    return found


@command(app, "save", lambda result: _write(result["text"].encode()))
def events_save(
    event: Annotated[str, typer.Argument(help="Its id, the end of it, or latest.")],
    form: Annotated[str, typer.Option("--as", help="curl, httpie, pytest or json.")] = "curl",
) -> Work:
    """Print a script that sends an event once more, or JSON, with secrets masked."""

    async def found(api: Api) -> Json:
        return await api.call(
            "GET", target_of("events", await _named(api, event), "as", form.lower())
        )

    return found


@command(app, "give-up", show_given_up)
def events_give_up(
    event: Annotated[str, typer.Argument(help="Its id, the end of it, or latest.")],
    subscription: Subscription = None,
) -> Work:
    """Try a delivery that fails no more, so that its conversation goes on; it is dead then."""

    async def given_up(api: Api) -> Json:
        whole = await api.call("GET", target_of("events", await _named(api, event)))
        names = [subscription] if subscription else _tried_again(whole["deliveries"])
        if not names:
            raise NothingSelected(_("no delivery of it fails and is tried again"))
        if len(names) > 1:
            several = _("several are tried again: say --subscription, of {names}")
            raise InvalidValue(several.format(names=", ".join(names)))
        of = "channels", whole["channel"], "subscriptions", names[0]
        return await api.call("POST", target_of(*of, "give-up"), {"event": whole["id"]})

    return given_up


def _tried_again(deliveries: Sequence[Json]) -> list[str]:
    """The subscriptions whose own delivery of an event failed, and is not settled."""
    unsettled = [one for one in deliveries if one["state"] in ("waiting", "under_way")]
    return [one["subscription"] for one in unsettled if one["attempt"] and not one["replay"]]
