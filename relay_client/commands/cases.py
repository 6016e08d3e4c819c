"""`relay-client dead`, `why`, `open`, and pins: single events and conversations looked into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from relay_client.commands.meant import NAMED_HELP, channel_of, event_of, name_of
from relay_client.errors import NothingFound, UsageError
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless, short_id
from relay_terminal.layout import Colour, when, zone
from relay_terminal.retold import retold
from relay_terminal.usage import App, Listing
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Event, Question

app = App()
dead = App("Show what was given up.", cls=Listing)
pins = App("Show the events that are kept under a name.", cls=Listing)

# As Chatwoot shows it, with or without its account's number: 318, #318, 2/318.
_CONVERSATION = re.compile(r"#?(?:[0-9]{1,12}/)?[0-9]{1,12}")
_DIGITS = re.compile(r"[0-9]{1,12}")

CaseName = Annotated[
    str,
    typer.Argument(
        metavar="CONVERSATION|EVENT",
        help="A conversation's number; or an event's id, the end of that (6 characters or more),"
        " @PIN or latest.",
    ),
]


@dead.command("list")
@asking
async def list_dead(
    given: Given,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    channel: Channel = None,
    name: Name = None,
) -> None:
    """List dead deliveries of your subscription, and why each was given up."""
    from relay_client.answers import Dead

    where, who = await channel_of(given), await name_of(given)
    query = {"channel": where, "subscription": who, "limit": limit}
    answer = await given.api.ask("GET", "dead", Dead, **query)

    def lines() -> Iterator[str]:
        found = answer.read().dead
        if not found:
            yield _("Nothing is dead for {name}.").format(name=harmless(who))
            return
        at = _("DIED ({zone})").format(zone=zone())
        rows = [("ID", at, _("EVENT"), _("CONVERSATION"), _("ATTEMPTS"), _("REASON"))]
        for one in found:
            what = harmless(one.kind) or "-", harmless(one.key) or "-"
            why_so = str(one.attempts), harmless(retold(one.reason))
            rows.append((short_id(one.id), when(one.ended_at), *what, *why_so))
        yield from given.console.table(rows)
        yield _("To deliver them once more: relay-client replay --dead")

    given.show(answer.whole, lines)


@app.command("why")
@asking
async def why_unanswered(
    given: Given, case: CaseName, channel: Channel = None, name: Name = None
) -> None:
    """Say why the customer of a conversation has no answer: how far its message came."""
    from relay_client.answers import Why
    from relay_client.api import segment

    where, key = await _conversation(given, case)
    path = f"conversations/{segment(where)}/{segment(key)}/why"
    answer = await given.api.ask("GET", path, Why, subscription=await name_of(given))

    def lines() -> Iterator[str]:
        found = answer.read()
        yield harmless(found.cause) or _("Nothing is wrong.")
        for question in found.questions:
            yield from _question(given, question)

    given.show(answer.whole, lines)


@app.command("open")
@asking
async def open_conversation(
    given: Given,
    case: CaseName,
    channel: Channel = None,
    chatwoot_url: Annotated[
        str | None, typer.Option(help="Your Chatwoot, e.g. https://chat.example.com.")
    ] = None,
    on_dashboard: Annotated[
        bool, typer.Option("--dashboard", help="The event on the relay's own dashboard.")
    ] = False,
) -> None:
    """Open a conversation in Chatwoot; where there is no terminal, print its address."""
    if on_dashboard:
        base = (await given.api.status()).read().dashboard_url or given.api.url
        url = f"{base}/events/{await event_of(given, case)}"
    else:
        url = await _in_chatwoot(given, case)
    given.show({"url": url}, lambda: [url])
    if given.console.is_terminal and not given.as_json:
        import webbrowser

        webbrowser.open(url)


async def _in_chatwoot(given: Given, case: str) -> str:
    """The address of a conversation in the Chatwoot that is set."""
    base = given.configuration.settings.chatwoot_url
    if base is None:
        raise UsageError(
            _("nobody said where Chatwoot is"),
            _("Give --chatwoot-url https://chat.example.com, or RELAY_CLIENT_CHATWOOT_URL."),
        )
    facts = (await _newest_of(given, case)).facts
    account, number = (facts.account, facts.conversation) if facts else ("", "")
    # They are of a body that anybody may have written: the address has nothing of it but digits.
    if not (_DIGITS.fullmatch(account) and _DIGITS.fullmatch(number)):
        raise NothingFound(_("{case} is no conversation of Chatwoot's").format(case=case))
    return f"{base}/app/accounts/{account}/conversations/{number}"


@pins.command("list")
@asking
async def list_pins(given: Given, channel: Channel = None) -> None:
    """List the pins, and the event that each name stands for."""
    from relay_client.answers import Pins

    query = {"channel": given.configuration.settings.channel}
    answer = await given.api.ask("GET", "pins", Pins, **query)

    def lines() -> Iterator[str]:
        rows = [(_("PIN"), "ID", _("CHANNEL"), _("EVENT"))]
        for one in answer.read().pins:
            what = harmless(one.kind or one.method)
            rows.append((harmless(f"@{one.name}"), short_id(one.id), harmless(one.channel), what))
        yield from given.console.table(rows) if rows[1:] else [_("Nothing is pinned.")]

    given.show(answer.whole, lines)


@app.command("pin")
@asking
async def pin_event(
    given: Given,
    event: Annotated[str, typer.Argument(help=NAMED_HELP)],
    pin: Annotated[str, typer.Argument(metavar="NAME", help="What it is kept as.")],
    channel: Channel = None,
) -> None:
    """Keep an event under a name, whatever its age: send @NAME sends it again."""
    from relay_client.answers import Pin

    id_ = await event_of(given, event)
    answer = await given.api.ask("PUT", f"pins/{id_}", Pin, {"name": pin.removeprefix("@")})
    text = _("{id} is pinned as @{name}.")
    given.show(
        answer.whole,
        lambda: [text.format(id=short_id(id_), name=harmless(answer.read().name))],
    )


@app.command("unpin")
@asking
async def unpin_event(
    given: Given, event: Annotated[str, typer.Argument(help=NAMED_HELP)], channel: Channel = None
) -> None:
    """Keep an event no longer than others."""
    id_ = await event_of(given, event)
    await given.api.do("DELETE", f"pins/{id_}")
    text = _("{id} is not pinned any more.").format(id=short_id(id_))
    given.show({"id": id_, "unpinned": True}, lambda: [text])


async def _conversation(given: Given, case: str) -> tuple[str, str]:
    """A channel, and the number or key of a conversation of it."""
    if _CONVERSATION.fullmatch(case):
        return await channel_of(given), case.removeprefix("#")
    event = (await given.api.event(await event_of(given, case))).read()
    if not event.key:
        raise NothingFound(_("{case} is of no conversation").format(case=case))
    return event.channel, event.key


async def _newest_of(given: Given, case: str) -> Event:
    """The newest event of a conversation, with what it says of itself."""
    from relay_client.commands.meant import newest_events

    where, key = await _conversation(given, case)
    query = {"channel": where, "key": key}
    found, _older = await newest_events(given, query, 1)
    if not found:
        raise NothingFound(_("no event is of conversation {key}").format(key=harmless(key)))
    import msgspec

    from relay_client.answers import Event

    return msgspec.convert(found[0], Event)


def _question(given: Given, one: Question) -> Iterator[str]:
    colour = {"yes": Colour.GOOD, "no": Colour.BAD}.get(one.answer, Colour.DIM)
    answer = {"yes": _("yes"), "no": _("no")}.get(one.answer, _("unknown"))
    yield f"  {harmless(one.asks)} {given.console.paint(answer, colour)}: {harmless(one.text)}"
    if one.fix:
        yield f"      {harmless(one.fix)}"
