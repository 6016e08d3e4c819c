"""`relay-client bot`: a bot for Chatwoot, made and run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay_client.options import Json, run
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.chatwoot import BotSettings, Reply
    from relay_terminal.console import Console

app = App("Make and run a bot that answers customers in Chatwoot.")


@app.command()
def new(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    as_json: Json = False,
) -> None:
    """Write a bot's project: the bot, its tests, and what deploys it."""
    import json

    from relay_client.chatwoot.project import write_project

    files = write_project(folder)
    if as_json:
        ctx.obj.line(json.dumps({"folder": str(folder.absolute()), "files": files}))
        return
    ctx.obj.say(_("{folder} is a bot: {files}").format(folder=folder, files=", ".join(files)))
    ctx.obj.say(
        _("Next: cd {folder} && relay-client bot run").format(folder=folder),
        _("Then, in another terminal: curl --data-binary @message.json localhost:8000/webhook"),
        _("Its README.md says how it is tested, connected and deployed."),
    )


@app.command("run")
def run_bot(
    ctx: typer.Context,
    reply: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:NAME]",
            help="The async function that finds the answers, or FILE.py:NAME. (default: bot:reply)",
        ),
    ] = "bot:reply",
    host: Annotated[
        str,
        typer.Option(help="Where it listens; 0.0.0.0 in a container. (default: 127.0.0.1)"),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="0 for any free one. (default: 8000)")
    ] = 8000,
) -> None:
    """Answer the customers of a Chatwoot with a function, until interrupted.

    What it is told by its environment, such as CHATWOOT_URL, its project's README lists.
    """
    from relay_client.chatwoot.server import load_reply
    from relay_client.chatwoot.settings import read_settings

    settings = read_settings()
    run(_serve(load_reply(reply), settings, host, port, ctx.obj))


@app.command()
def forget(
    ctx: typer.Context,
    account: Annotated[int, typer.Argument(help="The account's number.")],
    contact: Annotated[int, typer.Argument(help="The contact's number.")],
    as_json: Json = False,
) -> None:
    """Erase from the bot's ledger all that was said with a contact."""
    import json

    from relay_client.chatwoot.ledger import Ledger
    from relay_client.chatwoot.memory import Memory
    from relay_client.chatwoot.settings import ledger_file
    from relay_client.errors import NothingFound

    path = ledger_file()
    if not path.exists():
        raise NothingFound(
            _("there is no ledger at {path}: nothing was erased").format(path=path.absolute()),
            _("Go to the bot's folder, or say with BOT_LEDGER where it is."),
        )
    ledger = Ledger(path, alone=False)
    lines = Memory(ledger).forget_contact(account, contact)
    ledger.close()
    said = _("Erased, lines: {lines}").format(lines=lines)
    ctx.obj.line(json.dumps({"lines": lines}) if as_json else said)


async def _serve(
    reply: Reply, settings: BotSettings, host: str, port: int, console: Console
) -> None:
    import asyncio

    from relay_client.chatwoot.bot import Bot
    from relay_client.chatwoot.server import logging_to, serving
    from relay_client.interrupts import Interrupts

    interrupts, stop = Interrupts(), asyncio.Event()
    interrupts.on_first = stop.set
    with interrupts.installed(), logging_to(console.err):
        async with (
            Bot(reply, settings, say=console.line) as bot,
            serving(bot, host, port) as chosen,
        ):
            for line in _introduction(settings, host, chosen):
                console.line(line)
            await stop.wait()
            console.line(_("Stopping: what is under way gets its end. Ctrl-C again ends at once."))


def _introduction(settings: BotSettings, host: str, port: int) -> list[str]:
    lines = [_("Listening on http://{host}:{port}/webhook").format(host=host, port=port)]
    if not settings.secrets:
        lines.append(_("Signatures are not checked: CHATWOOT_WEBHOOK_SECRET is not set."))
    if settings.url:
        return [*lines, _("Answers go to {url}").format(url=settings.url)]
    return [*lines, _("Answers are only printed: CHATWOOT_URL and CHATWOOT_TOKEN are not set.")]
