"""The server: the real hub, pumps, connections, ingest and upkeep around a simulated store."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.delivery.hub import Hub
from relay_server.delivery.reader import Reader
from relay_server.delivery.upkeep import Upkeep
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.forwards import Forwards
from relay_server.metrics import Metrics
from relay_server.stopping import DRAIN_S, GO_AWAY_S
from relay_server.store.interface import Store
from relay_server.throttle import Throttle
from relay_server.values import Appended, Scope, Token
from relay_server.web import ingest
from relay_server.web.context import Context
from relay_server.web.gateway import Connection
from relay_server.web.limits import Failures, Rates
from tests.simulation.judge import Sent
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link

TOKEN = Token("ana", b"", frozenset({Scope.SUBSCRIBE}), None, 0)
ALLOWED = Allowlist.of(["10.0.0.0/8"])
METRICS = Metrics()  # making them takes as long as a tenth of a small run
SETTINGS = SimpleNamespace(
    trusted_proxies=(), max_body_bytes=26_214_400, default_channel="chatwoot"
)


class Server:
    """One life of the server.

    Attributes:
        up: It takes connections and webhooks.
    """

    def __init__(self, kernel: Kernel, store: Any, upkeep_s: float) -> None:
        self.up = True
        self.store: Store = store
        self._kernel = kernel
        self._upkeep_s = upkeep_s
        self.hub = Hub(store, kernel.clock, METRICS)
        self.links: dict[Link, asyncio.Task[None]] = {}
        self.connections: dict[Connection, None] = {}
        self.forwards = Forwards(self.hub, ALLOWED, bytes)
        self._context = self._make_context()
        self._tasks = [
            kernel.spawn(self.hub.run(), "hub"),
            kernel.spawn(self._keep_house(), "upkeep"),
            kernel.spawn(self._start_forwards(), "forwards"),
        ]

    async def post(self, sent: Sent, target: str) -> Appended | int:
        """Take a webhook: where it is stored, or the status that it is refused with."""
        channel = None
        try:
            incoming = ingest.admit(
                self._context, "POST", target, sent.headers, "203.0.113.9", "https"
            )
            channel = incoming.channel
            return await ingest.store(self._context, incoming, sent.body)
        except RelayError as exc:
            status, _, _ = ingest.refuse(channel, exc)
            self._kernel.note(f"refused: {exc.code}")
            return status

    def accept(self, link: Link) -> None:
        """A client connects."""
        request = cast(web.Request, SimpleNamespace(transport=link.server.transport))
        socket = cast(web.WebSocketResponse, link.server)
        connection = Connection(self._context, request, socket, TOKEN)
        self.connections[connection] = None
        task = self._kernel.spawn(connection.run(), f"connection {link.number}")
        self.links[link] = task
        task.add_done_callback(lambda _: self._left(link, connection))

    async def stop(self) -> None:
        """End as `stopping.stop` does, in its order."""
        self._kernel.note("server stops")
        await self.hub.drain(DRAIN_S)
        self.up = False
        self.hub.go_away("the server restarts", GO_AWAY_S)
        if self.links:
            await asyncio.wait(list(self.links.values()), timeout=5.0)
        self._cancel()
        await self.forwards.close(0.0)
        await self.hub.close()
        await self.store.close()

    def crash(self) -> None:
        """End at once: nothing of it does anything any more."""
        self.up = False
        self._cancel()
        for task in self.links.values():
            task.cancel()
        for number in list(self.hub._served):
            self.hub._stop(number)
        for kept in self.forwards._kept.values():
            if kept.task is not None:
                kept.task.cancel()

    def readers(self) -> list[Reader]:
        """Every pump."""
        return [served.reader for served in self.hub._served.values()]

    def _make_context(self) -> Context:
        parts = {
            "settings": SETTINGS,
            "store": self.store,
            "hub": self.hub,
            "metrics": METRICS,
            "clock": self._kernel.clock,
            "rates": Rates(),
            "failures": Failures(),
            "throttle": Throttle(),
        }
        return cast(Context, SimpleNamespace(**parts))

    def _left(self, link: Link, connection: Connection) -> None:
        del self.links[link], self.connections[connection]

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _start_forwards(self) -> None:
        for subscription in await self.store.subscriptions():
            if subscription.config.forward is not None:
                self.forwards.start(subscription)

    async def _keep_house(self) -> None:
        upkeep = Upkeep(self.store, self._kernel.clock, METRICS)
        while True:
            await asyncio.sleep(1.0 if upkeep.needed() else self._upkeep_s)
            try:
                if deleted := await upkeep.run_once():
                    self._kernel.note("upkeep deleted", events=deleted)
            except RelayError:
                self._kernel.note("upkeep put off")
