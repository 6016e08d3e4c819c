"""`relay-client events …`: what came in, and what became of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.lines import (
    columns_of,
    conversation_of,
    says_of,
    state_of,
    what_of,
    who_of,
)
from relay_client.commands.meant import (
    NAMED_HELP,
    channel_of,
    event_of,
    filter_of,
    moment,
    name_of,
    newest_events,
)
from relay_client.commands.nouns import Listing
from relay_client.errors import ClientError, UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless, short_id
from relay_terminal.layout import padded, pairs, table, when, zone
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Attempt, EventWhole

app = App("Show what came in, and what became of it.", cls=Listing)

MAX_LISTED = 1_000  # of `events list --limit`
MAX_BODY_LINES = 200  # of a body that is shown; `events save` has the rest
WHOLE_CHARS = 100_000  # of a line of head or body that is shown

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILTER]…",
        help='Those that it means, such as kind:message_created -is:private "bom dia".',
    ),
]
Event = Annotated[str, typer.Argument(help=NAMED_HELP)]


@app.command("list")
@asking
async def list_events(
    given: Given,
    words: Words = None,
    received_since: Annotated[
        str | None, typer.Option("--since", help="Received since: 2h, 3d, or a time (RFC 3339).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Received before: the same.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="How many.")] = 20,
    before: Annotated[
        int | None, typer.Option(min=1, help="Only those before this sequence.")
    ] = None,
    channel: Channel = None,
    name: Name = None,
) -> None:
    """List the newest events, and what became of each for your subscription."""
    from relay_client.answers import Event as Row

    query = {
        "channel": await channel_of(given),
        "q": filter_of(words),
        "received_from": moment(received_since, "--since"),
        "received_before": moment(until, "--until"),
        "before": before,
    }
    found, older = await newest_events(given, query, limit)
    mine = await name_of(given)

    def lines() -> Iterator[str]:
        import msgspec

        rows = [msgspec.convert(row, Row) for row in found]
        columns = [columns_of(row, when(row.received_at), mine) for row in rows]
        if rows:
            yield from table([_heading(), *columns], given.console.cells, cut=True)
        elif older is None:
            yield _("No event matches.") if query["q"] else _("Nothing came in.")
        if older is not None:
            yield _("Older ones: --before {sequence}").format(sequence=older)

    given.show({"events": found, "before": older}, lines)


@app.command("show")
@asking
async def show_event(given: Given, event: Event, channel: Channel = None) -> None:
    """Show an event whole: head, body and every attempt."""
    answer = await given.api.event(await event_of(given, event))
    given.show(answer.whole, lambda: _whole_lines(answer.read(), given.console.cells))


@app.command("follow")
@asking
async def follow_events(
    given: Given,
    words: Words = None,
    since_cursor: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="From there on, e.g. chatwoot=8123. (default: now)"),
    ] = None,
    channel: Channel = None,
) -> None:
    """Show events as they come, until interrupted; one that was missed meanwhile, too."""
    import asyncio

    from relay_client.answers import Event as Row
    from relay_client.feed import Feed, channel_at

    where = channel_at(since_cursor) if since_cursor else await channel_of(given)

    def lost(exc: ClientError | None) -> None:
        text = harmless(f"{exc} " + _("Trying again.")) if exc else _("The relay is back.")
        given.console.note(text)

    feed = Feed(given.api, where, filter_of(words) or "", since_cursor or "", lost=lost)
    try:
        async with aclosing(feed.messages()) as messages:
            async for message in messages:
                if message.name == "event":
                    _show_followed(given, message.cursor, message.data, Row)
                elif message.name == "gap":
                    given.console.note(_("The events begin anew: the store was restored."))
    except asyncio.CancelledError:
        return  # interrupted: that is how it ends


@app.command("save")
@asking
async def save_event(
    given: Given,
    event: Event,
    form: Annotated[str, typer.Option("--as", help="body, curl, httpie or pytest.")] = "body",
    file: Annotated[
        Path | None, typer.Option("--output", help="File. (default: standard output)")
    ] = None,
    channel: Channel = None,
) -> None:
    """Save an event: its body as it came, or a script that sends all of it once more."""
    from relay_client.answers import Script

    form = form.lower()
    if form not in ("body", "curl", "httpie", "pytest"):
        raise UsageError(
            _("--as {form!r} is no form of an event").format(form=form),
            _("There are body, curl, httpie and pytest."),
        )
    id_ = await event_of(given, event)
    masked = False
    if form == "body":
        content = await given.api.body(id_)
    else:
        script = (await given.api.ask("GET", f"events/{id_}/as/{form}", Script)).read()
        content, masked = script.text.encode(), script.masked
    if file is None:
        _write(given, content)
    else:
        _write_file(file, content)
    if masked:
        given.console.note(_("Secrets are masked: it is not quite what was sent."))
    if given.as_json and file is not None:
        given.console.line(json.dumps({"id": id_, "file": str(file), "bytes": len(content)}))


def _heading() -> tuple[str, ...]:
    at = _("TIME ({zone})").format(zone=zone())
    return "ID", at, _("EVENT"), _("CONVERSATION"), _("FROM"), _("DELIVERY"), _("SAYS")


def _show_followed(given: Given, cursor: str, data: dict[str, Any], form: type[Any]) -> None:

    from relay_client.answers import Answer

    if given.as_json:
        given.console.line(json.dumps({"type": "event", "cursor": cursor, **data}))
        return
    event = Answer(data, form).read()
    at = time.strftime("%H:%M:%S")
    columns = [
        padded(what_of(event), 28),
        padded(conversation_of(event), 8),
        padded(who_of(event), 16),
    ]
    given.console.line("  ".join([at, short_id(event.id), *columns, says_of(event)]).rstrip())


def _whole_lines(event: EventWhole, cells: int) -> Iterator[str]:
    facts = [
        (_("event"), harmless(event.id)),
        (
            _("channel"),
            _("{name}, sequence {sequence}").format(
                name=harmless(event.channel), sequence=event.sequence
            ),
        ),
        (_("received"), when(event.received_at, zoned=True)),
        (_("kind"), harmless(event.kind) or "-"),
        (_("order kept by"), harmless(event.key) or _("the channel")),
        (_("sender"), harmless(event.sender) or "-"),
        (_("request"), harmless(f"{event.method} {event.request_target}", WHOLE_CHARS)),
        (_("sent before as"), harmless(event.repeat_of or "")),
        (_("edited from"), harmless(event.edited_from or "")),
        (_("pinned as"), harmless(event.pinned)),
        (
            _("damaged"),
            _("its stored bytes are not those that came; it is sent to nobody")
            if event.damaged
            else "",
        ),
    ]
    yield from pairs([(name, value) for name, value in facts if value], cells)
    yield ""
    yield from (harmless(f"{name}: {value}", WHOLE_CHARS) for name, value in event.headers)
    yield ""
    yield from _body_lines(event)
    if event.attempts:
        yield ""
        heading = _("SUBSCRIPTION"), _("ATTEMPT"), _("BEGAN"), _("TOOK"), _("OUTCOME")
        yield from table([heading, *map(_attempt_row, event.attempts)], cells)
    open_ones = [one for one in event.deliveries if one.state != "delivered"]
    if open_ones:
        yield ""
    for one in open_ones:
        due = (
            ""
            if one.due_at is None
            else _(", next attempt at {time}").format(time=when(one.due_at))
        )
        reason = f": {harmless(one.reason)}" if one.reason else ""
        yield f"{harmless(one.subscription)}: {state_of(one)}{reason}{due}"


def _body_lines(event: EventWhole) -> Iterator[str]:
    import msgspec

    if event.body is None:
        yield _(
            "({size} bytes, no text: relay-client events save {id} --as body --output FILE)"
        ).format(size=event.size, id=short_id(event.id))
        return
    try:
        text = msgspec.json.format(event.body, indent=2)
    except msgspec.DecodeError:
        text = event.body
    lines = text.split("\n")
    yield from (harmless(line, WHOLE_CHARS) for line in lines[:MAX_BODY_LINES])
    if len(lines) > MAX_BODY_LINES:
        more = len(lines) - MAX_BODY_LINES
        yield _("… {number} more lines: relay-client events save {id} --as body").format(
            number=more, id=short_id(event.id)
        )


def _attempt_row(one: Attempt) -> tuple[str, ...]:
    whose = harmless(one.subscription)
    if one.replay is not None:
        whose = _("{name} (replay {number})").format(name=whose, number=one.replay)
    outcome = str(one.status) if one.status is not None else one.outcome.replace("_", " ")
    said = f"{outcome}: {one.text}" if one.text else outcome
    return whose, str(one.attempt), when(one.started_at), f"{one.elapsed_ms} ms", harmless(said)


def _write(given: Given, content: bytes) -> None:
    """Write to standard output, byte for byte; to a terminal only what cannot steer it.

    Raises:
        UsageError: It could.
    """
    if given.console.is_terminal and not _is_plain(content):
        raise UsageError(
            _("it has bytes that are no text, which a terminal would take for commands"),
            _("Say where they go: --output FILE, or a pipe."),
        )
    out = given.console.out
    out.flush()
    out.buffer.write(content)
    out.flush()
    if given.console.is_terminal and not content.endswith(b"\n"):
        given.console.line("")


def _is_plain(content: bytes) -> bool:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\n\t" for char in text)


def _write_file(file: Path, content: bytes) -> None:
    """Write a file that its owner alone can read: bodies have customers' names, and secrets."""
    try:
        handle = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
        )
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    except OSError as exc:
        raise ClientError(
            _("{file} cannot be written: {reason}").format(file=file, reason=exc.strerror or exc)
        ) from exc
