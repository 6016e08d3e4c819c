"""Commands on one's own subscriptions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.meant import NAMED_HELP, channel_of, event_of, name_of
from relay_client.options import Given, Name, asking
from relay_protocol.text import harmless, short_id
from relay_terminal.layout import duration, when, zoned
from relay_terminal.program import confirmed
from relay_terminal.states import pause_of
from relay_terminal.usage import App, Listing
from relay_terminal.words import _, counted, plural

if TYPE_CHECKING:
    from relay_client.answers import Skipping, SubscriptionStatus
    from relay_client.api import Api

app = App()
subscription = App("List and delete your own subscriptions.", cls=Listing)

Channel = Annotated[
    str | None, typer.Option(help="Its channel. (default: the token's, or chatwoot)")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
@asking
async def resume(given: Given, channel: Channel = None, name: Name = None) -> None:
    """Go on with a subscription that was paused because your app answered 410."""
    where, who = await channel_of(given), await name_of(given)
    await given.api.do("POST", f"{given.api.subscription(where, who)}/resume")
    text = _("{who} goes on: what waited of {where} is delivered now.").format(
        who=harmless(who), where=harmless(where)
    )
    given.show({"channel": where, "subscription": who, "resumed": True}, lambda: [text])


@app.command()
@asking
async def skip(
    given: Given,
    event: Annotated[
        str | None, typer.Argument(help=f"The last one to skip. {NAMED_HELP} (default: all)")
    ] = None,
    channel: Channel = None,
    name: Name = None,
    yes: Yes = False,
) -> None:
    """Settle what waits for your subscription without delivering it; a replay still brings it."""
    where, who = await channel_of(given), await name_of(given)
    waiting = await shown(given.api, where, who)
    up_to = None if event is None else (await given.api.event(event)).read().sequence
    if waiting.backlog:
        confirmed(skip_question(waiting), yes=yes)
    answer = await skip_waiting(given.api, where, who, up_to)
    skipped = answer.skipped

    def lines() -> list[str]:
        if not skipped:
            text = _("Nothing waits for {name}.")
            return [text.format(name=harmless(who))]
        text = plural("{number} webhook skipped.", "{number} webhooks skipped.", skipped)
        return [text, _("To get some after all: relay-client replay --since 2h")]

    given.show({"channel": where, "subscription": who, "skipped": skipped}, lines)


@app.command()
@asking
async def give_up(
    given: Given,
    event: Annotated[str, typer.Argument(help=NAMED_HELP)],
    name: Name = None,
) -> None:
    """Have a webhook that your app fails at tried no more: its conversation goes on without it."""
    from relay_client.answers import Delivery

    who = await name_of(given)
    found = (await given.api.event(await event_of(given, event))).read()
    path = f"{given.api.subscription(found.channel, who)}/give-up"
    answer = await given.api.ask("POST", path, Delivery, {"event": found.id})

    def lines() -> list[str]:
        text = _("{name} does not get {event} again: it is dead.")
        again = _("To get it after all: relay-client replay {event}")
        named = {"name": harmless(who), "event": short_id(found.id)}
        return [text.format(**named), again.format(**named)]

    given.show(answer.whole, lines)


@subscription.command("list")
@asking
async def list_subscriptions(
    given: Given,
    channel: Annotated[str | None, typer.Option(help="Of which channel alone.")] = None,
) -> None:
    """List the subscriptions that are yours: this token made them, or used them first."""
    answer = await given.api.status()
    found = [s for s in answer.read().subscriptions if s.own and channel in (None, s.channel)]
    names = {(one.channel, one.name) for one in found}
    whole: list[dict[str, Any]] = [
        one for one in answer.whole["subscriptions"] if (one["channel"], one["name"]) in names
    ]

    def lines() -> list[str]:
        heading = _("CHANNEL"), _("SUBSCRIPTION"), _("STATE"), _("WAITING"), zoned(_("OLDEST"))
        rows = [heading, *map(_row, found)]
        return given.console.table(rows) if found else [_("None is yours.")]

    given.show({"subscriptions": whole}, lines)


@subscription.command("delete")
@asking
async def delete_subscription(
    given: Given,
    named: Annotated[str, typer.Argument(metavar="NAME", help="The subscription's name.")],
    channel: Channel = None,
    yes: Yes = False,
) -> None:
    """Forget a subscription of yours, with what waits for it."""
    where = await channel_of(given)
    waiting = await shown(given.api, where, named)
    question = _("Delete {name} of {channel}? {waiting}").format(
        name=harmless(named), channel=harmless(where), waiting=waiting_text(waiting)
    )
    confirmed(question, yes=yes)
    await given.api.do("DELETE", given.api.subscription(where, named))
    text = _("Deleted {name}.").format(name=harmless(named))
    given.show({"channel": where, "subscription": named, "deleted": True}, lambda: [text])


async def shown(api: Api, channel: str, name: str) -> SubscriptionStatus:
    """How a subscription is doing."""
    from relay_client.answers import SubscriptionStatus

    return (await api.ask("GET", api.subscription(channel, name), SubscriptionStatus)).read()


async def skip_waiting(api: Api, channel: str, name: str, up_to: int | None) -> Skipping:
    """Settle what waits for a subscription, up to a sequence."""
    from relay_client.answers import Skipping

    path = f"{api.subscription(channel, name)}/skip"
    return (await api.ask("POST", path, Skipping, {"up_to": up_to})).read()


def waiting_text(one: SubscriptionStatus) -> str:
    """How much waits for a subscription, and for how long."""
    text = plural("{number} webhook waits", "{number} webhooks wait", one.backlog)
    if one.oldest_waiting_at is None:
        return f"{text}."
    ago = duration(max(0.0, time.time() - one.oldest_waiting_at / 1_000))
    return _("{webhooks}, the oldest for {time}.").format(webhooks=text, time=ago)


def skip_question(one: SubscriptionStatus) -> str:
    return f"{waiting_text(one)} {plural('Skip it?', 'Skip them?', one.backlog)}"


def state_of(one: SubscriptionStatus) -> str:
    """Who reads a subscription, and why nothing is delivered."""
    if one.forward:
        said = [_("forward")]  # the server reads it itself
    elif one.connected:
        said = [_("connected") + (f" ×{one.readers}" if one.readers > 1 else "")]
    elif one.away_since is None:
        said = [_("away")]
    else:
        said = [_("away since {time}").format(time=when(one.away_since))]
    if one.target_down:
        said.append(_("target down"))
    if one.paused:
        why = pause_of(one.paused, one.paused_by, one.paused_at)
        said.append(_("paused: {reason}").format(reason=why))
    if one.temporary:
        said.append(_("temporary"))
    return ", ".join(said)


def _row(one: SubscriptionStatus) -> tuple[str, ...]:
    names = harmless(one.channel), harmless(one.name)
    return (*names, state_of(one), counted(one.backlog), when(one.oldest_waiting_at))
