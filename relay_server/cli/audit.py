"""`relay-server audit …`: who changed or saw what."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from relay_server.cli.command import Work, ask, command
from relay_server.cli.options import Json
from relay_server.cli.text import lines, when
from relay_terminal.usage import App
from relay_terminal.words import _

app = App("Who changed or saw what.")


def show_audit(result: Json) -> None:
    """Two lines an entry, newest first."""
    if not result["entries"]:
        lines(_("Nothing is noted yet."))
    for entry in result["entries"]:
        who = entry["made_by"] or (_("somebody") if entry["address"] else _("somebody here"))
        if entry["address"]:
            who = _("{who} at {address}").format(who=who, address=entry["address"])
        asked = [f"{name} {_value(value)}" for name, value in entry["asked"].items()]
        lines(
            f"{when(entry['at'], zoned=True)}  {entry['action']} {entry['what']}".rstrip(),
            _("    by {who}").format(who=who) + (": " if asked else "") + ", ".join(asked),
        )
    if result["next"] is not None:
        lines(_("Older ones: --before {next}").format(next=result["next"]))


def _value(value: object) -> str:
    """What was asked: text and numbers as they are, the rest as JSON."""
    if value and isinstance(value, str) and "," not in value:
        return value
    return json.dumps(value, ensure_ascii=False)


@command(app, "list", show_audit)
def audit_list(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only those before this number.")] = None,
) -> Work:
    """List who changed or saw what, newest first: kept for 90 days, the newest 10,000."""
    return ask("GET", "audit", query={"limit": limit, "before": before})
