"""Machines with a client and a target; clients that crash, sleep, stop and are started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from relay_client.backoff import Backoff
from relay_client.errors import ClientError
from relay_client.journal import PAUSE_S
from relay_client.notices import Connected, Notice
from relay_client.relay import Relay
from relay_client.tunnel import Tunnel
from relay_client.websocket import Socket
from relay_protocol.client_session import ClientSession
from relay_protocol.finished import FinishedInMemory, FinishedKey
from relay_protocol.messages import Granted, Hello, Wanted
from relay_protocol.values import Delivery, Response
from tests.simulation.judge import Disturbances, Judge
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link
from tests.simulation.plan import Group
from tests.simulation.targets import Poster, Target

RELAY = Relay("http://relay.test", "token")

Dial = Callable[["Machine"], Awaitable[Link]]
Subscriber = tuple[str, str]  # channel and name


class JournalDisk:
    """What a machine's journal holds, across runs of its client."""

    def __init__(self) -> None:
        self.rows: dict[Subscriber, dict[FinishedKey, Response]] = {}


class SimJournal:
    """The client's journal, with a file that is written a moment later, or not any more."""

    def __init__(self, kernel: Kernel, disk: JournalDisk) -> None:
        self._kernel = kernel
        self._disk = disk
        self._memory = FinishedInMemory()
        self._mine: list[Subscriber] = []
        self._waiting: list[tuple[Subscriber, FinishedKey, Response]] = []
        self._timer: asyncio.TimerHandle | None = None

    def open(self, granted: Sequence[Granted]) -> None:
        """Load what was added before to these subscriptions."""
        mine = sorted((g.channel, g.name) for g in granted)
        if mine == self._mine:
            return
        self._mine = mine
        rows = [row for one in mine for row in self._disk.rows.get(one, {}).items()]
        for key, response in rows:
            self._memory.remember(key, response)

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        known = self._memory.find(delivery_id, event_id, attempt)
        if known is not None or attempt == 1:
            return known
        found = [self._disk.rows.get(one, {}).get((delivery_id, event_id)) for one in self._mine]
        return next((response for response in found if response), None)

    def add(self, delivery: Delivery, response: Response) -> None:
        self._memory.add(delivery, response)
        name = next(name for channel, name in self._mine if channel == delivery.channel)
        row = (delivery.channel, name), (delivery.id, delivery.event.id), response
        self._waiting.append(row)
        if self._timer is None:
            self._timer = self._kernel.loop.call_later(PAUSE_S, self.write)

    def write(self) -> None:
        """What waits is on disk now."""
        for one, key, response in self._waiting:
            self._disk.rows.setdefault(one, {})[key] = response
        self._waiting.clear()
        self._timer = None

    def lose(self) -> None:
        """A crash: what waits is lost."""
        if self._waiting:
            self._kernel.note("journal lost its last moment", rows=len(self._waiting))
            self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()


class _SimTunnel(Tunnel):
    """The real one, but for the network."""

    dial: Callable[[], Awaitable[Link]]

    async def _dial(self) -> Socket:
        link = await self.dial()
        return cast(Socket, link.client)


class Machine:
    """A laptop.

    Attributes:
        jumped_s: How far its date is ahead.
        reachable: Its network leads to the relay.
        retired: No client is started here any more.
        link: The connection that was opened last.
    """

    def __init__(
        self,
        kernel: Kernel,
        judge: Judge,
        disturbances: Disturbances,
        number: int,
        group: Group,
        dial: Dial,
        timeout_s: float,
    ) -> None:
        self.number = number
        self.group = group
        self.target = Target(kernel, judge, number, timeout_s)
        self.link: Link | None = None
        self.reachable = True
        self.retired = False
        self.jumped_s = 0.0
        self.life = 0
        self._kernel = kernel
        self._disturbances = disturbances
        self._dial = dial
        self._rng = kernel.rng(f"machine {number}")
        self._journal_disk = JournalDisk()
        self._journal: SimJournal | None = None
        self._tunnel: Tunnel | None = None
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def session(self) -> ClientSession | None:
        """The client's, if one runs."""
        return self._session if self.runs else None

    def start(self) -> None:
        if self.runs or self.retired:
            return
        self.life += 1
        self._kernel.note("client started", machine=self.number, life=self.life)
        self._disturbances.note(self.number)
        self._journal = SimJournal(self._kernel, self._journal_disk)
        group = self.group
        how = group.name, group.since, group.share, group.filter
        wanted = tuple(Wanted(channel, *how) for channel in group.channels)
        name, is_new = f"machine-{self.number}", self.number % 2 == 0
        hello = Hello("1.0", name, wanted, group.window, batches=is_new)
        self._session = ClientSession(hello, group.concurrency, finished=self._journal)
        self._task = self._kernel.spawn(self._run(self._journal), f"client {self.number}")

    def stop(self) -> None:
        if self.runs and self._tunnel is not None:
            self._disturbances.note(self.number)
            self._tunnel.stop()

    def crash(self) -> None:
        """End the client at once; what its journal has not written is lost."""
        if self._task is None or not self.runs:
            return
        self._disturbances.note(self.number)
        if self._journal is not None:
            self._journal.lose()
        self._task.cancel()

    async def gone(self) -> None:
        """Return once no client runs here."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def wall(self) -> float:
        """The machine's date, in Unix seconds."""
        return self._kernel.clock.unix_ms() / 1000 + self.jumped_s

    async def _run(self, journal: SimJournal) -> None:
        assert self._session is not None
        tunnel = _SimTunnel(
            RELAY,
            self._session,
            dict.fromkeys(self.group.channels, Poster(self.target, self.life)),
            self._tell,
            backoff=Backoff(self._rng.uniform),
            wall=self.wall,
        )
        tunnel.dial = self._open
        self._tunnel = tunnel
        try:
            await tunnel.run()
        except ClientError as exc:
            self._kernel.note(f"client ended: {exc.code}", machine=self.number)
        finally:
            self._disturbances.joined(self.number)
            if self.link is not None and not self.link.client.lost:
                self.link.client.transport.abort()  # the system closes what a process had open
        journal.write()

    async def _open(self) -> Link:
        self.link = await self._dial(self)
        return self.link

    def _tell(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Connected):
                self._disturbances.joined(self.number)
            self._kernel.note(f"told {type(notice).__name__}", machine=self.number)
