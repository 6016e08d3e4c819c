"""One run: a server, its disk, clients, targets and senders, on virtual time."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
import structlog

import relay_client.tunnel
import relay_server.delivery.url.push
import relay_server.web.ingest
from relay_protocol.errors import RelayError
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.store.feed import Claimed
from relay_server.values import Appended, Selection, Subscription
from tests.simulation import verdict
from tests.simulation.chaos import Chaos
from tests.simulation.clients import Machine
from tests.simulation.disk import Kept, SimStore, Weather, at_once
from tests.simulation.judge import Disturbances, Judge, Sent
from tests.simulation.kernel import Broken, Kernel, SimLoop, Trace
from tests.simulation.network import Link
from tests.simulation.plan import Group, Plan, draw
from tests.simulation.senders import Sender
from tests.simulation.server import Replica, Server
from tests.simulation.targets import Mood, Poster, Target

FORWARD_MACHINES = 100  # numbers of the places that the server itself posts to
WATCH_S = 0.7
SETTLED_WITHIN_S = 240.0  # once nothing goes wrong any more, and all retries are due


class World:
    """All that takes part in one run.

    Attributes:
        server: None while it is down.
        asked: Replays that began.
        claims: The newest of each reader in this life of the server, and when it was told.
    """

    def __init__(self, kernel: Kernel, plan: Plan) -> None:
        self.kernel = kernel
        self.plan = plan
        self.weather = Weather()
        self.extra_delay_s = 0.0
        self.answers_lost = 0.0
        self.disturbances = Disturbances(kernel, plan.delay_s[1])
        self.kept = Kept()
        self.judge = Judge(kernel, self.disturbances, self.kept)
        self.server: Server | None = None
        self.asked: list[verdict.Asked] = []
        self.claims: dict[int, tuple[int, float]] = {}
        self._rng = kernel.rng("world")
        self._server_changes = asyncio.Lock()
        self._stores: list[SimStore] = []
        self._posts: dict[asyncio.Task[Any], None] = {}
        self.machines = [
            Machine(kernel, self.judge, self.disturbances, number, group, self.dial, plan.timeout_s)
            for number, group in enumerate(g for g in plan.groups for _ in range(g.machines))
        ]
        self._pushed = {
            name: Target(kernel, self.judge, FORWARD_MACHINES + n, plan.timeout_s)
            for n, name in enumerate(plan.forwards)
        }
        self.targets = [*(m.target for m in self.machines), *self._pushed.values()]
        self.senders = [Sender(kernel, self.judge, plan, t, self.post) for t in plan.talks]

    @property
    def store(self) -> SimStore:
        """The server's, or that of its last life."""
        return self._stores[-1]

    async def run(self) -> None:
        """Live through all of it; what was found broken is in the kernel."""
        self._prepare()
        self.start_server()
        for machine in self.machines:
            if machine.group.share or machine is self._first(machine):
                machine.start()
        sending = [self.kernel.spawn(sender.run(), "sender") for sender in self.senders]
        chaos = self.kernel.spawn(Chaos(self).run(), "chaos")
        self.kernel.spawn(self._watch(), "watch")
        await asyncio.sleep(self.plan.duration_s)
        chaos.cancel()
        await self._heal()
        await verdict.settle(self, sending, SETTLED_WITHIN_S)
        await verdict.look(self)

    # The server.

    def start_server(self) -> None:
        """Open what is on disk, and serve."""
        self.kernel.note("server started")
        store = SimStore(self.kernel, self.kept, self.weather)
        self._stores.append(store)
        self.claims.clear()
        store.feed.listen(Claimed, self._claimed)
        self.server = Server(self.kernel, store, self.plan.upkeep_s, self.plan.replicas)

    async def crash_server(self, *, power: bool) -> None:
        """It ends at once, and comes back.

        Args:
            power: The machine ends with it: nobody is told.
        """
        async with self._server_changes:
            server = self.server
            if server is None:
                return
            if self.store.pending:
                self.kernel.note("crash with unsynced loss", pending=self.store.pending)
            self.server = None
            self.store.crash()
            self._disturb_all()
            for link in list(server.links):
                if power:
                    link.half_open(client_knows=False)
                else:
                    link.cut()
            for post in list(self._posts):
                post.cancel()
            server.crash()
            await asyncio.sleep(self._rng.choice((0.0, 0.5, 5.0, 12.0)))
            self._disturb_all()
            self.start_server()

    async def restart_server(self) -> None:
        """It is asked to stop, and started again."""
        async with self._server_changes:
            server = self.server
            if server is None:
                return
            self._disturb_all()
            try:
                async with asyncio.timeout(20):
                    await server.stop()
            except (TimeoutError, RelayError):
                self.kernel.note("server did not stop in time")
            self.server = None
            self.store.crash()
            server.crash()
            for link in list(server.links):
                link.cut()
            await asyncio.sleep(self._rng.uniform(0.1, 3))
            self._disturb_all()
            self.start_server()

    def fill_disk(self, *, full: bool) -> None:
        """There is no room, or there is again."""
        self.weather.full = full
        if full:
            self.store.fill()
        else:
            self.store.heal()

    # The network.

    async def dial(self, machine: Machine) -> Link:
        """Open a connection.

        Raises:
            OSError: There is none to be had.
        """
        await asyncio.sleep(self.delay(0))
        if self.server is None or not self.server.up or not machine.reachable:
            await asyncio.sleep(self._rng.choice((0.0, 0.0, 3.0)))
            raise ConnectionRefusedError
        link = Link(
            self.kernel,
            machine.number,
            self.delay,
            lambda: self.disturbances.note(machine.number),
        )
        self.disturbances.join(machine.number)
        self.kernel.note("link opened", link=link.number, machine=machine.number)
        self.disturbances.links[machine.number] = link
        self._replica(self.server, machine.group).accept(link)
        return link

    def _replica(self, server: Server, group: Group | None = None) -> Replica:
        """Any of them; but who shares a subscription must meet at one."""
        if group is not None and group.share:
            return server.replicas[0]
        index = self._rng.randrange(len(server.replicas))
        if group is not None and index:
            self.kernel.note("connected to the second server")
        return server.replicas[index]

    def delay(self, size: int) -> float:
        """How long a frame takes; 1 MB/s."""
        low, high = self.plan.delay_s
        return self._rng.uniform(low, high) + self._rng.random() * self.extra_delay_s + size / 1e6

    def slow_down(self, extra_s: float) -> None:
        """Frames may take so much longer, for now."""
        self.extra_delay_s = extra_s
        longest_s = self.plan.delay_s[1] + extra_s
        self.disturbances.delay_s = max(self.disturbances.delay_s, longest_s)

    async def post(self, sent: Sent, target: str) -> Appended | int:
        """Take a webhook to the server.

        Raises:
            ConnectionError: There is no answer, whatever became of it.
        """
        await asyncio.sleep(self._rng.uniform(0.001, 0.02))
        server = self.server
        if server is None or not server.up:
            raise ConnectionRefusedError
        work = asyncio.ensure_future(self._replica(server).post(sent, target))
        self._posts[work] = None
        work.add_done_callback(self._posts.pop)
        try:
            answer = await asyncio.shield(work)  # the server goes on though a sender hangs up
        except asyncio.CancelledError:
            if work.cancelled():
                raise ConnectionResetError from None
            raise
        if self._rng.random() < self.answers_lost:
            self.kernel.note("answer lost")
            raise ConnectionResetError
        return answer

    # People.

    async def replay(self, subscription: Subscription, wanted: Selection, rate: float) -> None:
        server, now = self.server, self.kernel.clock.unix_ms()
        if server is None:
            return
        try:
            replay = await server.store.create_replay(subscription, wanted, rate, now)
        except RelayError as exc:
            self.kernel.note(f"no replay: {exc.code}")
            return
        self.kernel.note("replay begun", replay=-replay.number, wanted=wanted)
        channel = self.kept.catalog.channels[subscription.channel].number
        self.asked.append(verdict.asked(self.kept, replay, channel, self.kernel.now))

    async def change_policy(self, rng: random.Random) -> None:
        """A channel gets other rules."""
        server = self.server
        if server is None:
            return
        name, config = rng.choice(sorted(server.store.catalog.channels.items()))
        policy = msgspec.structs.replace(
            config.config.policy, strict_order=rng.random() < 0.5, hold_failures=rng.randint(0, 3)
        )
        self.judge.policies[name].append(policy)
        try:
            await server.store.change_channel(
                name, lambda config: msgspec.structs.replace(config, policy=policy)
            )
        except RelayError:
            return

    async def resume(self, subscription: Subscription) -> None:
        """Go on with a subscription that is paused."""
        await self.set_paused(subscription, "")

    async def set_paused(self, subscription: Subscription, reason: str) -> None:
        """Have a subscription wait until somebody resumes it."""

        def change(config: SubscriptionConfig) -> SubscriptionConfig:
            return msgspec.structs.replace(config, paused=reason)

        server = self.server
        if server is None:
            return
        try:
            changed = await server.store.change_subscription(subscription.number, change)
        except RelayError:
            self.kernel.note("not paused")
            return
        self.kernel.note("paused" if reason else "resumed", subscription=changed.number)

    async def set_filter(self, subscription: Subscription, wanted: str) -> None:
        """Have a subscription get some events only."""
        server = self.server
        if server is None:
            return
        self.judge.may_be_set(subscription.channel, subscription.name, wanted)
        try:
            await server.store.change_subscription(
                subscription.number, lambda config: config.with_filter(wanted)
            )
        except RelayError:
            self.kernel.note("no filter set")
        else:
            self.judge.was_set(subscription.channel, subscription.name, wanted)

    def poster(self, config: ForwardConfig, *_: object) -> Poster:
        """What a forward posts with."""
        name = config.url.rpartition("/")[2]
        self.disturbances.note(FORWARD_MACHINES + self.plan.forwards.index(name))
        return Poster(self._pushed[name], self.kernel.number())

    # Making and mending.

    def _prepare(self) -> None:
        now = self.kernel.clock.unix_ms()
        for name, config in self.plan.channels.items():
            at_once(self.kept.create_channel(name, config, now))
            self.judge.policies[name] = [config.policy]
            if config.ttl:
                [(_, self.judge.lifetimes[name])] = config.ttl
        for name in self.plan.forwards:
            forward = ForwardConfig(f"http://10.0.0.5/{name}", self.plan.timeout_s, 4)
            config_of = SubscriptionConfig(forward=forward)
            at_once(self.kept.subscribe(name, "service", None, now, config_of))
            self.judge.may_be_set(name, "service", "")
        for group in self.plan.groups:
            for name in group.channels:
                self.judge.may_be_set(name, group.name, group.filter or "")
                self.judge.asked_for[name, group.name] = group.filter
        for sender in self.senders:
            for target in self.targets:
                target.poison.update(sender.poison)
                target.long.update(sender.long)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            verdict.watch(self)

    async def _heal(self) -> None:
        """From now on nothing goes wrong."""
        self.kernel.note("faults stop")
        async with self._server_changes:
            self.answers_lost = self.extra_delay_s = self.weather.slow_s = 0.0
            self.weather.failing = 0.0
            self.fill_disk(full=False)
        for sender in self.senders:
            sender.stopped = True
        for target in self.targets:
            target.mood = Mood()
            target.poison.clear()
            target.rise()
        for machine in self.machines:
            machine.reachable = True
            if machine.link is not None:
                machine.link.up.let_go()
                machine.link.down.let_go()

    def _first(self, machine: Machine) -> Machine:
        return next(m for m in self.machines if m.group is machine.group)

    def _claimed(self, change: Claimed) -> None:
        known, _ = self.claims.get(change.reader, (0, 0.0))
        if change.epoch > known:
            self.claims[change.reader] = change.epoch, self.kernel.now

    def _disturb_all(self) -> None:
        for machine in self.machines:
            self.disturbances.note(machine.number)
        for number in range(len(self.plan.forwards)):
            self.disturbances.note(FORWARD_MACHINES + number)


