"""`relay-server subscription …` and `forward …`: readers of a channel, some the server's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.changes import change, show_changes
from relay_server.cli.command import Work, ask, command, route, target_of
from relay_server.cli.options import Channel, Json, Name, OfChannel, moment
from relay_server.cli.text import alarm, lines, pairs, policy_lines, span, table, when, zoned
from relay_server.configs import ForwardConfig, Policy, SubscriptionConfig
from relay_terminal.retold import retold
from relay_terminal.states import command_about, pause_of
from relay_terminal.usage import App
from relay_terminal.words import _, counted, plural

if TYPE_CHECKING:
    from relay_server.control import Api

app = App("Named readers of a channel, each with its own progress.")
forwards = App("Subscriptions that the server itself posts to a URL.")

SUBSCRIPTION = "channels/{channel}/subscriptions/{name}"
FORWARD = "forwards/{channel}/{name}"


def show_subscriptions(result: Json) -> None:
    if not result["subscriptions"]:
        lines(_("Nobody has subscribed yet: relay-client connect does it."))
    subscription_table(result["subscriptions"])


def show_subscription(result: Json) -> None:
    """How one is doing, and how it delivers."""
    pairs(_state_of(result) | policy_lines(result["policy"], own=result["own_policy"]))
    lines(*paused_lines([result]), *twice_lines([result]))


def show_paused(result: Json) -> None:
    """That it is paused now, or goes on; or that nothing has changed."""
    who = {"name": result["name"], "channel": result["channel"]}
    if result["paused"]:
        template = _("{name} of {channel} is paused: {reason}. What comes waits.")
        lines(alarm(template.format(**who, reason=_pause(result))))
        return
    if not result.get("was_paused", True):
        lines(_("{name} of {channel} was not paused.").format(**who))
        return
    waiting = plural("{number} event waits", "{number} events wait", result["backlog"])
    going = _("{name} of {channel} goes on; {waiting}.").format(**who, waiting=waiting)
    lines(going, *([] if result["connected"] else [_("Nobody is connected: it waits for that.")]))


def _state(s: Json) -> str:
    """How a subscription or forward is, in the words that all screens have."""
    return ", ".join([_reading(s), *([_("paused")] if s["paused"] else [])])


def _reading(s: Json) -> str:
    """Who reads it; why it waits is said apart."""
    if s["connected"]:
        if s["target_down"]:
            return _("target down")
        if not s.get("tried", True):
            return _("not tried yet")
        return _("connected") + (f" ×{s['readers']}" if s["readers"] > 1 else "")
    if s["forward"]:
        return _("not running")
    if s["away_since"] is None:
        return _("away")
    return _("away since {time}").format(time=when(s["away_since"]))


def _state_of(s: Json) -> Json:
    """How one is doing, in pairs."""
    waiting = counted(s["backlog"])
    if s["oldest_waiting_at"] is not None:
        oldest = when(s["oldest_waiting_at"], zoned=True)
        waiting = _("{number}, the oldest since {time}").format(number=waiting, time=oldest)
    retrying = counted(s["retrying"])
    if s["next_attempt_at"] is not None:
        next_at = when(s["next_attempt_at"], zoned=True)
        retrying = _("{number}, the next at {time}").format(number=retrying, time=next_at)
    return {
        _("channel"): s["channel"],
        _("subscription"): s["name"],
        _("gets"): s["filter"] or _("everything"),
        _("state"): _state(s),
        _("waiting"): waiting,
        _("retrying"): retrying,
        _("dead deliveries"): counted(s["dead"]),
        _("while nobody answers"): _away(s),
        _("made"): when(s["created_at"], zoned=True),
        **_once(s),
        **_loops(s),
        **_signing(s),
    }


def _away(s: Json) -> str:
    if s["away"] == "queue":
        return _("what comes waits")
    text = _("conversations are handed to people after {span}; {number} are")
    return text.format(span=span(s["away_after_s"]), number=counted(s["handed_over"]))


def subscription_table(found: Sequence[Json]) -> None:
    """A line a subscription, and what must not be overlooked."""
    progress_table(_("subscription"), found)
    for s in found:
        if s["waits_for"]:
            who = {"name": s["name"], "channel": s["channel"], "reason": retold(s["waits_for"])}
            lines(_("{name} of {channel}: {reason}").format(**who))
        if s["filter"]:
            only = _("{name} of {channel} gets only {filter}")
            lines(only.format(name=s["name"], channel=s["channel"], filter=s["filter"]))
    lines(*paused_lines(found), *twice_lines(found))


def progress_table(noun: str, found: Sequence[Json]) -> None:
    """A line for each with its state, and how far it is."""
    rows = [
        (
            s["channel"],
            s["name"],
            alarm(_state(s)) if s["paused"] else _state(s),
            counted(s["backlog"]),
            when(s["oldest_waiting_at"]),
            counted(s["dead"]),
        )
        for s in found
    ]
    table((_("channel"), noun, _("state"), _("waiting"), zoned(_("oldest")), _("DEAD")), rows)


def paused_lines(found: Sequence[Json]) -> Iterator[str]:
    """Each that is paused, and what has it go on."""
    for s in found:
        if s["paused"]:
            paused = _("{name} of {channel} is paused: {reason}. This has it go on:")
            who = {"name": s["name"], "channel": s["channel"], "reason": _pause(s)}
            yield alarm(paused.format(**who))
            yield f"  {command_about(s, 'resume')}"


def _pause(s: Json) -> str:
    """Why one is paused, by whom and since when."""
    return pause_of(s["paused"], s["paused_by"], s["paused_at"])


def twice_lines(found: Sequence[Json]) -> Iterator[str]:
    """Each that is told messages more than once, and what has that end."""
    for s in found:
        if s["told_twice"]:
            twice = _("{name} of {channel} gets messages more than once, such as {events}:")
            who = {"name": s["name"], "channel": s["channel"]}
            yield twice.format(**who, events=_(" and ").join(s["told_twice"]))
            yield f"  {command_about(s, 'set')} --once"


def show_forwards(result: Json) -> None:
    found = result["forwards"]
    if not found:
        lines(_("There is no forward: relay-server forward create CHANNEL URL makes one."))
    progress_table(_("forward"), found)
    for f in found:
        only = f["filter"] and f" ({f['filter']})"
        why = f["waits_for"] and f": {retold(f['waits_for'])}"
        whose = _("{subscription} of {channel}")
        whose = whose.format(subscription=f["name"], channel=f["channel"])
        lines(f"{whose}{only} -> {f['url']}{why}")
    lines(*paused_lines(found))


def show_forward(result: Json) -> None:
    """How one is set, and how it is doing."""
    policy = policy_lines(result["policy"], own=result["own_policy"])
    pairs(_state_of(result) | _posting(result) | policy)
    lines(*paused_lines([result]), *twice_lines([result]), *_of_target(result))


def show_changed_subscription(result: Json) -> None:
    """What is otherwise than before."""
    show_changes(result, _settings_of)


def show_changed_forward(result: Json) -> None:
    """The same, and whether its target is there."""
    show_changes(result, lambda one: _posting(one) | _settings_of(one))
    lines(*_of_target(result))


def _settings_of(s: Json) -> Json:
    """What is set of a subscription, in pairs."""
    gets = {_("gets"): s["filter"] or _("everything"), **_once(s), **_loops(s), **_signing(s)}
    return gets | policy_lines(s["policy"], own=s["own_policy"])


def _once(s: Json) -> Json:
    """How often a message is delivered that several webhooks tell, in pairs."""
    return {_("told several times"): _("delivered once") if s["once"] else _("each time")}


def _loops(s: Json) -> Json:
    """Whether a bot that answers its own messages is stopped, in pairs."""
    return {_("answers itself"): _("is paused") if s["pause_loops"] else _("goes on")}


def _signing(s: Json) -> Json:
    """Whether its deliveries are signed anew, in pairs."""
    with_ = _("with a secret of its own") if s["resign_secret"] else _("with the channel's secret")
    return {_("signed anew"): with_ if s["resign"] else _("no: as it came")}


def _posting(f: Json) -> Json:
    """Where a forward posts, and how, in pairs."""
    headers = ", ".join(f"{name}: {value}" for name, value in f["headers"].items())
    return {
        _("posts to"): f["url"],
        _("timeout"): f"{f['timeout_s']:g} s",
        _("at once"): plural("{number} request", "{number} requests", f["concurrency"]),
        _("headers added"): headers or _("none"),
    }


def _of_target(f: Json) -> Iterator[str]:
    """Whether a forward's target is there."""
    if f["connected"] and f["target_down"]:
        waits = _("Nothing was posted yet: {why}. What comes waits until it does.")
        yield alarm(waits.format(why=retold(f["waits_for"])))
    elif f["connected"] and f["tried"]:
        yield _("{url} takes connections.").format(url=f["url"])
    elif not f["connected"] and not f["waits_for"]:
        yield _("It begins as soon as the server runs.")


