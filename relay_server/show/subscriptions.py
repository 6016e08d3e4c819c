"""Subscriptions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from relay_server.show.policies import policy_lines
from relay_server.show.text import Json, alarm, lines, open_console, pairs, table, when


def subscriptions(result: Json) -> None:
    """A line a subscription."""
    console = open_console()
    if not result["subscriptions"]:
        lines(console, "Nobody has subscribed yet: relay-client connect does it.")
    subscription_table(console, result)


def subscription(result: Json) -> None:
    """How one is doing, and how it delivers."""
    console = open_console()
    pairs(console, state_of(result) | policy_lines(result["policy"], own=result["own_policy"]))
    alarms(console, [result])


def paused(result: Json) -> None:
    """Whether it is paused now."""
    who = f"{result['name']} of {result['channel']}"
    if not result["paused"]:
        lines(open_console(), f"{who} goes on; {result['backlog']} wait.")
        return
    lines(open_console(), alarm(f"{who} is PAUSED: {result['paused']}. What comes waits."))


def state_of(s: Json) -> Json:
    """What there is to say of how one is doing."""
    return {
        "channel": s["channel"],
        "subscription": s["name"],
        "reader": reader(s),
        "waiting": _waiting(s),
        "dead": s["dead"],
        "made": when(s["created_at"]),
    }


def subscription_table(console: Console, result: Json) -> None:
    """A line a subscription, and what must not be overlooked."""
    table(
        console,
        ("channel", "subscription", "reader", "waiting", "oldest", "dead"),
        [_subscription(s) for s in result["subscriptions"]],
    )
    for s in result["subscriptions"]:
        if s["forward"] or s["waits_for"]:
            lines(console, f"{s['name']} of {s['channel']}: {_reader(s)}")
    alarms(console, result["subscriptions"])


def alarms(console: Console, found: Sequence[Json]) -> None:
    """A line for each that is paused: why, and what to do."""
    for s in found:
        if s["paused"]:
            kind = "forward" if s["forward"] else "subscription"
            text = f"{s['name']} of {s['channel']} is PAUSED: {s['paused']}"
            lines(console, alarm(text))
            lines(console, f"  relay-server {kind} resume {s['channel']} {shlex.quote(s['name'])}")


def reader(s: Json) -> str:
    """Who reads it, in a few words."""
    if s["paused"]:
        return f"PAUSED, {_reader(s)}"
    return _reader(s)


def in_short(s: Json) -> str:
    """The same in so few words that a table has room for them; a line below says more."""
    if s["connected"] and s["target_down"]:
        state = "waits for its target"
    elif s["forward"]:
        state = "forward" if s["connected"] else "forward, not running"
    else:
        state = _reader(s)
    return f"PAUSED, {state}" if s["paused"] else state


def idle(s: Json) -> str:
    """Why nobody reads a forward's subscription now."""
    return str(s["waits_for"]) or "not running"


def _waiting(s: Json) -> str:
    if s["oldest_waiting_at"] is None:
        return str(s["backlog"])
    return f"{s['backlog']}, the oldest since {when(s['oldest_waiting_at'])}"


def _reader(s: Json) -> str:
    if s["connected"] and s["target_down"]:
        why = f" ({s['waits_for']})" if s["waits_for"] else ""
        return f"waits for its target{why}"
    if s["forward"]:
        return f"forward to {s['forward']}" + ("" if s["connected"] else f", {idle(s)}")
    if s["readers"] > 1:
        return f"connected ×{s['readers']}"
    return "connected" if s["connected"] else "away"


def _subscription(s: Json) -> Sequence[object]:
    return (
        s["channel"],
        s["name"],
        alarm(in_short(s)) if s["paused"] else in_short(s),
        s["backlog"],
        when(s["oldest_waiting_at"]),
        s["dead"],
    )
