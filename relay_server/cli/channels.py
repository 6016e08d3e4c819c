"""`relay-server channel …` and `token …`: named inboxes, their rules, and who is let in."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_server.cli.command import Work, ask, command, route
from relay_server.cli.options import Json, Name
from relay_server.cli.text import lines, pairs, policy_lines, size, span, table, when
from relay_server.configs import ChannelConfig, Policy
from relay_terminal.usage import App

app = App("Named inboxes, each with its own URL and rules.")
tokens = App("Secrets that let senders and readers in.")


def show_channels(result: Json) -> None:
    """A line a channel."""
    table(
        ("channel", "webhook path", "sender must show", "kept"),
        [
            (c["name"], c["webhook_path"], _auth(c), f"{c['retention_days']:g} days")
            for c in result["channels"]
        ],
    )


def show_channel(result: Json) -> None:
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
        "sent again": _window(result["dedupe_window_s"]),
    }
    pairs(rules | policy_lines(result["policy"]))


def _fields(rules: Json, policy: Json) -> Json:
    return rules | ({"policy": policy} if policy else {})


def _rate(per_s: float | None) -> str:
    return "any number" if per_s is None else f"up to {per_s:g} webhooks a second"


def _window(seconds: float) -> str:
    return f"stored once within {span(seconds)}" if seconds else "stored each time"


def _auth(channel: Json) -> str:
    return ", ".join(channel["sender_auth"]) or "nothing: anybody may post"


def show_tokens(result: Json) -> None:
    """A line a token."""
    table(
        ("token", "scopes", "channels", "made"),
        [
            (t["name"], ", ".join(t["scopes"]), _where(t), when(t["created_at"]))
            for t in result["tokens"]
        ],
    )


def show_new_token(result: Json) -> None:
    """The secret, alone on its line so that it can be copied."""
    lines(
        f"Token {result['name']} ({', '.join(result['scopes'])} on {_where(result)}):",
        "",
        result["token"],
        "",
        "It is shown this once: only a digest of it is kept.",
    )


def _where(token: Json) -> str:
    return "every channel" if token["channels"] is None else ", ".join(token["channels"])


@route(app, "list", "GET channels", show_channels)
def channel_list() -> None:
    """List the channels."""


@route(app, "show", "GET channels/{name}", show_channel)
def channel_show() -> None:
    """Show a channel and its rules."""


@command(app, "create", show_channel, rules=ChannelConfig, policy=Policy)
def channel_create(name: Name, rules: Json, policy: Json) -> Work:
    """Make a channel."""
    return ask("POST", "channels", body={"name": name, **_fields(rules, policy)})


@command(app, "set", show_channel, rules=ChannelConfig, policy=Policy, emptying=True)
def channel_set(name: Name, rules: Json, policy: Json) -> Work:
    """Change a channel's rules; what is not named stays."""
    return ask("PATCH", "channels", name, body=_fields(rules, policy))


@route(
    app,
    "delete",
    "DELETE channels/{name}",
    "Deleted {name}.",
    sure="Delete {name} with all its events?",
)
def channel_delete() -> None:
    """Delete a channel with its events and readers."""


@command(tokens, "create", show_new_token)
def token_create(
    name: Name,
    scope: Annotated[list[str], typer.Option(help="send, subscribe or admin. Repeat for more.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="Where it is good. Repeat for more; all if left out.")
    ] = None,
) -> Work:
    """Make a token and print it, once: only a digest is kept."""
    body = {"name": name, "scopes": [one.lower() for one in scope], "channels": channel or None}
    return ask("POST", "tokens", body=body)


@route(tokens, "list", "GET tokens", show_tokens)
def token_list() -> None:
    """List the tokens, without their secrets."""


@route(
    tokens,
    "revoke",
    "DELETE tokens/{name}",
    "Revoked {name}. What its subscriptions have not had yet stays stored.",
)
def token_revoke() -> None:
    """Revoke a token at once; its connections are closed."""