@command(app, "list", show_subscriptions)
def subscription_list(channel: Channel = None) -> Work:
    """List the subscriptions and what waits for each."""
    return _listed("status", "subscriptions", channel)


def _listed(path: str, name: str, channel: str | None) -> Work:
    """Those of a channel, or all."""

    async def found(api: Api) -> Json:
        if channel is not None:
            await api.call("GET", target_of("channels", channel))  # one that is not there is wrong
        each = (await api.call("GET", path))[name]
        return {name: [one for one in each if channel in (None, one["channel"])]}

    return found


@route(app, "show", f"GET {SUBSCRIPTION}", show_subscription)
def subscription_show() -> None:
    """Show a subscription: how it is doing, and how it delivers."""


@command(
    app,
    "set",
    show_changed_subscription,
    wanted=SubscriptionConfig,
    policy=Policy,
    emptying=True,
)
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
        raise typer.BadParameter(_("--like-channel goes with no option but --filter"))
    body = {**wanted, "policy": None if like_channel else policy}
    return change("channels", channel, "subscriptions", name, body=body)


@route(app, "pause", f"POST {SUBSCRIPTION}/pause", show_paused)
def subscription_pause() -> None:
    """Deliver nothing to a subscription until it is resumed; what comes waits."""


@command(app, "resume", show_paused)
def subscription_resume(channel: OfChannel, name: Name) -> Work:
    """Go on with a subscription that was paused, by hand or because its target answered 410."""
    path = target_of("channels", channel, "subscriptions", name)
    return _resumed(path, "POST", f"{path}/resume", None)


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


