"""The server as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from relay_server.show.policies import size
from relay_server.show.subscriptions import subscription_table
from relay_server.show.text import (
    Json,
    alarm,
    counted,
    duration,
    lines,
    open_console,
    plain,
    table,
    when,
)
from relay_server.values import NEARLY_FULL


def init(result: Json) -> None:
    """What to do next, from nothing to a webhook on a laptop."""
    console = open_console()
    lines(console, f"Relay's data is in {result['data_dir']}.", "")
    if not result["running"]:
        lines(console, "Start the server:", "  relay-server serve", "")
    _init_sender(console, result)
    _init_client(console, result)
    if result["send_token"] or result["subscribe_token"]:
        lines(console, "Tokens are shown this once: only a digest of them is kept.")


def status(result: Json) -> None:
    """Channels, subscriptions and settings."""
    console = open_console()
    if result["running"]:
        up = duration(result["uptime_s"] * 1000)
        lines(console, f"Running for {up} at {result['public_url']}, version {result['version']}.")
    else:
        lines(console, "Not running: relay-server serve starts it.")
    if reason := result["store"]["reason"]:
        lines(console, f"Webhooks are refused: {reason}.")
    _channels(console, result["channels"])
    subscription_table(console, result)
    lines(console, "")
    table(
        console,
        ("setting", "value", "from"),
        [(n, _value(s["value"]), s["source"]) for n, s in result["settings"].items()],
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "-" if value in (None, "") else plain(value)


def _channels(console: Console, found: Sequence[Json]) -> None:
    table(
        console,
        ("channel", "events", "size", "full", "dropped", "last webhook"),
        [
            (
                c["name"],
                c["events"],
                size(c["bytes"]),
                "-" if c["full_percent"] is None else f"{c['full_percent']:g} %",
                c["dropped"],
                when(c["last_received_at"]),
            )
            for c in found
        ],
    )
    for c in found:
        if c["worrying"]:
            then = "the oldest events go" if c["drop_oldest"] else "webhooks are refused"
            text = f"{c['name']} is {c['full_percent']:g} % full; at 100 % {then}"
            lines(console, alarm(text), "  see what waits below, or channel set --max-bytes")
        elif (c["full_percent"] or 0) >= 100 * NEARLY_FULL:
            text = f"{c['name']} is {c['full_percent']:g} % full"
            lines(console, f"{text}; what was delivered goes when room is needed")


def backup(result: Json) -> None:
    """Where it went."""
    lines(
        open_console(),
        f"Written to {result['file']}. It holds customers' data: keep it like the database.",
        "Keep secret.key of the data dir too, if there is one, and apart from it:",
        "it opens the HMAC secrets and the forwards' headers in it.",
    )


def restore(result: Json) -> None:
    """What is in the store now, and where the former one is."""
    console, newest = open_console(), when(result["newest_at"])
    lines(
        console,
        f"Restored {counted(result['events'], 'event', 'events')} of"
        f" {counted(result['channels'], 'channel', 'channels')} to {result['data_dir']};"
        f" the newest is of {newest}.",
    )
    if result["kept"]:
        lines(console, f"The store that was there is kept: {result['kept']}")
    lines(
        console,
        "secret.key must be that of the backup, or channels with signatures take nothing,",
        "and forwards with headers post nothing.",
    )


def _init_sender(console: Console, result: Json) -> None:
    if result["webhook_url"] is None:
        lines(
            console,
            "The sender's token exists already; its URL was printed when it was made.",
            "For a new one: relay-server token create NAME --scope send --channel "
            + result["channel"],
            "",
        )
        return
    lines(
        console,
        "Paste into Chatwoot, under Settings → Integrations → Webhooks:",
        f"  {result['webhook_url']}",
        "or, for a sender that takes no user and password in its URL:",
        f"  {result['webhook_url_query']}",
        "",
    )


def _init_client(console: Console, result: Json) -> None:
    lines(console, "On the laptop, with your app on port 8000:")
    lines(console, f"  relay-client login {result['url']}")
    if result["subscribe_token"]:
        lines(console, f"  (the token it asks for: {result['subscribe_token']})")
    lines(console, "  relay-client connect --to localhost:8000", "")
    lines(console, "A token for one more developer:")
    lines(
        console,
        f"  relay-server token create NAME --scope subscribe --channel {result['channel']}",
        "",
    )
