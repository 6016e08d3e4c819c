"""The server: the real hub, pumps, connections, ingest and upkeep around a simulated store."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

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


class Replica:
    """A process of the server, which others may stand beside: what they share is the store.

    Attributes:
        hub: The real one.
        links: What its connections run over, and their tasks.
        connections: The real ones.
    """

    def __init__(self, kernel: Kernel, store: Store) -> None:
        self.hub = Hub(store, kernel.clock, METRICS)
        self.links: dict[Link, asyncio.Task[None]] = {}
        self.connections: dict[Connection, None] = {}
        self.ticking = kernel.spawn(self.hub.run(), "hub")
        self._kernel = kernel
        self._context = _make_context(kernel, store, self.hub)

    async def post(self, sent: Sent, target: str) -> Appended | int:
        """Take a webhook: where it is stored, or the status that it is refused with."""
        incoming: ingest.Incoming | None = None
        try:
            incoming = ingest.admit(
                self._context, "POST", target.encode(), sent.headers, "203.0.113.9", "https"
            )
            stored = asyncio.get_running_loop().create_future()
            ingest.store(self._context, incoming, sent.body, stored)
            appended: Appended = await stored
            return appended
        except RelayError as exc:
            asked = ingest.Asked("POST", target.encode(), sent.headers, "203.0.113.9", incoming)
            status, _, _ = ingest.refuse(self._context, asked, exc)
            self._kernel.note(f"refused: {exc.code}")
            return status

    def accept(self, link: Link) -> None:
        end: Any = link.server  # and its own transport, and what waits for that
        connection = Connection(self._context, end, end, end, TOKEN)
        self.connections[connection] = None
        task = self._kernel.spawn(connection.run(), f"connection {link.number}")
        self.links[link] = task
        task.add_done_callback(lambda _: self._left(link, connection))

    def readers(self) -> list[Reader]:
        return [served.reader for served in self.hub.readers]

    def crash(self) -> None:
        self.ticking.cancel()
        for task in self.links.values():
            task.cancel()
        for number in list(self.hub.readers._served):
            self.hub.readers.stop(number)

    def _left(self, link: Link, connection: Connection) -> None:
        del self.links[link], self.connections[connection]


class Server:
    """One life of the server.

    Attributes:
        up: It takes connections and webhooks.
        replicas: Its processes; the first also keeps house, and reads for forwards.
    """

    def __init__(self, kernel: Kernel, store: Any, upkeep_s: float, replicas: int) -> None:
        self.up = True
        self.store: Store = store
        self.replicas = [Replica(kernel, store) for _ in range(replicas)]
        self._kernel = kernel
        self._upkeep_s = upkeep_s
        self.forwards = Forwards(self.replicas[0].hub, ALLOWED, bytes)
        self._tasks = [
            kernel.spawn(self._keep_house(), "upkeep"),
            kernel.spawn(self._start_forwards(), "forwards"),
        ]

    @property
    def links(self) -> dict[Link, asyncio.Task[None]]:
        """What the connections run over, of all replicas."""
        return {link: task for one in self.replicas for link, task in one.links.items()}

    @property
    def connections(self) -> list[Connection]:
        return [connection for one in self.replicas for connection in one.connections]

    def readers(self) -> list[Reader]:
        return [reader for one in self.replicas for reader in one.readers()]

    async def stop(self) -> None:
        """End as `stopping.stop` does, in its order."""
        self._kernel.note("server stops")
        hubs = [one.hub for one in self.replicas]
        await asyncio.gather(*(hub.drain(DRAIN_S) for hub in hubs))
        self.up = False
        for hub in hubs:
            hub.go_away("the server restarts", GO_AWAY_S)
        if links := self.links:
            await asyncio.wait(list(links.values()), timeout=5.0)
        self._cancel()
        await self.forwards.close(0.0)
        for hub in hubs:
            await hub.close()
        await self.store.close()

    def crash(self) -> None:
        """End at once: nothing of it does anything any more."""
        self.up = False
        self._cancel()
        for one in self.replicas:
            one.crash()
        for kept in self.forwards._kept.values():
            if kept.task is not None:
                kept.task.cancel()

    def _cancel(self) -> None:
        for task in (*self._tasks, *(one.ticking for one in self.replicas)):
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


def _make_context(kernel: Kernel, store: Store, hub: Hub) -> Context:
    parts = {
        "settings": SETTINGS,
        "store": store,
        "hub": hub,
        "metrics": METRICS,
        "clock": kernel.clock,
        "rates": Rates(),
        "failures": Failures(),
        "throttle": Throttle(),
        "refused": lambda *_: None,  # it is noted for people
    }
    return cast(Context, SimpleNamespace(**parts))