@command(forwards, "list", show_forwards)
def forward_list(channel: Channel = None) -> Work:
    """List the forwards, and what waits for each."""
    return _listed("forwards", "forwards", channel)


@command(
    forwards,
    "set",
    show_changed_forward,
    wanted=SubscriptionConfig,
    rules=ForwardConfig,
    emptying=True,
)
def forward_set(channel: OfChannel, name: Name, wanted: Json, rules: Json) -> Work:
    """Change a forward; what is not named stays. Headers are set as a whole."""
    return change("forwards", channel, name, body={**wanted, **rules})


@route(forwards, "pause", f"PATCH {FORWARD}", show_paused, body={"paused": True})
def forward_pause() -> None:
    """Post nothing until it is resumed; what comes waits."""


@command(forwards, "resume", show_paused)
def forward_resume(channel: OfChannel, name: Name) -> Work:
    """Go on with a forward that was paused, by hand or because its target answered 410."""
    path = target_of("forwards", channel, name)
    return _resumed(path, "PATCH", path, {"paused": False})


def _resumed(path: str, method: str, resuming: str, body: Json | None) -> Work:
    """Have one go on, and say whether it was paused."""

    async def resume(api: Api) -> Json:
        before = await api.call("GET", path)
        after = await api.call(method, resuming, body)
        return after | {"was_paused": bool(before["paused"])}

    return resume


@route(
    forwards,
    "delete",
    f"DELETE {FORWARD}",
    "Ended {name} of {channel}.",
    sure="End {name} of {channel}, and what waits for it?",
)
def forward_delete() -> None:
    """End a forward, and forget what waits for it."""
