"""`relay-server doctor`: looks for the cause of webhooks that do not come, the nearest first.

server ─ store ─ canary ─ the public address, each A and AAAA ─┬─ the channel's traffic
                                                               └─ --chatwoot: its set-up
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_protocol.errors import RelayError
from relay_server.cli.chatwoot import Asked, ForChannel, RelayUrl, TokenFile, channel_of, opened
from relay_server.cli.command import load_settings
from relay_server.cli.options import Json
from relay_server.health import READY, STATES
from relay_terminal.console import Console
from relay_terminal.program import FAILED
from relay_terminal.report import Report, Step
from relay_terminal.retold import retold
from relay_terminal.words import _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay_server.chatwoot.checks import Finding
    from relay_server.control import Api

WRITTEN_BY_BOTS = {"from": "bot", "kind": "message_created", "limit": 100}


def doctor(
    ctx: typer.Context,
    chatwoot: Annotated[
        bool, typer.Option("--chatwoot", help="Look into the channel's Chatwoot, too.")
    ] = False,
    channel: ForChannel = None,
    relay_url: RelayUrl = None,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Check the way of a webhook to this server; the first line that fails names the cause."""
    from relay_server.control import run

    asked = Asked(channel, None, None, relay_url, token_file)
    report = Report(Console.of_process(), as_json, lambda _error: FAILED)

    async def examine(api: Api) -> Json:
        try:
            await _examine(api, asked, report, with_chatwoot=chatwoot)
        except RelayError as exc:
            report.failed("chatwoot", exc)
        return {}

    run(*load_settings(ctx.obj), examine)
    report.finish()
    raise typer.Exit(report.exit_status)


async def _examine(api: Api, asked: Asked, report: Report, *, with_chatwoot: bool) -> None:
    from relay_server.chatwoot.checks import of_chatwoot

    status = await api.call("GET", "status")
    channel = channel_of(asked, status)
    _of_server(status, channel, report, running=api.running)
    addresses = await _of_way(status, asked, report)
    await _of_traffic(api, status, channel, report)
    if with_chatwoot:
        async with opened(api, asked, status, addresses) as place:
            _tell(report, of_chatwoot(place.seen, place.webhook_url))


def _of_server(status: Json, channel: str, report: Report, *, running: bool) -> None:
    """The server itself, and whether it takes webhooks of the channel."""
    if not running:
        hint = _("relay-server serve starts it; its log says what is wrong.")
        _failed(report, "server", _("the server does not run"), hint)
    elif (state := str(status["state"])) != READY:
        why = retold(STATES.get(state, state))
        _failed(report, "server", _("the server is not ready: {why}").format(why=why), "")
    else:
        report.add(Step("server", True, _("it runs, and is ready")))
    if not status["store"]["taking"]:
        text = _("no webhook is stored: {why}").format(why=retold(status["store"]["reason"]))
        _failed(report, "store", text, _("relay-server status shows what takes the room."))
    for one in status["channels"]:
        if one["name"] == channel and (one["full_percent"] or 0) >= 100 and not one["drop_oldest"]:
            text = _("the channel {name} is full: webhooks are refused").format(name=channel)
            hint = _("What waits fills it: relay-server status shows for whom.")
            _failed(report, "channel", text, hint)
    canary = status["canary"]
    if canary is not None and canary["ok"] is False:
        text = _("the server's own canary did not come through: {why}")
        _failed(report, "canary", text.format(why=retold(canary["failure"])), "")


async def _of_way(status: Json, asked: Asked, report: Report) -> list[str]:
    """The way to the relay; returns the addresses that its name leads to."""
    from relay_server.chatwoot.checks import of_way
    from relay_server.chatwoot.probe import addresses_of, reach

    url = (asked.relay_url or str(status["public_url"])).rstrip("/")
    if not asked.relay_url and not status["settings"]["public_url"]["value"]:
        hint = _("Say once where Chatwoot reaches it: relay-server init --public-url URL")
        report.warned("public_url", _("no public URL is set"), hint)
    addresses, why = await addresses_of(url)
    _tell(report, of_way(url, [await reach(url, one) for one in addresses], why))
    return addresses


async def _of_traffic(api: Api, status: Json, channel: str, report: Report) -> None:
    from relay_server.chatwoot.checks import of_readers, of_traffic
    from relay_server.cli.command import target_of

    found = [one for one in status["channels"] if one["name"] == channel]
    last = found[0]["last_received_at"] if found else None
    refused = target_of("refused", query={"channel": channel})
    groups: list[Any] = (await api.call("GET", refused))["groups"] if api.running else []
    written = target_of("events", query={"channel": channel, **WRITTEN_BY_BOTS})
    _tell(report, of_traffic(groups, (await api.call("GET", written))["events"], last))
    _tell(report, of_readers(s for s in status["subscriptions"] if s["channel"] == channel))


def _tell(report: Report, findings: Iterable[Finding]) -> None:
    for one in findings:
        text = f"{one.text}. {one.cost}" if one.cost else one.text
        if one.ok is False:
            _failed(report, one.code, text, one.remedy)
        elif one.ok is None:
            report.warned(one.code, text, one.remedy)
        else:
            report.add(Step(one.code, True, text))


def _failed(report: Report, name: str, text: str, hint: str) -> None:
    error = RelayError(text)
    error.hint = hint
    report.failed(name, error)
