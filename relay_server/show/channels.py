"""Channels and their rules."""

from __future__ import annotations

from relay_server.show.policies import policy_lines, size
from relay_server.show.text import Json, open_console, pairs, table


def channels(result: Json) -> None:
    """A line a channel."""
    table(
        open_console(),
        ("channel", "webhook path", "sender must show", "kept"),
        [
            (c["name"], c["webhook_path"], _auth(c), f"{c['retention_days']:g} days")
            for c in result["channels"]
        ],
    )


def channel(result: Json) -> None:
    """A line a rule."""
    limit = result["max_bytes"]
    full = "the oldest go, delivered or not" if result["drop_oldest"] else "new ones are refused"
    rules = {
        "channel": result["name"],
        "webhook path": result["webhook_path"],
        "sender": result["sender"],
        "sender must show": _auth(result),
        "allowed networks": ", ".join(result["allow_from"]) or "any",
        "order kept by": result["key_pointer"] or "the sender's usual (Chatwoot: conversation)",
        "largest body": f"{result['max_body_bytes']} bytes",
        "kept": f"{result['retention_days']:g} days once delivered",
        "dead ones kept": f"{result['dead_days']:g} days",
        "all its events": "any size" if limit is None else f"at most {size(limit)}",
        "when full": full,
        "taken": _rate(result["rate_per_s"]),
    }
    pairs(open_console(), rules | policy_lines(result["policy"]))


def _rate(per_s: float | None) -> str:
    return "any number" if per_s is None else f"up to {per_s:g} webhooks a second"


def _auth(channel: Json) -> str:
    return ", ".join(channel["sender_auth"]) or "nothing: anybody may post"
