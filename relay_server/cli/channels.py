"""`relay-server channel …` and `token …`: named inboxes, their rules, and who is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.changes import change, show_changes
from relay_server.cli.command import Work, command, route
from relay_server.cli.options import Json, Name
from relay_server.cli.text import lines, pairs, policy_lines, size, span, table, when, zoned
from relay_server.cli.urls import show_login, show_webhook_urls, uses_of
from relay_server.configs import ChannelConfig, Policy
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api
from relay_terminal.usage import App

app = App("Named inboxes, each with its own URL and rules.")
tokens = App("Secrets that let senders and readers in.")


def show_channels(result: Json) -> None:
    table(
        (_("channel"), _("webhook path"), _("sender must show"), _("kept")),
        [(c["name"], c["webhook_path"], _auth(c), _kept(c)) for c in result["channels"]],
    )


def _kept(channel: Json) -> str:
    return _("{days} days").format(days=f"{channel['retention_days']:g}")


def show_channel(result: Json) -> None:
    pairs(_rules(result))


def show_new_channel(result: Json) -> None:
    """The same, and what its sender needs."""
    show_channel(result)
    lines("", _("Its sender posts to {url}").format(url=result["webhook_url"]))
    if "token" in result["sender_auth"]:
        name = result["name"]
        lines(
            _("with a token in it; this makes one, and prints the URL whole:"),
            f"  relay-server token create {name}-sender --scope send --channel {name}",
        )


def show_changed_channel(result: Json) -> None:
    """What is otherwise than before."""
    show_changes(result, _rules)


def _rules(channel: Json) -> Json:
    limit = channel["max_bytes"]
    full = _("the oldest go, delivered or not") if channel["drop_oldest"] else None
    rules = {
        _("channel"): channel["name"],
        _("webhook path"): channel["webhook_path"],
        _("sender"): channel["sender"],
        _("sender must show"): _auth(channel),
        _("allowed networks"): ", ".join(channel["allow_from"]) or _("any"),
        _("order kept by"): channel["key_pointer"]
        or _("the sender's usual (Chatwoot: conversation)"),
        _("largest body"): size(channel["max_body_bytes"]),
        _("kept"): _("{days} days once delivered").format(days=f"{channel['retention_days']:g}"),
        _("dead ones kept"): _("{days} days").format(days=f"{channel['dead_days']:g}"),
        _("all its events"): _("any size")
        if limit is None
        else _("at most {size}").format(size=size(limit)),
        _("when full"): full or _("new ones are refused"),
        _("taken"): _rate(channel["rate_per_s"]),
        _("sent again"): _window(channel["dedupe_window_s"]),
        _("too late"): _lifetimes(channel["ttl"]),
        _("bodies"): _("kept with their events")
        if channel["keep_bodies"]
        else _("dropped once everybody has them"),
        _("never shown"): ", ".join(channel["mask"]) or _("secrets"),
        _("nobody there"): _refusing(channel["refuse_after_s"]),
    }
    return rules | policy_lines(channel["policy"])


def _fields(rules: Json, policy: Json) -> Json:
    return rules | ({"policy": policy} if policy else {})


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return _("any number")
    return _("up to {number} webhooks a second").format(number=f"{per_s:g}")


def _refusing(refuse_after_s: float | None) -> str:
    if refuse_after_s is None:
        return _("webhooks are taken, and wait")
    return _("webhooks are refused after {span}").format(span=span(refuse_after_s))


def _lifetimes(ttl: list[tuple[str, float]]) -> str:
    given = [
        _("{kind} after {span}").format(kind=kind, span=span(seconds)) for kind, seconds in ttl
    ]
    return ", ".join(given) or _("never")


def _window(seconds: float) -> str:
    if not seconds:
        return _("stored each time")
    return _("stored once within {time}").format(time=span(seconds))


def _auth(channel: Json) -> str:
    return ", ".join(channel["sender_auth"]) or _("nothing: anybody may post")


def show_tokens(result: Json) -> None:
    table(
        (_("token"), _("scopes"), _("channels"), zoned(_("made"))),
        [
            (t["name"], ", ".join(t["scopes"]), _where(t), when(t["created_at"]))
            for t in result["tokens"]
        ],
    )


def show_new_token(result: Json) -> None:
    """The secret, alone on its line so that it can be copied, and what it is for."""
    scopes = ", ".join(result["scopes"])
    made = _("Token {name} ({scopes} on {channels}):")
    lines(made.format(name=result["name"], scopes=scopes, channels=_where(result)))
    lines("", result["token"], "")
    for urls in result.get("webhook_urls", ()):
        lines(_("The sender of {channel} posts to:").format(channel=urls["channel"]))
        show_webhook_urls(urls)
    if "client_command" in result:
        show_login(result["url"], None)
    lines(_("It is shown this once: only a digest of it is kept."))


def _where(token: Json) -> str:
    return _("every channel") if token["channels"] is None else ", ".join(token["channels"])


@route(app, "list", "GET channels", show_channels)
def channel_list() -> None:
    """List the channels."""


@route(app, "show", "GET channels/{name}", show_channel)
def channel_show() -> None:
    """Show a channel and its rules."""


@command(app, "create", show_new_channel, rules=ChannelConfig, policy=Policy)
def channel_create(name: Name, rules: Json, policy: Json) -> Work:
    """Make a channel."""

    async def make(api: Api) -> Json:
        made = await api.call("POST", "channels", {"name": name, **_fields(rules, policy)})
        url = (await api.call("GET", "status"))["public_url"]
        return made | {"webhook_url": url + made["webhook_path"]}

    return make


@command(app, "set", show_changed_channel, rules=ChannelConfig, policy=Policy, emptying=True)
def channel_set(name: Name, rules: Json, policy: Json) -> Work:
    """Change a channel's rules, and say what is otherwise now; what is not named stays."""
    return change("channels", name, body=_fields(rules, policy))


def _events_left(status: Json, name: str) -> int:
    """Its events; once it is none of the channels any more, those that are still there."""
    own = (one["events"] for one in status["channels"] if one["name"] == name)
    return sum(own) or int(status["store"]["sweeping"])


@route(
    app,
    "delete",
    "DELETE channels/{name}",
    "Deleted {name}.",
    sure="Delete {name} with all its events?",
    left=_events_left,
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
    scopes = [one.lower() for one in scope]
    body = {"name": name, "scopes": scopes, "channels": channel or None}

    async def make(api: Api) -> Json:
        made = await api.call("POST", "tokens", body)
        return made | await uses_of(api, made)

    return make


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
