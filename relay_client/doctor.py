"""Walks from the configuration to a webhook at the target and back, a line for each step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from relay_client import __version__
from relay_client.answers import Canary
from relay_client.api import Api
from relay_client.console import Colour, Console, padded
from relay_client.errors import ClientError, ExitStatus, RelayUnreachable
from relay_client.notices import Connected, Lost, Notice
from relay_client.relay import Relay
from relay_client.settings import ClientSettings, Configuration, Route
from relay_client.tunnel import Tunnel
from relay_http.poster import Posted, Poster
from relay_http.target import Target
from relay_protocol.client_session import ClientSession
from relay_protocol.messages import Hello, Wanted
from relay_protocol.text import harmless
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome, Response

_T = TypeVar("_T")

_CONNECT_S = 15.0
_ARRIVE_S = 10.0
_RECORDED_S = 5.0
_LOOK_S = 0.1
CANARY_BODY = b'{"event":"relay.canary"}'


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at.

    Attributes:
        ok: None when it was left out.
        hint: What to do about it.
    """

    name: str
    ok: bool | None
    detail: str = ""
    hint: str = ""


class Report:
    """Collects steps, and writes each one as soon as it is taken."""

    def __init__(self, console: Console, as_json: bool) -> None:
        self.steps: list[Step] = []
        self._console = console
        self._as_json = as_json

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Take a step: the body puts what it found into the list, and raises when it failed."""
        found: list[str] = []
        try:
            yield found
        except ClientError as exc:
            self.add(Step(name, False, str(exc), exc.hint))
            raise
        self.add(Step(name, True, "; ".join(found)))

    def add(self, step: Step) -> None:
        """Note a step."""
        self.steps.append(step)
        if self._as_json:
            return
        word, colour = _WORDS[step.ok]
        mark = self._console.paint(padded(word, 8), colour)
        self._console.line(f"{mark}{padded(step.name, 15)}{harmless(step.detail)}".rstrip())
        if step.hint:
            self._console.line(f"{' ' * 23}→ {harmless(step.hint)}")

    def finish(self, exit_status: int) -> None:
        """Write the whole, where it is for programs."""
        if self._as_json:
            whole = {"ok": exit_status == 0, "steps": [asdict(step) for step in self.steps]}
            self._console.line(json.dumps(whole))


async def run_doctor(configuration: Configuration, console: Console, *, as_json: bool) -> int:
    """Check everything from here to the target and back, and give the exit status."""
    report = Report(console, as_json)
    try:
        await _examine(configuration, report)
        status = ExitStatus.DONE
    except ClientError as exc:
        status = exc.exit_status
    report.finish(status)
    return status


async def _examine(configuration: Configuration, report: Report) -> None:
    with report.step("configuration") as found:
        relay, target = configuration.relay(), _target(configuration.settings)
        _ = relay.tls
        found += [f"{name} from the {configuration.sources[name]}" for name in ("url", "token")]
    async with Api(relay) as api:
        with report.step("relay") as found:
            await api.check_health()
            found.append(f"{relay.url} answers")
        with report.step("token") as found:
            me = await api.whoami()
            found.append(f"{me.name}, may {' and '.join(me.scopes)}")
        with report.step("canary channel") as found:
            canary = await api.make_canary()
            found.append(canary.channel)
        try:
            await _send_canary(api, relay, canary, (target, configuration.settings), report)
        finally:
            await _clean_up(api, canary, report)


async def _send_canary(
    api: Api,
    relay: Relay,
    canary: Canary,
    goal: tuple[Target | None, ClientSettings],
    report: Report,
) -> None:
    target, settings = goal
    async with _watching(relay, canary, target, settings.timeout_s) as watch:
        with report.step("websocket") as found:
            await watch.until_connected()
            found.append("connected and subscribed")
        with report.step("ingest") as found:
            event = await api.post_webhook(canary.webhook_path, canary.send_token, CANARY_BODY)
            found.append(f"stored as {event}")
        with report.step("delivery") as found:
            await watch.until_arrived()
            found.append("came over the WebSocket")
        if target is None:
            report.add(Step("target", None, "no target is set", "Give --to to check it too."))
        else:
            with report.step("target") as found:
                found += await watch.answer(target)
        with report.step("result") as found:
            await _until_recorded(api, event)
            found.append("the relay recorded the attempt")


async def _clean_up(api: Api, canary: Canary, report: Report) -> None:
    with report.step("clean-up") as found:
        await api.remove_canary(canary.channel)
        found.append("the canary channel is removed")


async def _until_recorded(api: Api, event: str) -> None:
    deadline = time.monotonic() + _RECORDED_S
    while time.monotonic() < deadline:
        if (await api.event(event)).read().attempts:
            return
        await asyncio.sleep(_LOOK_S)
    raise ClientError(
        "the relay did not record the attempt", "Look at the server's log, and its disk space."
    )


class _Watch:
    """Stands for the canary channel's poster, and notes what becomes of the canary."""

    def __init__(self, poster: Poster | None) -> None:
        loop = asyncio.get_running_loop()
        self._poster = poster
        self._connected: asyncio.Future[None] = loop.create_future()
        self._arrived: asyncio.Future[None] = loop.create_future()
        self._outcome: asyncio.Future[Outcome] = loop.create_future()
        self._reason = Lost("the relay did not answer")
        self.tunnel: asyncio.Task[None]

    @property
    def target(self) -> Target:
        """Asked for by the tunnel when nothing listens there."""
        assert self._poster is not None
        return self._poster.target

    def begin(self, delivery: Delivery, ended: Callable[[Posted], None]) -> None:
        """Without a target, answer in its place."""
        ended(self._post(delivery))

    async def _post(self, delivery: Delivery) -> Outcome:
        _note(self._arrived, None)
        outcome = Response(200) if self._poster is None else await self._poster.post(delivery)
        _note(self._outcome, outcome)
        return outcome

    async def until_listening(self) -> None:
        """The first failure ends the examination: nothing is waited for."""
        await asyncio.get_running_loop().create_future()

    def tell(self, notices: Sequence[Notice]) -> None:
        """Take what the tunnel has to say."""
        for notice in notices:
            if isinstance(notice, Connected):
                _note(self._connected, None)
            elif isinstance(notice, Lost):
                self._reason = notice

    async def until_connected(self) -> None:
        if not await self._comes(self._connected, _CONNECT_S):
            raise RelayUnreachable(
                f"no WebSocket: {self._reason.text}",
                self._reason.hint or "A proxy before the relay must pass WebSockets on.",
            )

    async def until_arrived(self) -> None:
        if not await self._comes(self._arrived, _ARRIVE_S):
            raise ClientError(
                "the canary did not come over the WebSocket", "Look at the server's log."
            )

    async def answer(self, target: Target) -> list[str]:
        """Give what the target answered, in words."""
        if not await self._comes(self._outcome, None):
            raise ClientError("the tunnel ended before the target answered", "Try again.")
        match self._outcome.result():
            case Response(status, elapsed_ms=elapsed_ms) as response:
                note = "" if response.delivered else ": it may not know this kind of event"
                return [f"{target.url} answered {status} in {elapsed_ms} ms{note}"]
            case Failure(FailureKind.TARGET_DOWN):
                raise ClientError(
                    f"{target.authority} is not listening",
                    "Start your app, or correct --to; webhooks wait on the relay meanwhile.",
                )
            case Failure(_, text):
                raise ClientError(text, "Look at your app's log.")

    async def _comes(self, what: asyncio.Future[Any], within_s: float | None) -> bool:
        """Wait for it; a tunnel that was refused for good ends the wait with its error."""
        ends: set[asyncio.Future[Any]] = {what, self.tunnel}
        await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if not what.done() and self.tunnel.done():
            self.tunnel.result()
        return what.done()


