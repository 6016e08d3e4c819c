"""`relay-client events …`: what came in, and what became of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay_client.commands.lines import delivery_line, followed_line, list_lines
from relay_client.commands.meant import (
    NAMED_HELP,
    channel_of,
    event_of,
    filter_of,
    moment,
    name_of,
    newest_events,
)
from relay_client.commands.whole import whole_lines
from relay_client.errors import ClientError, UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless
from relay_terminal.meant import Filter, Key, Kind, Since, State, Until, Words
from relay_terminal.states import Followed
from relay_terminal.usage import App, Filtering, Listing
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.feed import Message

app = App("Show what came in, and what became of it.", cls=Listing)

MAX_LISTED = 1_000  # of `events list --limit`

Event = Annotated[str, typer.Argument(help=NAMED_HELP)]


@app.command("list", cls=Filtering)
@asking
async def list_events(
    given: Given,
    words: Words = None,
    q: Filter = None,
    received_since: Since = None,
    until: Until = None,
    kind: Kind = None,
    key: Key = None,
    state: State = None,
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
        "q": filter_of(words, q, kind=kind, conv=key, **{"is": state and state.lower()}),
        "received_from": moment(received_since, "--since"),
        "received_before": moment(until, "--until"),
        "before": before,
    }
    found, older = await newest_events(given, query, limit)
    mine = await name_of(given)

    def lines() -> Iterator[str]:
        import msgspec

        rows = [msgspec.convert(row, Row) for row in found]
        if rows:
            yield from list_lines(rows, mine, given.console)
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
    given.show(answer.whole, lambda: whole_lines(answer.read(), given.console))


@app.command("follow", cls=Filtering)
@asking
async def follow_events(
    given: Given,
    words: Words = None,
    q: Filter = None,
    kind: Kind = None,
    key: Key = None,
    since_cursor: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="From there on, e.g. chatwoot=8123. (default: now)"),
    ] = None,
    channel: Channel = None,
    name: Name = None,
) -> None:
    """Show events as they come, and what becomes of them, until interrupted.

    One that was missed meanwhile is shown, too; of deliveries those to your subscription.
    """
    import asyncio

    from relay_client.feed import Feed, channel_at

    where = channel_at(since_cursor) if since_cursor else await channel_of(given)
    meant = filter_of(words, q, kind=kind, conv=key) or ""

    def lost(exc: ClientError | None) -> None:
        text = harmless(f"{exc} " + _("Trying again.")) if exc else _("The relay is back.")
        given.console.note(text)

    followed = Followed(await name_of(given), everything=not meant)
    feed = Feed(given.api, where, meant, since_cursor or "", state=True, lost=lost)
    try:
        async with aclosing(feed.messages()) as messages:
            async for message in messages:
                if message.name == "gap":
                    given.console.note(_("The events begin anew: the store was restored."))
                elif followed.shows(message.name, message.data):
                    _show(given, message)
    except asyncio.CancelledError:
        return  # interrupted: that is how it ends


@app.command("save")
@asking
async def save_event(
    given: Given,
    event: Event,
    form: Annotated[str, typer.Option("--as", help="body, curl, httpie, pytest or json.")] = "body",
    file: Annotated[
        Path | None, typer.Option("--output", help="File. (default: standard output)")
    ] = None,
    channel: Channel = None,
) -> None:
    """Save an event: its body as it came, or all of it as a script that sends it, or as JSON."""
    from relay_client.answers import Script

    form = form.lower()
    if form not in ("body", "curl", "httpie", "pytest", "json"):
        raise UsageError(
            _("--as {form!r} is no form of an event").format(form=form),
            _("There are body, curl, httpie, pytest and json."),
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


def _show(given: Given, message: Message) -> None:
    """Show an event of a feed, or what became of one."""
    from relay_client.answers import Answer, Delivery, Event

    cells = given.console.cells
    if given.as_json:
        told = {"type": message.name, "cursor": message.cursor, **message.data}
        given.console.line(json.dumps(told))
    elif message.name == "event":
        given.console.line(followed_line(Answer(message.data, Event).read(), cells))
    else:
        id_, delivery = str(message.data.get("event")), Answer(message.data, Delivery)
        given.console.line(delivery_line(id_, delivery.read(), cells))


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
