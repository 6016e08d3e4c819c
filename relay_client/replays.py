"""Events once more, and subscriptions that go on: what a developer asks of the relay."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from relay_client import answers
from relay_client.answers import Replay
from relay_client.api import Api
from relay_client.console import Colour, Console, counted, table
from relay_client.errors import UsageError
from relay_client.options import parse_since
from relay_client.settings import Configuration
from relay_protocol.text import harmless

Json = dict[str, Any]

WHICH_EVENTS = (
    "Name events by id, or say --since 2h, --conversation 42, --kind, --text or --dead; --all is"
    " everything that is kept."
)


def selection(
    *, events: Sequence[str], since: str | None, until: str | None, **simple: object
) -> Json:
    """The events that are meant, as the relay takes it.

    Raises:
        UsageError: A time is none, or nothing is chosen.
    """
    given = {
        "events": list(events) or None,
        "received_from": _moment(since, "--since"),
        "received_before": _moment(until, "--until"),
        **simple,
    }
    # An empty key or kind is a condition, too: events that have none.
    chosen = {n: v for n, v in given.items() if v is not None and v is not False}
    if not chosen:
        raise UsageError("nothing says which events are meant", WHICH_EVENTS)
    if "all" in chosen and len(chosen) > 1:
        raise UsageError("--all goes with no other condition", WHICH_EVENTS)
    return chosen


async def run_replay(
    chosen: Json,
    rate_per_s: float | None,
    configuration: Configuration,
    console: Console,
    *,
    as_json: bool,
) -> None:
    """Have events delivered once more to the client's own subscription."""
    if rate_per_s is not None and not math.isfinite(rate_per_s):
        raise UsageError(f"--rate-per-s: {rate_per_s} is no number of deliveries")
    async with Api(configuration.relay()) as api:
        channel = None if chosen.get("events") else await _channel(api, configuration)
        body: Json = {
            "channel": configuration.settings.channel or channel,
            "subscription": await _name(api, configuration),
            "selection": chosen,
        }
        if rate_per_s is not None:
            body["rate_per_s"] = rate_per_s
        answer = await api.replay(body)
    if as_json:
        console.line(answers.written(answer))
        return
    for one in answers.read(answer, answers.Replays).replays:
        _tell_begun(one, console)
    console.line("How far it is: relay-client replays")


async def run_replays(
    stop: int | None, configuration: Configuration, console: Console, *, as_json: bool
) -> None:
    """List the replays of the token's channels, or stop one of its own."""
    async with Api(configuration.relay()) as api:
        if stop is not None:
            await api.stop_replay(stop)
        answer = await api.replays(configuration.settings.channel)
    if as_json:
        console.line(answers.written(answer))
        return
    found = answers.read(answer, answers.Replays).replays
    if not found:
        console.line("There is no replay.")
        return
    for line in table([_HEADING, *map(_row, found)]):
        console.line(line)


async def _channel(api: Api, configuration: Configuration) -> str:
    """The one that is set, or that the token makes clear."""
    if configuration.settings.channel is not None:
        return configuration.settings.channel
    return await api.choose_channel("Say which one: --channel NAME")


async def _name(api: Api, configuration: Configuration) -> str:
    return configuration.settings.name or (await api.whoami()).name


def _moment(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    now = round(time.time() * 1_000)
    found = parse_since(text, now, option)
    return now if found is None else found


def _tell_begun(one: Replay, console: Console) -> None:
    who = f"{harmless(one.subscription)} of {harmless(one.channel)}"
    most = counted(one.at_most, "event")
    console.line(f"Replay {one.number} for {who}: at most {most}, {one.rate_per_s:g} a second.")
    if one.paused:
        console.line(console.paint(f"It is PAUSED: {harmless(one.paused)}", Colour.BAD))
    elif not one.connected:
        console.line("Nobody is connected under that name: it begins with relay-client connect.")


def _row(one: Replay) -> tuple[str, ...]:
    state = harmless(one.state)
    if state == "running" and one.paused:
        state = "PAUSED"
    elif state == "running" and not one.connected:
        state = "waits for its client"
    names = harmless(one.channel), harmless(one.subscription)
    return (str(one.number), *names, state, f"{one.percent:g} %", str(one.delivered))


_HEADING = ("REPLAY", "CHANNEL", "SUBSCRIPTION", "STATE", "DONE", "DELIVERED")
