"""Forwards."""

from __future__ import annotations

from relay_server.show.policies import policy_lines
from relay_server.show.subscriptions import alarms, state_of
from relay_server.show.text import Json, alarm, lines, open_console, pairs, table, when


def forwards(result: Json) -> None:
    """A line a forward."""
    console, found = open_console(), result["forwards"]
    if not found:
        lines(console, "There is no forward: relay-server forward create CHANNEL URL makes one.")
    table(
        console,
        ("channel", "forward", "state", "waiting", "oldest", "dead"),
        [
            (
                f["channel"],
                f["name"],
                alarm(_state(f)) if f["paused"] else _state(f),
                f["backlog"],
                when(f["oldest_waiting_at"]),
                f["dead"],
            )
            for f in found
        ],
    )
    for f in found:
        why = f["waits_for"] and f" ({f['waits_for']})"
        lines(console, f"{f['name']} of {f['channel']} posts to {f['url']}{why}")
    alarms(console, found)


def forward(result: Json) -> None:
    """How one is set, and how it is doing."""
    console = open_console()
    headers = ", ".join(f"{name}: {value}" for name, value in result["headers"].items())
    rules = {
        "posts to": result["url"],
        "timeout": f"{result['timeout_s']:g} s",
        "at once": f"{result['concurrency']} requests",
        "headers added": headers or "none",
    }
    policy = policy_lines(result["policy"], own=result["own_policy"])
    pairs(console, state_of(result) | rules | policy)
    alarms(console, [result])
    if not result["connected"] and not result["waits_for"]:
        lines(console, "It begins as soon as the server runs.")


def _state(f: Json) -> str:
    """What a table has room for; why it waits is said below."""
    if f["connected"]:
        state = "waits for its target" if f["target_down"] else "runs"
    else:
        state = "waits" if f["waits_for"] else "not running"
    return f"PAUSED, {state}" if f["paused"] else state
