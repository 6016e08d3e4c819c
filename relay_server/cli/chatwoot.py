"""`relay-server chatwoot …`: set a channel up in a Chatwoot, look whether it is so, take it back.

An administrator's access token is asked for, or read from a file, each time, and kept nowhere.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from relay_server.cli.command import Work, command
from relay_server.cli.options import Json, Yes, read_secret
from relay_server.cli.text import alarm, lines
from relay_server.errors import InvalidValue
from relay_terminal.console import Console
from relay_terminal.program import confirmed
from relay_terminal.usage import App
from relay_terminal.words import _, plural

if TYPE_CHECKING:
    from relay_server.chatwoot.checks import Finding
    from relay_server.chatwoot.seen import Seen
    from relay_server.chatwoot.steps import Hands, Step
    from relay_server.control import Api

app = App("Set channels up in a Chatwoot, and look whether it is so.")

Url = Annotated[str | None, typer.Option(metavar="URL", help="Of the Chatwoot, as people open it.")]
Account = Annotated[
    int | None, typer.Option(min=1, help="Number of its account, from /app/accounts/2/.")
]
ForChannel = Annotated[
    str | None, typer.Option(help="Which channel it posts to. (default: the server's)")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with an administrator's access token; '-' reads a line. Asked for if left out.",
    ),
]
RelayUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where Chatwoot reaches the relay. (default: its public URL)"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


class Asked(NamedTuple):
    """What a command was asked about.

    Attributes:
        url, account: Of the Chatwoot; None for those that the channel knows.
        relay_url: None for the public one.
    """

    channel: str | None
    url: str | None
    account: int | None
    relay_url: str | None
    token_file: Path | None
    inbox: int = 0


class Place(NamedTuple):
    """A Chatwoot and a channel, and what there is in both.

    Attributes:
        webhook_url: The channel's, without a token.
    """

    seen: Seen
    hands: Hands
    relay_url: str
    webhook_url: str


def show_done(result: Json) -> None:
    """What was done, or would be."""
    if not result["steps"]:
        lines(_("Nothing to do: everything is as it should be."))
    elif not result["done"]:
        lines(_("This would be done:"), *(f"  - {one['text']}" for one in result["steps"]))
    else:
        lines(_("Done:"), *(f"  - {one['text']}" for one in result["steps"]))


def show_findings(result: Json) -> None:
    """A line a finding, with what it costs and what to do; and what install would change."""
    marks = {True: _("ok"), None: _("warning"), False: _("FAILED")}
    for one in result["findings"]:
        mark = marks[one["ok"]]
        lines(f"{mark if one['ok'] else alarm(mark)}: {one['text']}")
        lines(*(f"    {text}" for text in (one["cost"], one["remedy"]) if text))
    if result["steps"]:
        lines("", _("relay-server chatwoot install would:"))
        lines(*(f"  - {one['text']}" for one in result["steps"]))


@command(app, "install", show_done)
def install(
    url: Url = None,
    account: Account = None,
    webhook: Annotated[
        bool, typer.Option("--webhook", help="The account's webhook: the default.")
    ] = False,
    bot: Annotated[bool, typer.Option("--bot", help="An agent bot, in the inbox of --inbox.")] = (
        False
    ),
    api_inbox: Annotated[bool, typer.Option("--api-inbox", help="An inbox of an API.")] = False,
    inbox: Annotated[
        int | None, typer.Option(min=1, help="Inbox that the bot answers in, by its number.")
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(metavar="EVENTS", help="Of the account's webhook, with commas between them."),
    ] = None,
    hand_off: Annotated[
        bool,
        typer.Option(
            "--hand-off",
            help="Keep the bot's access token, sealed: the relay hands over while the bot is away.",
        ),
    ] = False,
    private: Annotated[
        bool,
        typer.Option("--private-address", help="Chatwoot posts to private addresses, too."),
    ] = False,
    channel: ForChannel = None,
    relay_url: RelayUrl = None,
    token_file: TokenFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Work:
    """Set a channel up in a Chatwoot: webhook, bot or inbox, and signatures; safe to repeat."""
    asked = Asked(channel, url, account, relay_url, token_file, inbox or 0)

    def steps(place: Place) -> Sequence[Step]:
        from relay_server.chatwoot.install import plan
        from relay_server.chatwoot.seen import Wish, check

        wish = Wish(
            place.hands.channel,
            place.relay_url,
            webhook or not (bot or api_inbox),
            bot,
            api_inbox,
            asked.inbox,
            tuple(filter(None, map(str.strip, (events or "").split(",")))),
            hand_off,
            private,
        )
        check(wish, place.seen)
        return plan(wish, place.seen)

    return _work(asked, steps, dry_run=dry_run, yes=yes)


@command(app, "rotate", show_done)
def rotate(
    channel: ForChannel = None,
    relay_url: RelayUrl = None,
    token_file: TokenFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Work:
    """Have Chatwoot sign with other secrets; the old ones hold until install runs again."""

    def steps(place: Place) -> Sequence[Step]:
        from relay_server.chatwoot.rotate import rotation

        return rotation(place.seen, place.webhook_url)

    asked = Asked(channel, None, None, relay_url, token_file)
    return _work(asked, steps, dry_run=dry_run, yes=yes)


@command(app, "uninstall", show_done)
def uninstall(
    url: Url = None,
    account: Account = None,
    channel: ForChannel = None,
    relay_url: RelayUrl = None,
    token_file: TokenFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Work:
    """Take back what install made; inboxes stay, with their conversations."""

    def steps(place: Place) -> Sequence[Step]:
        from relay_server.chatwoot.rotate import removal

        return removal(place.seen, place.webhook_url)

    asked = Asked(channel, url, account, relay_url, token_file)
    return _work(asked, steps, dry_run=dry_run, yes=yes)


@command(app, "status", show_findings)
def status(
    channel: ForChannel = None, relay_url: RelayUrl = None, token_file: TokenFile = None
) -> Work:
    """Say what is set up for a channel, what is wrong with it, and what that costs."""

    async def found(api: Api) -> Json:
        from relay_server.chatwoot.checks import of_chatwoot

        async with opened(api, Asked(channel, None, None, relay_url, token_file)) as place:
            findings = [*of_chatwoot(place.seen, place.webhook_url)]
            return {"findings": views(findings), "steps": _views(_as_it_is(place))}

    return found


def views(findings: Sequence[Finding]) -> list[Json]:
    import msgspec

    return [msgspec.structs.asdict(one) for one in findings]


def _as_it_is(place: Place) -> Sequence[Step]:
    """What install would do for what is there now."""
    from relay_server.chatwoot.install import plan
    from relay_server.chatwoot.seen import Wish, ours

    known, has = place.seen.channel, ours(place.seen, place.webhook_url)
    wish = Wish(
        place.hands.channel,
        place.relay_url,
        bool(has.webhooks),
        bool(has.bots),
        bool(has.inboxes),
        known.inbox,
        hand_off=bool(known.bot_token),
    )
    return plan(wish, place.seen) if any(has) else []


def _work(
    asked: Asked, planned: Callable[[Place], Sequence[Step]], *, dry_run: bool, yes: bool
) -> Work:
    """Plan, show, ask, do."""

    async def work(api: Api) -> Json:
        from relay_server.chatwoot.install import apply

        async with opened(api, asked) as place:
            steps = planned(place)
            done = bool(steps) and not dry_run
            if done:
                _ask(steps, yes=yes)
                await apply(place.hands, steps)
        return {"done": done, "steps": _views(steps)}

    return work


def _ask(steps: Sequence[Step], *, yes: bool) -> None:
    if yes:
        return
    console = Console.of_process()
    for step in steps:
        console.note(f"  - {step.text}")
    question = plural("Do this {number} step?", "Do these {number} steps?", len(steps))
    confirmed(question, yes=False)


def _views(steps: Sequence[Step]) -> list[Json]:
    return [{"step": step.code, "text": step.text} for step in steps]


def channel_of(asked: Asked, status: Json) -> str:
    """Which channel is meant: the server's default one where none is named."""
    return asked.channel or str(status["settings"]["default_channel"]["value"])


