"""Dead deliveries."""

from __future__ import annotations

from relay_server.show.text import Json, counted, lines, open_console, when


def dead(result: Json) -> None:
    """Two lines a delivery: what it is, and why it was given up."""
    console = open_console()
    if not result["dead"]:
        lines(console, "Nothing is dead.")
        return
    for one in result["dead"]:
        lines(console, *_lines(one))
    lines(console, "", "relay-server dead replay ID delivers one after all; --all every one.")


def discarded(result: Json) -> None:
    """How many."""
    number = counted(result["discarded"], "dead delivery", "dead deliveries")
    lines(open_console(), f"Let go of {number}.")


def _lines(one: Json) -> tuple[str, str]:
    tries = counted(one["attempts"], "try", "tries")
    what = f"number {one['sequence']}, {one['kind'] or '-'}, order {one['key'] or '-'}"
    return (
        f"{one['id']}  {one['subscription']} of {one['channel']}: {what}",
        f"    {when(one['ended_at'])}, after {tries}: {one['reason']}",
    )
