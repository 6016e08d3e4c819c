"""`relay-client replays`: how far each is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from relay_client.options import Given, asking
from relay_protocol.text import harmless
from relay_terminal.states import rest_of_replay
from relay_terminal.usage import App, Listing
from relay_terminal.words import _, counted, plural

if TYPE_CHECKING:
    from relay_client.answers import Replay

listing = App("Show how far replays are, or stop one.", cls=Listing)


@listing.command("list")
@asking
async def list_replays(
    given: Given,
    stop: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    channel: Annotated[str | None, typer.Option(help="Of which channel alone.")] = None,
) -> None:
    """List the replays of your channels and how far each is."""
    from relay_client import answers

    if stop is not None:
        await given.api.do("DELETE", f"replays/{stop}")
    query = {"channel": channel or given.configuration.settings.channel}
    answer = await given.api.ask("GET", "replays", answers.Replays, **query)

    def lines() -> list[str]:
        found = answer.read().replays
        heading = _("REPLAY"), _("CHANNEL"), _("SUBSCRIPTION"), _("STATE"), _("DONE")
        rows = [(*heading, _("DELIVERED"), _("DEAD"), ""), *map(_replay_row, found)]
        return given.console.table(rows) if found else [_("There is no replay.")]

    given.show(answer.whole, lines)


@listing.command("stop")
@asking
async def stop_replay(
    given: Given, number: Annotated[int, typer.Argument(min=1, help="Its number.")]
) -> None:
    """Stop a replay that you began; what it has not delivered yet it will not."""
    from relay_client import answers

    answer = await given.api.ask("DELETE", f"replays/{number}", answers.Replay)

    def lines() -> Iterator[str]:
        delivered = answer.read().delivered
        text = plural("{number} event was delivered", "{number} events were delivered", delivered)
        yield _("Replay {replay} is stopped: {text}.").format(replay=number, text=text)

    given.show(answer.whole, lines)


def _replay_row(one: Replay) -> tuple[str, ...]:
    state = harmless(_(one.state))
    if state == "running" and one.paused:
        state = _("paused")
    elif state == "running" and not one.connected:
        state = _("waits for its client")
    names = harmless(one.channel), harmless(one.subscription)
    counts = f"{one.percent:g} %", counted(one.delivered), counted(one.dead)
    return (str(one.number), *names, state, *counts, rest_of(one))


def rest_of(one: Replay) -> str:
    """What is tried again and when, and how long the rest takes."""
    return ", ".join(rest_of_replay(one.retrying, one.next_attempt_at, one.left_s))
