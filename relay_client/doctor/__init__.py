"""Looks for the cause of webhooks that do not come, a line for each thing, the nearest first.

    configuration ─ relay ─ token ─┬─ version, clocks, connections   from what was answered
                                   ├─ status, channel, subscription  from what the relay knows
                                   └─ canary ─ websocket ─ ingest ─ delivery ─ target ─ result

The first line that fails names the cause. What has to work for the rest to be tried at all ends the
walk (it is raised); of the things beside the way (`around`) all are told, and the walk goes on.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Iterator

from relay_client import reasons
from relay_client.answers import Whoami
from relay_client.api import FAVOURITE_CHANNEL, Api
from relay_client.doctor import around
from relay_client.doctor.around import Care, Found
from relay_client.doctor.canary import Way, walk
from relay_client.errors import ClientError, ExitStatus
from relay_client.lifetimes import Lifetimes
from relay_client.relay import Relay
from relay_client.routes import Route
from relay_client.settings import ClientSettings, Configuration
from relay_http.target import Target
from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal.console import Console
from relay_terminal.report import Report, Step
from relay_terminal.words import N_, _

FEED_S = 5.0  # for the first message of a feed, which is sent at once
FEED_HINT = N_(
    "The dashboard asks again and again meanwhile. Have the proxy buffer no event stream: in nginx"
    " proxy_buffering off, and no proxy_ignore_headers X-Accel-Buffering."
)


async def run_doctor(configuration: Configuration, console: Console, *, as_json: bool) -> int:
    """Check everything from here to the target and back, and give the exit status."""
    report = Report(console, as_json, _status_of)
    try:
        await _examine(configuration, report)
    except ClientError as exc:
        if not any(step.ok is False for step in report.steps):
            report.failed("doctor", exc)
    report.finish()
    return report.exit_status


def _status_of(error: RelayError) -> int:
    return error.exit_status if isinstance(error, ClientError) else ExitStatus.FAILED


async def _examine(configuration: Configuration, report: Report) -> None:
    settings = configuration.settings
    with report.step("configuration") as found:
        relay, target = configuration.relay(), _target(settings)
        _ignored = relay.tls, relay.proxy
        target_tls = settings.target_tls([] if target is None else [target])
        found += [_source(configuration, name) for name in ("url", "token")]
    async with Api(relay) as api:
        with report.step("relay") as found:
            await api.check_health()
            found.append(_("{url} answers").format(url=relay.url))
        began = time.monotonic()
        with report.step("token") as found:
            me = await api.whoami()
            if (missing := reasons.scope_missing(me)) is not None:
                raise missing
            found.append(_said_of(me))
        answered_s = time.monotonic() - began
        _look_around(configuration, relay, api, me, report)
        await _look_at_subscriptions(api, me, settings, report)
        _tell(report, "feed", await _feed(api))
        way = Way(relay, target, target_tls, settings.timeout_s, answered_s)
        await walk(api, way, report)


async def _feed(api: Api) -> list[Found]:
    """Whether the live feed comes as it happens; nothing where the relay has none to show."""
    try:
        async with asyncio.timeout(FEED_S), api.feed("state=0", "") as chunks:
            await anext(chunks)
    except TimeoutError:
        return [Care(_("the live feed is held back by what stands in between"), _(FEED_HINT))]
    except (ClientError, StopAsyncIteration):
        return []
    return [_("the live feed comes as it happens")]


def _source(configuration: Configuration, name: str) -> str:
    text = _("{setting} from the {source}")
    return text.format(setting=name, source=_(configuration.sources[name]))


def _said_of(me: Whoami) -> str:
    may = _(" and ").join(map(harmless, me.scopes))
    return _("{name}, may {scopes}").format(name=harmless(me.name), scopes=may)


def _look_around(
    configuration: Configuration, relay: Relay, api: Api, me: Whoami, report: Report
) -> None:
    """What the answers so far, and this client's memory, say."""
    if text := reasons.of_versions(me.server_version):
        report.warned("version", text)
    _tell(report, "clocks", [around.clocks(api.relay_date, time.time())])
    known = Lifetimes(configuration.state_folder, relay.url, time.time)
    _tell(report, "connections", [around.connections(known.steady())])


async def _look_at_subscriptions(
    api: Api, me: Whoami, settings: ClientSettings, report: Report
) -> None:
    with report.step("status") as found:
        status = (await api.status()).read()
        found.append(_("the relay says how it is"))
    name, host = settings.name or me.name, socket.gethostname()
    for channel in _channels(settings, me, [one.name for one in status.channels]):
        if (refuses := around.intake(status, channel)) is not None:
            _tell(report, "channel", [refuses])
        known = status.subscriptions
        _tell(
            report,
            "subscription",
            around.subscription(known, channel, name, host, shares=settings.share),
        )


def _channels(settings: ClientSettings, me: Whoami, known: list[str]) -> Iterator[str]:
    """The channels that connect would read, as far as that is clear."""
    routes = [Route.parse(text) for text in settings.to]
    named = [route.channel for route in routes if route.channel is not None]
    yield from named
    if len(named) < len(routes) or not routes:
        mine = list(me.channels) if me.channels is not None else known
        if settings.channel is not None:
            yield settings.channel
        elif len(mine) == 1 or FAVOURITE_CHANNEL in mine:
            yield FAVOURITE_CHANNEL if FAVOURITE_CHANNEL in mine else mine[0]


def _tell(report: Report, name: str, found: Iterable[Found]) -> None:
    for one in found:
        match one:
            case ClientError():
                report.failed(name, one)
            case Care(text, hint):
                report.warned(name, text, hint)
            case text:
                report.add(Step(name, True, text))


def _target(settings: ClientSettings) -> Target | None:
    routes = [Route.parse(text) for text in settings.to]
    return routes[0].target if routes else None
