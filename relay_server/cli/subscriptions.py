"""`relay-server subscription …` and `forward …`: readers of a channel, some the server's own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.command import Work, ask, command, route
from relay_server.cli.options import Json, Name, OfChannel, moment
from relay_server.cli.text import alarm, lines, pairs, policy_lines, table, when
from relay_server.configs import ForwardConfig, Policy, SubscriptionConfig
from relay_terminal.usage import App

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("Named readers of a channel, each with its own progress.")
forwards = App("Subscriptions that the server itself posts to a URL.")

SUBSCRIPTION = "channels/{channel}/subscriptions/{name}"
FORWARD = "forwards/{channel}/{name}"


def show_subscriptions(result: Json) -> None:
    """A line a subscription."""
    if not result["subscriptions"]:
        lines("Nobody has subscribed yet: relay-client connect does it.")
    subscription_table(result["subscriptions"])


def show_subscription(result: Json) -> None:
    """How one is doing, and how it delivers."""
    pairs(_state_of(result) | policy_lines(result["policy"], own=result["own_policy"]))
    _alarms([result])


def show_paused(result: Json) -> None:
    """That it is paused now, or goes on."""
    who = f"{result['name']} of {result['channel']}"
    if result["paused"]:
        lines(alarm(f"{who} is PAUSED: {result['paused']}. What comes waits."))
    else:
        lines(f"{who} goes on; {result['backlog']} wait.")


def _state_of(s: Json) -> Json:
    """How one is doing, in pairs."""
    waiting = str(s["backlog"])
    if s["oldest_waiting_at"] is not None:
        waiting += f", the oldest since {when(s['oldest_waiting_at'])}"
    return {
        "channel": s["channel"],
        "subscription": s["name"],
        "gets": s["filter"] or "everything",
        "reader": _marked(s, _reader(s)),
        "waiting": waiting,
        "dead": s["dead"],
        "made": when(s["created_at"]),
    }


def subscription_table(found: Sequence[Json]) -> None:
    """A line a subscription, and what must not be overlooked."""
    _progress_table("subscription", "reader", [(s, _reader_in_short(s)) for s in found])
    for s in found:
        if s["forward"] or s["waits_for"]:
            lines(f"{s['name']} of {s['channel']}: {_reader(s)}")
        if s["filter"]:
            lines(f"{s['name']} of {s['channel']} gets only {s['filter']}")
    _alarms(found)


def _progress_table(noun: str, state: str, found: Sequence[tuple[Json, str]]) -> None:
    """A line for each with what its state is called, and how far it is."""
    rows = [
        (
            s["channel"],
            s["name"],
            alarm(_marked(s, text)) if s["paused"] else text,
            s["backlog"],
            when(s["oldest_waiting_at"]),
            s["dead"],
        )
        for s, text in found
    ]
    table(("channel", noun, state, "waiting", "oldest", "dead"), rows)


def _alarms(found: Sequence[Json]) -> None:
    """A line for each that is paused: why, and what to do."""
    for s in found:
        if s["paused"]:
            kind = "forward" if s["forward"] else "subscription"
            lines(alarm(f"{s['name']} of {s['channel']} is PAUSED: {s['paused']}"))
            lines(f"  relay-server {kind} resume {s['channel']} {shlex.quote(s['name'])}")


def _marked(s: Json, state: str) -> str:
    return f"PAUSED, {state}" if s["paused"] else state


def _reader(s: Json) -> str:
    """Who reads it."""
    if s["connected"] and s["target_down"]:
        why = f" ({s['waits_for']})" if s["waits_for"] else ""
        return f"waits for its target{why}"
    if s["forward"]:
        idle = s["waits_for"] or "not running"
        return f"forward to {s['forward']}" + ("" if s["connected"] else f", {idle}")
    if s["readers"] > 1:
        return f"connected ×{s['readers']}"
    return "connected" if s["connected"] else "away"


def _reader_in_short(s: Json) -> str:
    """The same in so few words that a table has room for them; a line below says more."""
    if s["connected"] and s["target_down"]:
        return "waits for its target"
    if s["forward"]:
        return "forward" if s["connected"] else "forward, not running"
    return _reader(s)


def show_forwards(result: Json) -> None:
    """A line a forward."""
    found = result["forwards"]
    if not found:
        lines("There is no forward: relay-server forward create CHANNEL URL makes one.")
    _progress_table("forward", "state", [(f, _forward_state(f)) for f in found])
    for f in found:
        why = f["waits_for"] and f" ({f['waits_for']})"
        only = f["filter"] and f" only {f['filter']}"
        lines(f"{f['name']} of {f['channel']} posts{only} to {f['url']}{why}")
    _alarms(found)


def show_forward(result: Json) -> None:
    """How one is set, and how it is doing."""
    headers = ", ".join(f"{name}: {value}" for name, value in result["headers"].items())
    rules = {
        "posts to": result["url"],
        "timeout": f"{result['timeout_s']:g} s",
        "at once": f"{result['concurrency']} requests",
        "headers added": headers or "none",
    }
    policy = policy_lines(result["policy"], own=result["own_policy"])
    pairs(_state_of(result) | rules | policy)
    _alarms([result])
    if not result["connected"] and not result["waits_for"]:
        lines("It begins as soon as the server runs.")


def _forward_state(f: Json) -> str:
    """Its state in a few words; why it waits is said below the table."""
    if f["connected"]:
        return "waits for its target" if f["target_down"] else "runs"
    return "waits" if f["waits_for"] else "not running"


@command(app, "list", show_subscriptions)
def subscription_list() -> Work:
    """List the subscriptions and what waits for each."""

    async def found(api: Api) -> Json:
        return {"subscriptions": (await api.call("GET", "status"))["subscriptions"]}

    return found


@route(app, "show", f"GET {SUBSCRIPTION}", show_subscription)
def subscription_show() -> None:
    """Show a subscription: how it is doing, and how it delivers."""


@command(app, "set", show_subscription, wanted=SubscriptionConfig, policy=Policy)
def subscription_set(
    channel: OfChannel,
    name: Name,
    wanted: Json,
    policy: Json,
    like_channel: Annotated[
        bool, typer.Option("--like-channel", help="Do everything as its channel does.")
    ] = False,
) -> Work:
    """Have a subscription get only some events, or deliver otherwise than its channel.

    What is not named stays.
    """
    if like_channel and policy:
        raise typer.BadParameter("--like-channel goes with no option but --filter")
    body = {**wanted, "policy": None if like_channel else policy}
    return ask("PATCH", "channels", channel, "subscriptions", name, body=body)


@route(app, "pause", f"POST {SUBSCRIPTION}/pause", show_paused)
def subscription_pause() -> None:
    """Deliver nothing to a subscription until it is resumed; what comes waits."""


@route(app, "resume", f"POST {SUBSCRIPTION}/resume", show_paused)
def subscription_resume() -> None:
    """Go on with a subscription that was paused, by hand or because its target answered 410."""


@route(
    app,
    "delete",
    f"DELETE {SUBSCRIPTION}",
    "Forgot {name} of {channel}.",
    sure="Forget {name} of {channel}, and what waits for it?",
)
def subscription_delete() -> None:
    """Forget a subscription: what it has not had yet is not kept for it any more."""


@command(forwards, "create", show_forward, wanted=SubscriptionConfig, rules=ForwardConfig)
def forward_create(
    channel: OfChannel,
    url: Annotated[str, typer.Argument(help="Where to, e.g. http://bot:8001/webhook.")],
    *,
    name: Annotated[str | None, typer.Option(help="Its name. (default: forward)")] = None,
    wanted: Json,
    rules: Json,
    since: Annotated[
        str | None, typer.Option(help="Where it starts: now, beginning, 2h, 3d, or a time.")
    ] = None,
) -> Work:
    """Have the server itself post a channel's webhooks to a URL."""
    body = {"channel": channel, "url": url, **wanted, **rules}
    if name is not None:
        body["name"] = name
    if since not in (None, "now"):
        body["since"] = moment(since, "--since")
    return ask("POST", "forwards", body=body)


@route(forwards, "list", "GET forwards", show_forwards)
def forward_list() -> None:
    """List the forwards, and what waits for each."""


@command(
    forwards,
    "set",
    show_forward,
    wanted=SubscriptionConfig,
    rules=ForwardConfig,
    emptying=True,
)
def forward_set(channel: OfChannel, name: Name, wanted: Json, rules: Json) -> Work:
    """Change a forward; what is not named stays. Headers are set as a whole."""
    return ask("PATCH", "forwards", channel, name, body={**wanted, **rules})


@route(forwards, "pause", f"PATCH {FORWARD}", show_paused, body={"paused": True})
def forward_pause() -> None:
    """Post nothing until it is resumed; what comes waits."""


@route(forwards, "resume", f"PATCH {FORWARD}", show_paused, body={"paused": False})
def forward_resume() -> None:
    """Go on with a forward that was paused, by hand or because its target answered 410."""


@route(
    forwards,
    "delete",
    f"DELETE {FORWARD}",
    "Ended {name} of {channel}.",
    sure="End {name} of {channel}, and what waits for it?",
)
def forward_delete() -> None:
    """End a forward, and forget what waits for it."""
