"""`relay-server status`: what somebody must see to, then how full and how far all of it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from relay_protocol.errors import RelayError
from relay_server.cli.command import LOOK_S, Work
from relay_server.cli.options import Json
from relay_server.cli.subscriptions import paused_lines, progress_table, twice_lines
from relay_server.cli.text import alarm, duration, lines, plain, size, table, when, zoned
from relay_terminal.progress import progress
from relay_terminal.retold import retold
from relay_terminal.words import N_, _, counted, plural

if TYPE_CHECKING:
    from relay_server.control import Api

SOURCES = (N_("flag"), N_("default"))  # of settings; others are names of variables and files
INDEX_IS_BEHIND_MS = 10_000  # the oldest event that is not indexed; then `status` says so


class NotReady(RelayError, code="not_ready"):
    """The server is not there, or not ready."""

    hint = "relay-server serve starts it; its log says what is wrong."


def show_status(result: Json) -> None:
    """What is wrong first, then channels and subscriptions; or the settings alone."""
    if "channels" not in result:
        _show_settings(result["settings"])
        return
    if result["running"]:
        up = duration(result["uptime_s"] * 1000)
        running = _("Running for {time} at {url}, version {version}.")
        lines(running.format(time=up, url=result["public_url"], version=result["version"]))
    else:
        lines(_("Not running: relay-server serve starts it."))
    lines(*_worries(result))
    lines("")
    _show_channels(result["channels"])
    _show_database(result["store"].get("database"))
    progress_table(_("subscription"), result["subscriptions"])


def _worries(result: Json) -> Iterator[str]:
    """What somebody must see to, the worst first, each with what to do."""
    if result["state"] == "uninitialized":
        yield alarm(_("Not ready: no token was ever made, so every webhook is refused."))
        yield "  relay-server init"
    if reason := result["store"]["reason"]:
        yield alarm(_("Webhooks are refused: {reason}").format(reason=retold(reason)))
    yield from _left_spools(result["store"].get("database"))
    yield from _missed(result["store"].get("database"))
    yield from _canary(result.get("canary"))
    for channel in result["channels"]:
        yield from _fullness(channel)
    for one in result["subscriptions"]:
        yield from _of_subscription(one)
    for drift in result["drifts"]:
        said = _("{kind} of {channel} has other fields since {time}: another version sends it?")
        kind = drift["kind"] or "-"
        yield said.format(kind=kind, channel=drift["channel"], time=when(drift["at"], zoned=True))
        yield "  relay-server drift list"
    if refused := result.get("refused"):
        groups = refused["groups"]
        count = sum(group["count"] for group in groups)
        if last := max(groups, key=lambda group: group["last_at"], default=None):
            said = plural("{number} request was refused", "{number} requests were refused", count)
            template = _("{said} since the start, the last at {time}: {reason}")
            why = retold(last["says"] or last["reason"])
            yield template.format(said=said, time=when(last["last_at"], zoned=True), reason=why)
            if last["fix"]:
                yield f"  {retold(last['fix'])}"


def _left_spools(database: Json | None) -> Iterator[str]:
    for replica in database["replicas"] if database else ():
        if not replica["alive"] and (left := replica["spooled"] + replica["stuck"]):
            spool = plural("{number} webhook", "{number} webhooks", left)
            gone = _("The server {name} is gone, with {webhooks} in its spool.")
            yield alarm(gone.format(name=replica["name"], webhooks=spool))
            yield _("  start a server with its data dir")


def _missed(database: Json | None) -> Iterator[str]:
    """Which server cannot reach which, for clients that share."""
    if database is None:
        return
    for one in database["unreached"]:
        said = _("{name} cannot reach {other} since {time}: {reason}")
        facts = {"name": one["by"], "other": one["other"], "time": when(one["since"], zoned=True)}
        yield alarm(said.format(reason=retold(one["why"]), **facts))
        yield f"  {retold(one['fix'])}"
    there = [one for one in database["replicas"] if one["alive"]]
    silent = [one["name"] for one in there if not one["announced"]]
    if silent and len(silent) < len(there):
        said = _("{names}: no other server knows where to reach it.")
        yield said.format(names=", ".join(silent))
        yield _("  set RELAY_SERVER_REPLICA_URL there")
    if database["unreached"] or 0 < len(silent) < len(there):
        yield "  " + _(
            "Clients that share a subscription (--share) and come to two such servers do not share:"
            " the one they came to last serves its own. All else goes by the database, as ever."
        )


def _canary(canary: Json | None) -> Iterator[str]:
    if canary and canary["failure"]:
        failed = _("The canary failed at {time}: {reason}")
        yield alarm(
            failed.format(time=when(canary["at"], zoned=True), reason=retold(canary["failure"]))
        )
    elif canary and canary["ok"]:
        delivered = _("The canary was delivered in {number} ms, at {time}.")
        yield delivered.format(number=canary["took_ms"], time=when(canary["at"], zoned=True))


def _fullness(c: Json) -> Iterator[str]:
    """Whether a channel is nearly full, and whether its index is behind."""
    from relay_server.values import NEARLY_FULL

    facts = {"name": c["name"], "percent": f"{c['full_percent'] or 0:,g} %"}
    if c["worrying"] and c["drop_oldest"]:
        yield alarm(_("{name} is {percent} full; at 100 % the oldest events go").format(**facts))
    elif c["worrying"] and c["full_percent"] >= 100:
        yield alarm(_("{name} is {percent} full: webhooks are refused").format(**facts))
    elif c["worrying"]:
        yield alarm(_("{name} is {percent} full; at 100 % webhooks are refused").format(**facts))
    elif (c["full_percent"] or 0) >= 100 * NEARLY_FULL:
        said = _("{name} is {percent} full; what was delivered goes when room is needed")
        yield said.format(**facts)
    if c["worrying"]:
        yield _("  see what waits below, or channel set --max-bytes")
    if c["index"] and c["index"]["lag_ms"] >= INDEX_IS_BEHIND_MS:
        behind = c["index"]["newest"] - c["index"]["indexed_to"]
        said = _("{name}: the search index is {number} events behind; answers take longer")
        yield said.format(name=c["name"], number=counted(behind))
        yield "  relay-server index"


def _of_subscription(s: Json) -> Iterator[str]:
    """Whether it is dead in part, paused, away for long, or waits for its target."""
    who = {"name": s["name"], "channel": s["channel"]}
    if s["dead"]:
        dead = plural("{number} dead delivery", "{number} dead deliveries", s["dead"])
        yield alarm(_("{name} of {channel}: {dead}").format(**who, dead=dead))
        yield f"  relay-server dead list --channel {s['channel']}"
    yield from paused_lines([s])
    if s["away_long"]:
        waiting = plural("{number} event waits", "{number} events wait", s["backlog"])
        away = _("{name} of {channel} is away since {time}; {waiting}, and are kept for it.")
        yield alarm(away.format(**who, time=when(s["away_since"], zoned=True), waiting=waiting))
        if not s["forward"]:
            yield f"  relay-server subscription delete {s['channel']} {s['name']}"
    if s["hand_off_trouble"]:
        trouble = _("{name} of {channel} cannot hand conversations to people: {reason}")
        yield alarm(trouble.format(**who, reason=retold(s["hand_off_trouble"])))
    yield from twice_lines([s])
    if s["waits_for"]:
        yield _("{name} of {channel}: {reason}").format(**who, reason=retold(s["waits_for"]))


def _show_database(database: Json | None) -> None:
    """Servers that share it, and the standbys that follow it."""
    if database is None:
        return
    table(
        (_("server"), _("version"), _("seen"), _("spooled"), _("stuck")),
        [
            (
                replica["name"] if replica["alive"] else alarm(replica["name"]),
                replica["version"],
                _("{time} ago").format(time=duration(replica["seen_ms"])),
                counted(replica["spooled"]),
                counted(replica["stuck"]),
            )
            for replica in database["replicas"]
        ],
    )
    primary = _("The primary is {name}, of timeline {number}.")
    lines(primary.format(name=database["primary"], number=database["timeline"]))
    table(
        (_("standby"), _("state"), _("commits wait"), _("behind by")),
        [
            (
                one["name"] or "-",
                one["state"] or "?",
                _waited_for(one),
                "-" if one["lag_bytes"] is None else size(one["lag_bytes"]),
            )
            for one in database["standbys"]
        ],
    )
    if not all(one["state"] for one in database["standbys"]):
        lines(_("The store's role may not see how standbys are: GRANT pg_monitor to it."))


def _waited_for(standby: Json) -> str:
    """Whether commits wait for a standby, if that may be seen."""
    if not standby["state"]:
        return "?"
    return _("yes") if standby["sync"] in ("sync", "quorum") else _("no")


def _show_channels(found: Sequence[Json]) -> None:
    table(
        (_("channel"), _("events"), _("size"), _("full"), _("dropped"), zoned(_("last webhook"))),
        [
            (
                c["name"],
                counted(c["events"]),
                size(c["bytes"]),
                "-" if c["full_percent"] is None else f"{c['full_percent']:,g} %",
                counted(c["dropped"]),
                when(c["last_received_at"]),
            )
            for c in found
        ],
    )


def _show_settings(settings: Json) -> None:
    table(
        (_("setting"), _("value"), _("from")),
        [(name, _value(one["value"]), _(one["source"])) for name, one in settings.items()],
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "-" if value in (None, "") else plain(value)


def show_index(result: Json) -> None:
    """That it has everything."""
    count = sum(one["newest"] for one in result["channels"])
    has = plural(
        "The search index has {number} event.", "The search index has {number} events.", count
    )
    lines(has)


def index() -> Work:
    """Wait until search finds every event, and show how far it is: an index may be built anew."""

    async def wait(api: Api) -> Json:
        import asyncio

        if not api.running:
            raise NotReady(_("nothing is indexed: the server does not run"))
        found = await _indexed(api)
        total, goes_on = sum(one["newest"] for one in found), _("The server goes on with it.")
        with progress(_("Indexing"), total, goes_on) as reach:
            while any(one["indexed_to"] < one["newest"] for one in found):
                reach(sum(one["indexed_to"] for one in found))
                await asyncio.sleep(LOOK_S)
                found = await _indexed(api)
        return {"channels": found}

    return wait


async def _indexed(api: Api) -> list[Json]:
    """How far each channel is that has an index."""
    channels = (await api.call("GET", "status"))["channels"]
    return [{"name": one["name"], **one["index"]} for one in channels if one["index"]]


def status(
    settings: Annotated[
        bool, typer.Option("--settings", help="Only what is set, and where each value comes from.")
    ] = False,
) -> Work:
    """Say how channels and subscriptions are doing, with what somebody must see to first."""

    async def found(api: Api) -> Json:
        status = await api.call("GET", "status")
        if settings:
            return {"settings": status["settings"]}
        refused = await api.call("GET", "refused") if api.running else None
        return {"running": api.running, **status, "refused": refused}

    return found
