"""What a command changed: the rules that are otherwise now, and not all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay_server.cli.command import Work, target_of
from relay_server.cli.options import Json
from relay_server.cli.text import lines
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api


def change(*path: str, body: Json) -> Work:
    """Change something, and give it with `changed`: each field that is otherwise, from and to."""
    target = target_of(*path)

    async def do(api: Api) -> Json:
        before = await api.call("GET", target)
        after = await api.call("PATCH", target, body)
        names = [name for name in after if name in before and name not in STATE]
        changed = {
            name: {"from": before[name], "to": after[name]}
            for name in names
            if before[name] != after[name]
        }
        return after | {"changed": changed}

    return do


def show_changes(result: Json, rules: Callable[[Json], Json]) -> None:
    """A line for each rule that is otherwise than before, of what `change` gave."""
    before = rules(result | {name: its["from"] for name, its in result["changed"].items()})
    after = rules(result)
    said = [
        f"{name}: {before[name]} -> {text}" for name, text in after.items() if before[name] != text
    ]
    lines(*(said or [_("Nothing is otherwise than before.")]))


# What is nobody's setting, and changes by itself.
STATE = frozenset(
    {
        *("away_long", "away_since", "backlog", "connected", "dead", "hosts", "next_attempt_at"),
        *("oldest_waiting_at", "readers", "retrying", "target_down", "tried", "waits_for"),
        *("handed_over", "hand_off_trouble", "told_twice"),
    }
)