@asynccontextmanager
async def opened(
    api: Api, asked: Asked, status: Json | None = None, addresses: Sequence[str] | None = None
) -> AsyncIterator[Place]:
    """Speak to a Chatwoot, and see what there is in it and in the channel.

    The relay's status, and where its name leads, are asked for unless they are known.
    """
    from relay_chatwoot.api import open_chatwoot, plain_url
    from relay_server.chatwoot.probe import addresses_of
    from relay_server.chatwoot.seen import look
    from relay_server.chatwoot.steps import Hands

    status = status or await api.call("GET", "status")
    channel = channel_of(asked, status)
    known = await api.call("GET", f"channels/{channel}/chatwoot")
    url, account = asked.url or known["url"], asked.account or known["account"]
    if not url or not account:
        raise InvalidValue(_("which Chatwoot? Give --url and --account"))
    relay_url = (asked.relay_url or _public(status)).rstrip("/")
    token = _token(asked.token_file)
    if addresses is None:
        addresses, _why = await addresses_of(relay_url)
    async with open_chatwoot(plain_url(url), account, token) as chatwoot:
        seen = await look(chatwoot, api, channel, asked.inbox, addresses)
        webhook_url = relay_url + seen.channel.webhook_path
        yield Place(seen, Hands(chatwoot, api, channel, webhook_url), relay_url, webhook_url)


def _public(status: Json) -> str:
    if not status["settings"]["public_url"]["value"]:
        raise InvalidValue(
            _(
                "where does Chatwoot reach the relay? Give --relay-url, or say it once: {command}"
            ).format(command="relay-server init --public-url https://relay.example.com")
        )
    return str(status["public_url"])


def _token(file: Path | None) -> str:
    if file is not None:
        return read_secret(file)
    console = Console.of_process()
    if not sys.stdin.isatty():
        raise InvalidValue(_("nobody is here to type the access token: give --token-file"))
    token = getpass.getpass(_("Access token of an administrator: "), stream=console.err).strip()
    if not token:
        raise InvalidValue(_("there is no access token"))
    return token
