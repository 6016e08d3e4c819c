"""Replays and dead deliveries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from relay_protocol.times import NO_MOMENT_HINT, parse_moment
from relay_server.commands.calls import Flags, Json, target_of
from relay_server.control import Api, run
from relay_server.errors import InvalidValue, NothingSelected
from relay_server.settings import load


class NoMoment(InvalidValue):
    """What is given as a time is none."""

    hint = NO_MOMENT_HINT


def replay(flags: Flags, body: Json) -> Json:
    """Begin a replay; also say whether a server runs to do it."""

    async def work(api: Api) -> Json:
        return {"running": api.running, **(await api.call("POST", "replays", body))}

    return _run(flags, work)


def replay_dead(
    flags: Flags, events: Sequence[str], channel: str | None, subscription: str | None
) -> Json:
    """Replay what is dead: of these events, or all there is."""

    async def work(api: Api) -> Json:
        begun: list[Json] = []
        for body in await _dead_bodies(api, events, channel, subscription):
            begun += (await api.call("POST", "replays", body))["replays"]
        return {"running": api.running, "replays": begun}

    return _run(flags, work)


def selection(
    *, events: Sequence[str], since: str | None, until: str | None, **simple: object
) -> Json:
    """Which events are meant, as the API takes it.

    Raises:
        InvalidValue: A time is none.
    """
    given = {
        "events": list(events) or None,
        "received_from": moment(since, "--since"),
        "received_before": moment(until, "--until"),
        **simple,
    }
    # An empty key or kind is a condition, too: events that have none.
    return {n: v for n, v in given.items() if v is not None and v is not False}


def moment(text: str | None, option: str) -> int | None:
    """Read a time that an option was given, in Unix milliseconds; now is a time, too.

    Raises:
        InvalidValue: It is none.
    """
    if text is None:
        return None
    now = round(time.time() * 1_000)
    try:
        found = parse_moment(text, now)
    except ValueError as exc:
        raise NoMoment(f"{option}: {exc}") from exc
    return now if found is None else found


async def _dead_bodies(
    api: Api, events: Sequence[str], channel: str | None, subscription: str | None
) -> list[Json]:
    """A request for the events that are named, or one for each subscription with dead ones."""
    if events:
        chosen = {"events": list(events), "dead": True}
        return [{"channel": channel, "subscription": subscription, "selection": chosen}]
    if channel is not None:
        await api.call("GET", target_of("channels", channel))  # one that is not there is an error
    known = (await api.call("GET", "status"))["subscriptions"]
    bodies: list[dict[str, Any]] = [
        {"channel": s["channel"], "subscription": s["name"], "selection": {"dead": True}}
        for s in known
        if s["dead"] and channel in (None, s["channel"]) and subscription in (None, s["name"])
    ]
    if not bodies:
        raise NothingSelected("nothing is dead")
    return bodies


def _run(flags: Flags, work: Any) -> Json:
    settings, sources = load(**flags)
    return run(settings, sources, work)
