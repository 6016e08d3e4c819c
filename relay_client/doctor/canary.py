"""A webhook of one's own on its whole way: to the relay, over the WebSocket, to the target, back.

It is on a private channel that nobody else sees (docs/adr/0004). The relay answers plain requests
at that point, so what then does not come over the WebSocket is held back, or cut, by what stands in
between: that is told within `CONNECT_S` or `ARRIVE_S`, and so is a canary that came `LATE_S` late.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from relay_client import __version__
from relay_client.answers import Canary
from relay_client.api import Api
from relay_client.doctor.around import Care
from relay_client.doctor.target import judged
from relay_client.errors import ClientError, RelayUnreachable
from relay_client.notices import Connected, Lost, Notice
from relay_client.relay import Relay
from relay_client.tunnel import Tunnel
from relay_client.websocket import HELD_BACK_HINT, UPGRADE_HINT
from relay_http.poster import Posted, Poster
from relay_http.target import Target
from relay_protocol.client_session import ClientSession
from relay_protocol.messages import Hello, Wanted
from relay_protocol.values import Delivery, Outcome, Response
from relay_terminal.report import Report, Step
from relay_terminal.retold import retold
from relay_terminal.words import _

_T = TypeVar("_T")

CONNECT_S = 5.0  # for the WebSocket; ten times of what a request takes, where that is longer
ARRIVE_S = 5.0  # for a canary that was stored to come over it
LATE_S = 2.0  # after which it came late
RECORDED_S = 5.0  # for the relay to record its result
_LOOK_S = 0.1
CANARY_BODY = b'{"event":"relay.canary"}'


@dataclass(frozen=True, slots=True)
class Way:
    """From where to where it goes.

    Attributes:
        target: None where none is set: then nothing is posted.
        target_tls: Whom to trust of a target by `https://`.
        timeout_s: For the target's answer.
        answered_s: How long the relay took to answer a plain request.
    """

    relay: Relay
    target: Target | None
    target_tls: ssl.SSLContext | None
    timeout_s: float
    answered_s: float


async def walk(api: Api, way: Way, report: Report) -> None:
    """Make a canary channel, send a webhook along the way, and remove the channel.

    Raises:
        ClientError: It did not come through; the report has it.
    """
    with report.step("canary channel") as found:
        canary = await api.make_canary()
        found.append(canary.channel)
    try:
        await _send(api, canary, way, report)
    finally:
        with report.step("clean-up") as found:
            await api.do("DELETE", f"canary/{canary.channel}")
            found.append(_("the canary channel is removed"))


async def _send(api: Api, canary: Canary, way: Way, report: Report) -> None:
    async with _watching(canary, way) as watch:
        with report.step("websocket") as found:
            await watch.until_connected(way.answered_s)
            found.append(_("connected and subscribed"))
        with report.step("ingest") as found:
            event = await api.post_webhook(canary.webhook_path, canary.send_token, CANARY_BODY)
            found.append(_("stored as {event}").format(event=event))
        await _arrive(api, watch, event, report)
        if way.target is None:
            hint = _("Give --to to check it too.")
            report.add(Step("target", None, _("no target is set"), hint))
        else:
            await _reach(watch, way.target, report)
        with report.step("result") as found:
            await _until_recorded(api, event)
            found.append(_("the relay recorded the attempt"))


async def _arrive(api: Api, watch: _Watch, event: str, report: Report) -> None:
    began = time.monotonic()
    if not await watch.arrives():
        with report.step("delivery"):
            raise await _not_come(api, event)
    late_s = time.monotonic() - began
    if late_s >= LATE_S:
        text = _("it came over the WebSocket {seconds:.1f} s late: something holds the stream back")
        report.failed("delivery", ClientError(text.format(seconds=late_s), HELD_BACK_HINT))
    else:
        report.add(Step("delivery", True, _("came over the WebSocket")))


async def _not_come(api: Api, event: str) -> ClientError:
    """Why the canary did not come: whether the relay sent it."""
    states = {one.state for one in (await api.event(event)).read().deliveries}
    if "under_way" in states:
        text = _(
            "the relay sent the canary, and it did not come within {seconds:g} s: what stands in"
            " between holds the stream back"
        )
        return ClientError(text.format(seconds=ARRIVE_S), HELD_BACK_HINT)
    text = _("the relay did not send the canary over the WebSocket")
    return ClientError(text, _("Look at the server's log."))


async def _reach(watch: _Watch, target: Target, report: Report) -> None:
    match await judged(target, await watch.outcome()):
        case ClientError() as error:
            with report.step("target"):
                raise error
        case Care(text, hint):
            report.warned("target", text, hint)
        case text:
            report.add(Step("target", True, text))


async def _until_recorded(api: Api, event: str) -> None:
    deadline = time.monotonic() + RECORDED_S
    while time.monotonic() < deadline:
        if (await api.event(event)).read().attempts:
            return
        await asyncio.sleep(_LOOK_S)
    raise ClientError(
        _("the relay did not record the attempt"),
        _("Look at the server's log, and its disk space."),
    )


class _Watch:
    """Stands for the canary channel's poster, and notes what becomes of the canary."""

    def __init__(self, poster: Poster | None) -> None:
        loop = asyncio.get_running_loop()
        self._poster = poster
        self._connected: asyncio.Future[None] = loop.create_future()
        self._arrived: asyncio.Future[None] = loop.create_future()
        self._outcome: asyncio.Future[Outcome] = loop.create_future()
        self._lost: Lost | None = None
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
                self._lost = notice
                if not self._connected.done():
                    self._connected.cancel()

    async def until_connected(self, answered_s: float) -> None:
        """Wait for the first connection; its failure, or silence, is told."""
        within_s = max(CONNECT_S, 10 * answered_s)
        if await self._comes(self._connected, within_s):
            return
        if self._lost is not None:
            text = _("no WebSocket: {reason}").format(reason=retold(self._lost.text))
            raise RelayUnreachable(text, self._lost.hint or UPGRADE_HINT)
        text = _(
            "the relay answers requests, and within {seconds:g} s nothing came over the WebSocket:"
            " what stands in between holds it back"
        )
        raise RelayUnreachable(text.format(seconds=within_s), HELD_BACK_HINT)

    async def arrives(self) -> bool:
        """Wait for the canary, for a while."""
        return await self._comes(self._arrived, ARRIVE_S)

    async def outcome(self) -> Outcome:
        """Wait for what became of it at the target."""
        if not await self._comes(self._outcome, None):
            text = _("the tunnel ended before the target answered")
            raise ClientError(text, _("Try again."))
        return self._outcome.result()

    async def _comes(self, what: asyncio.Future[Any], within_s: float | None) -> bool:
        """Wait for it; a tunnel that was refused for good ends the wait with its error."""
        ends: set[asyncio.Future[Any]] = {what, self.tunnel}
        await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if not what.done() and self.tunnel.done():
            self.tunnel.result()
        return what.done() and not what.cancelled()


def _note(what: asyncio.Future[_T], value: _T) -> None:
    """Note that something happened, if that is news."""
    if not what.done():
        what.set_result(value)


@contextlib.asynccontextmanager
async def _watching(canary: Canary, way: Way) -> AsyncIterator[_Watch]:
    """Connect to the canary channel, and disconnect at the end."""
    poster = None
    if way.target is not None:
        poster = Poster(way.target, way.timeout_s, 1, tls=way.target_tls)
    watch = _Watch(poster)
    hello = Hello(__version__, socket.gethostname(), (Wanted(canary.channel),), 1)
    tunnel = Tunnel(way.relay, ClientSession(hello, 1), {canary.channel: watch}, watch.tell)
    watch.tunnel = asyncio.create_task(tunnel.run())
    try:
        yield watch
    finally:
        tunnel.stop()
        watch.tunnel.cancel()
        await asyncio.gather(watch.tunnel, return_exceptions=True)
        if poster is not None:
            poster.close()
