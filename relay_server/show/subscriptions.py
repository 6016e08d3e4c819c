"""Subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from relay_server.show.text import Json, lines, open_console, table, when


def subscriptions(result: Json) -> None:
    """A line a subscription."""
    console = open_console()
    if not result["subscriptions"]:
        lines(console, "Nobody has subscribed yet: relay-client connect does it.")
    subscription_table(console, result)


def subscription_table(console: Console, result: Json) -> None:
    table(
        console,
        ("channel", "subscription", "reader", "waiting", "oldest", "dead"),
        [_subscription(s) for s in result["subscriptions"]],
    )


def _subscription(s: Json) -> Sequence[object]:
    reader = "waits for its target" if s["target_down"] else "connected"
    return (
        s["channel"],
        s["name"],
        reader if s["connected"] else "away",
        s["backlog"],
        when(s["oldest_waiting_at"]),
        s["dead"],
    )
