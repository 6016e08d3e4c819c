"""How the commands' results look to people. What senders wrote is made harmless first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from relay_protocol.text import harmless

Json = dict[str, Any]

MAX_BODY_CHARS = 20_000
WHOLE_COLUMNS = ("id", "received")  # to be copied, or read at a glance


def init(result: Json) -> None:
    """What to do next, from nothing to a webhook on a laptop."""
    console = _console()
    _lines(console, f"Relay's data is in {result['data_dir']}.", "")
    if not result["running"]:
        _lines(console, "Start the server:", "  relay-server serve", "")
    _init_sender(console, result)
    _init_client(console, result)
    if result["send_token"] or result["subscribe_token"]:
        _lines(console, "Tokens are shown this once: only a digest of them is kept.")


def status(result: Json) -> None:
    """Channels, subscriptions and settings."""
    console = _console()
    if result["running"]:
        up = _duration(result["uptime_s"] * 1000)
        _lines(console, f"Running for {up} at {result['public_url']}, version {result['version']}.")
    else:
        _lines(console, "Not running: relay-server serve starts it.")
    if reason := result["store"]["reason"]:
        _lines(console, f"Webhooks are refused: {reason}.")
    _table(
        console,
        ("channel", "events", "last webhook"),
        [(c["name"], c["events"], _when(c["last_received_at"])) for c in result["channels"]],
    )
    _subscriptions(console, result)
    _table(
        console,
        ("setting", "value", "from"),
        [(n, _plain(s["value"]), s["source"]) for n, s in result["settings"].items()],
    )


def subscriptions(result: Json) -> None:
    """A line a subscription."""
    console = _console()
    if not result["subscriptions"]:
        _lines(console, "Nobody has subscribed yet: relay-client connect does it.")
    _subscriptions(console, result)


def backup(result: Json) -> None:
    """Where it went."""
    _lines(
        _console(),
        f"Written to {result['file']}. It holds customers' data: keep it like the database.",
        "Keep secret.key of the data dir with it, and apart: it opens the HMAC secrets in it.",
    )


def restore(result: Json) -> None:
    """What is in the store now, and where the former one is."""
    console = _console()
    newest = _when(result["newest_at"])
    _lines(
        console,
        f"Restored {result['events']} events of {result['channels']} channels to"
        f" {result['data_dir']}; the newest is of {newest}.",
    )
    if result["kept"]:
        _lines(console, f"The store that was there is kept: {result['kept']}")
    _lines(
        console,
        "secret.key must be that of the backup, or channels with signatures take nothing.",
    )


def channels(result: Json) -> None:
    """A line a channel."""
    _table(
        _console(),
        ("channel", "webhook path", "sender must show", "kept"),
        [
            (c["name"], c["webhook_path"], _auth(c), f"{c['retention_days']:g} days")
            for c in result["channels"]
        ],
    )


def channel(result: Json) -> None:
    """A line a rule."""
    rules = {
        "channel": result["name"],
        "webhook path": result["webhook_path"],
        "sender": result["sender"],
        "sender must show": _auth(result),
        "allowed networks": ", ".join(result["allow_from"]) or "any",
        "order kept by": result["key_pointer"] or "the sender's usual (Chatwoot: conversation)",
        "largest body": f"{result['max_body_bytes']} bytes",
        "kept": f"{result['retention_days']:g} days once delivered",
        "taken": _rate(result["rate_per_s"]),
    }
    _pairs(_console(), rules)


def _rate(per_s: float | None) -> str:
    return "any number" if per_s is None else f"up to {per_s:g} webhooks a second"


def tokens(result: Json) -> None:
    """A line a token."""
    _table(
        _console(),
        ("token", "scopes", "channels", "made"),
        [
            (t["name"], ", ".join(t["scopes"]), _channels(t), _when(t["created_at"]))
            for t in result["tokens"]
        ],
    )


def new_token(result: Json) -> None:
    """The secret, alone on its line so that it can be copied."""
    console = _console()
    _lines(
        console,
        f"Token {result['name']} ({', '.join(result['scopes'])} on {_channels(result)}):",
        "",
        result["token"],
        "",
        "It is shown this once: only a digest of it is kept.",
    )


def events(result: Json) -> None:
    """A line an event, newest first."""
    if not result["events"]:
        _lines(_console(), "Nothing came in yet.")
        return
    _table(
        _console(),
        ("received", "id", "event", "order", "deliveries"),
        [_event(event) for event in result["events"]],
    )


def event(result: Json) -> None:
    """Everything that is known of one event."""
    console = _console()
    _pairs(
        console,
        {
            "event": result["id"],
            "channel": f"{result['channel']}, number {result['sequence']}",
            "received": _when(result["received_at"]),
            "kind": result["kind"] or "-",
            "order kept by": result["key"] or "the channel",
            "sender": result["sender"] or "-",
            "request": f"{result['method']} {result['request_target']}",
        },
    )
    _lines(console, "")
    _lines(console, *(f"{name}: {value}" for name, value in result["headers"]), "")
    _lines(console, *_body(result).splitlines(), "")
    _table(
        console,
        ("subscription", "attempt", "began", "took", "outcome"),
        [_attempt(attempt) for attempt in result["attempts"]],
    )
    waiting = [d for d in result["deliveries"] if d["state"] != "delivered"]
    _lines(console, *(_delivery(delivery) for delivery in waiting))


def _init_sender(console: Console, result: Json) -> None:
    if result["webhook_url"] is None:
        _lines(
            console,
            "The sender's token exists already; its URL was printed when it was made.",
            "For a new one: relay-server token create NAME --scope send --channel "
            + result["channel"],
            "",
        )
        return
    _lines(
        console,
        "Paste into Chatwoot, under Settings → Integrations → Webhooks:",
        f"  {result['webhook_url']}",
        "or, for a sender that takes no user and password in its URL:",
        f"  {result['webhook_url_query']}",
        "",
    )


def _init_client(console: Console, result: Json) -> None:
    _lines(console, "On the laptop, with your app on port 8000:")
    _lines(console, f"  relay-client login {result['url']}")
    if result["subscribe_token"]:
        _lines(console, f"  (the token it asks for: {result['subscribe_token']})")
    _lines(console, "  relay-client connect --to localhost:8000", "")
    _lines(console, "A token for one more developer:")
    _lines(
        console,
        f"  relay-server token create NAME --scope subscribe --channel {result['channel']}",
        "",
    )


def _subscriptions(console: Console, result: Json) -> None:
    _table(
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
        _when(s["oldest_waiting_at"]),
        s["dead"],
    )


def _event(event: Json) -> Sequence[object]:
    states = ", ".join(f"{d['subscription']}: {_state(d)}" for d in event["deliveries"])
    return (
        _when(event["received_at"]),
        event["id"],
        event["kind"] or event["method"],
        event["key"] or "-",
        states or "nobody subscribed then",
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
        attempt["subscription"],
        attempt["attempt"],
        _when(attempt["started_at"]),
        took,
        outcome,
    )


def _delivery(delivery: Json) -> str:
    line = f"{delivery['subscription']}: {delivery['state'].replace('_', ' ')}"
    if delivery["due_at"]:
        line += f", next attempt {_when(delivery['due_at'])}"
    return f"{line} ({delivery['reason']})" if delivery["reason"] else line


def _body(result: Json) -> str:
    """The body as people read it: indented where it is JSON."""
    if result["body"] is None:
        return f"({result['size']} bytes that are no text; --json gives them in base64)"
    try:
        text = json.dumps(json.loads(result["body"]), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = result["body"]
    if len(text) > MAX_BODY_CHARS:
        return text[:MAX_BODY_CHARS] + f"\n… {len(text) - MAX_BODY_CHARS} characters more"
    return text


def _auth(channel: Json) -> str:
    return ", ".join(channel["sender_auth"]) or "nothing: anybody may post"


def _channels(token: Json) -> str:
    return "every channel" if token["channels"] is None else ", ".join(token["channels"])


def _when(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _duration(ms: int) -> str:
    seconds = ms // 1000
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _pairs(console: Console, pairs: Json) -> None:
    width = max(map(len, pairs)) + 2
    _lines(console, *(f"{name:<{width}}{value}" for name, value in pairs.items()))


def _lines(console: Console, *lines: object) -> None:
    for line in lines:
        console.print(Text(_plain(line)), soft_wrap=True)


def _table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    rows = list(rows)
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in WHOLE_COLUMNS)
    for row in rows:
        table.add_row(*(Text(_plain(cell), overflow="fold") for cell in row))
    console.print(table)
    console.print()


def _plain(value: object) -> str:
    return harmless(str(value), limit=MAX_BODY_CHARS)
