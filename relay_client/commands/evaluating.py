"""`relay-client bot evaluate`: what a bot would answer in conversations that were."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.meant import channel_of, filter_of, moment, newest_events
from relay_client.errors import NothingFound
from relay_client.options import Channel, Given, asking
from relay_protocol.text import harmless
from relay_terminal.layout import pairs
from relay_terminal.meant import Since, Until
from relay_terminal.usage import App
from relay_terminal.words import _, plural

if TYPE_CHECKING:
    import asyncio

    from relay_client.chatwoot import BotSettings, Reply
    from relay_client.chatwoot.evaluation import Answered, PastTurn
    from relay_client.chatwoot.events import Event

app = App()

MAX_MESSAGES = 1_000  # that a bot is evaluated with at once
BODIES_AT_ONCE = 4  # events whose bodies the relay is asked for
WORDS_CHARS = 2_000  # of a message, or an answer, on a screen


@app.command("evaluate")
@asking
async def evaluate(
    given: Given,
    replies: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE:NAME…", help="The replies: functions, of modules or of FILE.py."
        ),
    ],
    q: Annotated[
        str | None, typer.Option("--filter", help="Those that it means, such as conv:318.")
    ] = None,
    received_since: Since = "1d",
    until: Until = None,
    limit: Annotated[
        int,
        typer.Option(min=1, max=MAX_MESSAGES, help="How many messages: the newest. (default: 200)"),
    ] = 200,
    at_once: Annotated[
        int, typer.Option(min=1, max=100, help="So many turns at a time. (default: 4)")
    ] = 4,
    channel: Channel = None,
) -> None:
    """Ask replies for their answers in conversations that were, beside those that were sent.

    Nothing is sent to anybody, and nothing is kept.
    """
    import asyncio

    from relay_client.chatwoot.evaluation import past_turns
    from relay_client.chatwoot.server import load_reply
    from relay_client.chatwoot.settings import read_settings

    settings, asked = read_settings(), {name: load_reply(name) for name in replies}
    query = {
        "channel": await channel_of(given),
        "q": filter_of(["kind:message_created"], q),
        "received_from": moment(received_since, "--since"),
        "received_before": moment(until, "--until"),
    }
    found, older = await newest_events(given, query, limit)
    turns = past_turns(await _webhooks(given, found), settings.bot, settings.burst_s)
    if not turns:
        raise NothingFound(_("no customer waited for the bot in what was found"))
    free = asyncio.Semaphore(at_once)
    tasks = [asyncio.create_task(_answers(free, turn, asked, settings)) for turn in turns]
    try:
        await _show(given, turns, tasks)
    finally:
        for task in tasks:
            task.cancel()
    if older is not None:
        given.console.note(_("Older messages were left out: --limit, or a shorter time."))


async def _answers(
    free: asyncio.Semaphore, turn: PastTurn, replies: Mapping[str, Reply], settings: BotSettings
) -> dict[str, Answered]:
    """What each reply says to a turn, one after the other."""
    from relay_client.chatwoot.evaluation import ask

    async with free:
        return {
            name: await ask(turn, reply, settings.bot, settings.reply_s)
            for name, reply in replies.items()
        }


async def _show(
    given: Given, turns: Sequence[PastTurn], tasks: Iterable[Awaitable[dict[str, Answered]]]
) -> None:
    """Show each turn once it is answered; to programs all of them at the end."""
    if given.as_json:
        shown = [_as_json(turn, await task) for turn, task in zip(turns, tasks, strict=True)]
        given.show({"turns": shown}, list)
        return
    for turn, task in zip(turns, tasks, strict=True):
        given.console.say(*_lines(turn, await task, given.console.cells))
    number = len(turns)
    given.console.say(
        plural("{number} turn; nothing was sent.", "{number} turns; nothing was sent.", number)
    )


async def _webhooks(given: Given, found: Sequence[Any]) -> list[tuple[float, Event]]:
    """Events' bodies, read, each with when it came; what is none of Chatwoot's is left out."""
    import asyncio

    from relay_client.chatwoot.events import UnreadableEvent, parse

    free = asyncio.Semaphore(BODIES_AT_ONCE)

    async def body(id_: str) -> bytes:
        async with free:
            return await given.api.body(id_)

    bodies = await asyncio.gather(*(body(str(row["id"])) for row in found))
    webhooks = list[tuple[float, "Event"]]()
    for row, content in zip(found, bodies, strict=True):
        try:
            webhooks.append((row["received_at"] / 1_000, parse(content)))
        except UnreadableEvent:
            continue
    return webhooks


def _as_json(turn: PastTurn, answered: dict[str, Answered]) -> dict[str, Any]:
    newest = turn.events[-1]
    return {
        "account": newest.account.id,
        "conversation": newest.conversation.id,
        "messages": [event.message.id for event in turn.events],
        "asked": [event.message.words for event in turn.events],
        "then": [{"author": line.author, "text": line.text} for line in turn.then],
        "now": {name: asdict(one) for name, one in answered.items()},
    }


def _lines(turn: PastTurn, answered: Mapping[str, Answered], cells: int) -> Iterator[str]:
    newest = turn.events[-1]
    yield f"#{newest.conversation.id}  {harmless(newest.message.sender.name)}"
    said = [
        *((_("customer"), event.message.words) for event in turn.events),
        *((_("then"), text) for text in _then(turn)),
        *((name, _outcome(one)) for name, one in answered.items()),
    ]
    plain = ((f"  {who}", harmless(" ".join(text.split()), WORDS_CHARS)) for who, text in said)
    yield from pairs(plain, cells)
    yield ""


def _then(turn: PastTurn) -> list[str]:
    return [line.text for line in turn.then] or [_("(nobody answered)")]


def _outcome(answered: Answered) -> str:
    """An answer, and what becomes of the conversation, in a line."""
    if answered.error:
        return _("(failed: {reason})").format(reason=answered.error)
    said = [*answered.did, answered.text or ""]
    if answered.wish or answered.text is None:
        reason = answered.wish or _("the bot has no answer")
        said.append(_("(people go on: {reason})").format(reason=reason))
    return "; ".join(filter(None, said)) or _("(says nothing)")
