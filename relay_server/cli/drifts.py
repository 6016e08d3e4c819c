"""`relay-server drift …`: webhooks of a kind that have other fields than before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from relay_server.cli.command import Work, ask, command
from relay_server.cli.options import Json
from relay_server.cli.text import lines, when
from relay_terminal.usage import App
from relay_terminal.words import _

app = App("Webhooks that have other fields than before, as after their sender's upgrade.")


def show_drifts(result: Json) -> None:
    """A few lines each, newest first."""
    if not result["drifts"]:
        lines(_("No kind of webhook has other fields than before."))
    for drift in result["drifts"]:
        facts = {"number": drift["number"], "time": when(drift["at"], zoned=True)}
        facts |= {"kind": drift["kind"] or "-", "channel": drift["channel"]}
        lines(_("{number}  {kind} of {channel}, since {time}").format(**facts), *_fields(drift))
        between = _("    before: {before}  after: {after}")
        lines(between.format(before=drift["before"], after=drift["after"]))


def _fields(drift: Json) -> Iterator[str]:
    yield from _named(_("    came: {fields}"), drift["came"])
    yield from _named(_("    went: {fields}"), drift["went"])
    template = _("    {field} was {was}, is {now}")
    for one in drift["turned"]:
        yield template.format(**one)


def _named(template: str, fields: Sequence[str]) -> Iterator[str]:
    if fields:
        yield template.format(fields=", ".join(fields))


@command(app, "list", show_drifts)
def drift_list() -> Work:
    """List what changed of the fields of webhooks, with an event of each side to compare."""
    return ask("GET", "drifts")


def show_dismissed(result: Json) -> None:
    lines(_("Dismissed: {number}").format(number=result["number"]))


@command(app, "dismiss", show_dismissed)
def drift_dismiss(
    number: Annotated[int, typer.Argument(help="Its number, as the list shows it.")],
) -> Work:
    """Forget a change that you have seen to."""
    return ask("DELETE", "drifts", str(number))