def simulate(seed: int, *, keep_all: bool = False) -> Trace:
    """Run a seed.

    Raises:
        Broken: A promise was not kept; the message has the seed and the end of the trace.
    """
    trace = Trace(keep_all=keep_all)
    gc.disable()  # a run is short, and looking for garbage takes a seventh of it
    try:
        with asyncio.Runner(loop_factory=SimLoop) as runner:
            broken = runner.run(_simulate(seed, trace))
    except RuntimeError as exc:
        broken = [f"the run came to a standstill: {exc}"]
    finally:
        gc.enable()
    if broken:
        raise Broken(_report(seed, trace, broken))
    return trace


async def _simulate(seed: int, trace: Trace) -> list[str]:
    kernel = Kernel(seed, trace)
    kernel.loop.set_exception_handler(
        lambda _, facts: kernel.violate("the loop met an error", facts=facts)
    )
    world = World(kernel, draw(kernel.rng("plan")))
    with _patched(world):
        with suppress(Broken):  # the kernel knows why
            await world.run()
        await kernel.end()
    return kernel.broken


@contextmanager
def _patched(world: World) -> Iterator[None]:
    """Time, randomness and the outside world are the run's own."""
    kernel, state = world.kernel, random.getstate()
    before = structlog.get_config()
    random.seed(kernel.seed)
    times = SimpleNamespace(monotonic=kernel.clock.monotonic)
    ids = SimpleNamespace(uuid7=lambda: f"{kernel.number():012d}")

    def logged(_: Any, method: str, facts: MutableMapping[str, Any]) -> Any:
        event = facts.pop("event")
        error = facts.pop("exc_info", None)
        kernel.note(f"log {event}")
        if error is not None:
            kernel.violate(f"logged: {event}", error=repr(error))
        raise structlog.DropEvent

    structlog.configure(processors=[logged])
    try:
        with (
            mock.patch.object(relay_client.tunnel, "time", times),
            mock.patch.object(relay_server.web.ingest, "uuid_utils", ids),
            mock.patch.object(relay_server.delivery.url.push, "_poster", world.poster),
        ):
            yield
    finally:
        structlog.configure(**before)
        random.setstate(state)


def _report(seed: int, trace: Trace, broken: list[str]) -> str:
    lines = [
        f"seed {seed}: {broken[0]}",
        *(f"  and: {one}" for one in broken[1:5]),
        *(f"  {line}" for line in (trace.lines if trace.keeps_all else trace.lines[-80:])),
        f"run it again: python -m tests.simulation --seed {seed} --trace",
    ]
    return "\n".join(lines)
