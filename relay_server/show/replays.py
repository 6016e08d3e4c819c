"""Replays."""

from __future__ import annotations

from relay_server.show.text import Json, alarm, counted, lines, open_console, pairs, when


def begun(result: Json) -> None:
    """What was started, for whom, and how to watch it."""
    console = open_console()
    for one in result["replays"]:
        lines(console, _begun(one))
        if one["paused"]:
            lines(console, alarm(f"  {one['subscription']} is PAUSED: {one['paused']}"))
        elif result["running"] and not one["connected"]:
            lines(console, f"  Nobody reads {one['subscription']} now: it waits for a reader.")
    if not result["running"]:
        lines(console, "It begins with the server: relay-server serve.")
    lines(console, "How far it is: relay-server replays list")


def replays(result: Json) -> None:
    """Two lines a replay, newest first."""
    console = open_console()
    if not result["replays"]:
        lines(console, "There is no replay.")
    for one in result["replays"]:
        lines(console, *_listed(one))


def replay(result: Json) -> None:
    """Everything that is known of one."""
    pairs(
        open_console(),
        {
            "replay": result["number"],
            "for": f"{result['subscription']} of {result['channel']}",
            "of": selected(result),
            "state": _state(result),
            "done": f"{result['percent']:g} %, {result['delivered']} delivered",
            "at most": f"{result['rate_per_s']:g} a second",
            "begun": f"{when(result['created_at'])} by {result['made_by'] or 'somebody here'}",
            "ended": when(result["ended_at"]),
        },
    )


def stopped(result: Json) -> None:
    """That it goes no further, and how far it came."""
    came = f"{result['delivered']} delivered"
    lines(open_console(), f"Replay {result['number']} is {result['state']}: {came}.")


def selected(one: Json) -> str:
    """Which events it is of, in words."""
    words = [_condition(name, value) for name, value in one["selection"].items()]
    return ", ".join(words) or "everything"


def _begun(one: Json) -> str:
    most = counted(one["at_most"], "event", "events")
    return (
        f"Replay {one['number']} for {one['subscription']} of {one['channel']}: {selected(one)};"
        f" at most {most}, {one['rate_per_s']:g} a second."
    )


def _listed(one: Json) -> tuple[str, str]:
    done = f"{one['percent']:g} %, {one['delivered']} delivered"
    return (
        f"{one['number']}  {one['subscription']} of {one['channel']}: {_state(one)}, {done}",
        f"    begun {when(one['created_at'])}: {selected(one)}",
    )


def _state(one: Json) -> str:
    if one["state"] != "running":
        return str(one["state"])
    if one["paused"]:
        return "PAUSED"
    return "running" if one["connected"] else "waits for a reader"


def _condition(name: str, value: object) -> str:
    match name, value:
        case "events", 1:
            return "1 event by id"
        case "events", _:
            return f"{value} events by id"
        case ("first", _):
            return f"from number {value}"
        case ("last", _):
            return f"up to number {value}"
        case "received_from", int(at):
            return f"since {when(at)}"
        case "received_before", int(at):
            return f"before {when(at)}"
        case "text", _:
            return f"with {value!r}"
        case "dead", _:
            return "dead ones"
        case _, "":
            return f"without {name}"
        case _:
            return f"{name} {value}"