def _note(what: asyncio.Future[_T], value: _T) -> None:
    """Note that something happened, if that is news."""
    if not what.done():
        what.set_result(value)


@contextlib.asynccontextmanager
async def _watching(
    relay: Relay, canary: Canary, target: Target | None, timeout_s: float
) -> AsyncIterator[_Watch]:
    """Connect to the canary channel, and disconnect at the end."""
    poster = None if target is None else Poster(target, timeout_s, 1)
    watch = _Watch(poster)
    hello = Hello(__version__, socket.gethostname(), (Wanted(canary.channel),), 1)
    tunnel = Tunnel(relay, ClientSession(hello, 1), {canary.channel: watch}, watch.tell)
    watch.tunnel = asyncio.create_task(tunnel.run())
    try:
        yield watch
    finally:
        tunnel.stop()
        watch.tunnel.cancel()
        await asyncio.gather(watch.tunnel, return_exceptions=True)
        if poster is not None:
            poster.close()


def _target(settings: ClientSettings) -> Target | None:
    routes = [Route.parse(text) for text in settings.to]
    return routes[0].target if routes else None


_WORDS: dict[bool | None, tuple[str, Colour]] = {
    True: ("ok", Colour.GOOD),
    False: ("FAILED", Colour.BAD),
    None: ("skipped", Colour.CARE),
}
