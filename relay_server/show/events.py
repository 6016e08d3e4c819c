"""Events and their deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence

from relay_server.show.text import MAX_CELL_CHARS, Json, lines, open_console, pairs, table, when


def events(result: Json) -> None:
    """Two lines an event, newest first."""
    console = open_console()
    if not result["events"]:
        lines(console, "Nothing came in yet.")
    for event in result["events"]:
        lines(console, *_event(event))


def event(result: Json) -> None:
    """Everything that is known of one event."""
    console = open_console()
    pairs(
        console,
        {
            "event": result["id"],
            "channel": f"{result['channel']}, number {result['sequence']}",
            "received": when(result["received_at"]),
            "kind": result["kind"] or "-",
            "order kept by": result["key"] or "the channel",
            "sender": result["sender"] or "-",
            "request": f"{result['method']} {result['request_target']}",
        },
    )
    lines(console, "")
    lines(console, *(f"{name}: {value}" for name, value in result["headers"]), "")
    lines(console, *_body(result).splitlines(), "")
    table(
        console,
        ("subscription", "attempt", "began", "took", "outcome"),
        [_attempt(attempt) for attempt in result["attempts"]],
    )
    waiting = [d for d in result["deliveries"] if d["state"] != "delivered"]
    lines(console, *(_delivery(delivery) for delivery in waiting))


def _event(event: Json) -> tuple[str, str]:
    states = ", ".join(f"{_whose(d)}: {_state(d)}" for d in event["deliveries"])
    what = f"{event['kind'] or event['method']}, order {event['key'] or '-'}"
    return (
        f"{when(event['received_at'])}  {event['id']}",
        f"    {what}; {states or 'nobody subscribed then'}",
    )


def _state(delivery: Json) -> str:
    status = delivery["status"]
    return f"{delivery['state']} ({status})" if status is not None else str(delivery["state"])


def _attempt(attempt: Json) -> Sequence[object]:
    outcome = attempt["outcome"].replace("_", " ")
    if attempt["status"] is not None:
        outcome = str(attempt["status"])
    if attempt["text"]:
        outcome += f": {attempt['text']}"
    took = f"{attempt['elapsed_ms']} ms"
    return (
        _whose(attempt),
        attempt["attempt"],
        when(attempt["started_at"]),
        took,
        outcome,
    )


def _delivery(delivery: Json) -> str:
    line = f"{_whose(delivery)}: {delivery['state'].replace('_', ' ')}"
    if delivery["due_at"]:
        line += f", next attempt {when(delivery['due_at'])}"
    return f"{line} ({delivery['reason']})" if delivery["reason"] else line


def _whose(record: Json) -> str:
    """A subscription's own delivery, or that of a replay."""
    replay = f" (replay {record['replay']})" if record["replay"] else ""
    return f"{record['subscription']}{replay}"


def _body(result: Json) -> str:
    """The body as people read it: indented where it is JSON."""
    if result["body"] is None:
        return f"({result['size']} bytes that are no text; --json gives them in base64)"
    try:
        text = json.dumps(json.loads(result["body"]), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = result["body"]
    if len(text) > MAX_CELL_CHARS:
        return text[:MAX_CELL_CHARS] + f"\n… {len(text) - MAX_CELL_CHARS} characters more"
    return text
