"""What goes wrong, and how it is made good again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from relay_protocol.errors import RelayError
from relay_server.values import ReplayState, Selection, Subscription
from tests.simulation.clients import Machine
from tests.simulation.network import Link, Pipe
from tests.simulation.plan import FILTERS
from tests.simulation.targets import Mood, Target

if TYPE_CHECKING:
    from tests.simulation.world import World


class Chaos:
    """Draws faults from the plan's, one after another, until it is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kernel = world.kernel
        self._rng = world.kernel.rng("chaos")

    async def run(self) -> None:
        """Let things go wrong."""
        plan = self._world.plan
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / plan.fault_gap_s))
            name = self._rng.choice(plan.faults)
            fault: Callable[[], Coroutine[object, object, None]] = getattr(self, f"_{name}")
            self._kernel.note(f"fault {name}")
            self._kernel.spawn(fault(), f"fault {name}")

    # The network.

    async def _cut(self) -> None:
        for link in self._some_link():
            link.cut()

    async def _cut_later(self) -> None:
        for link in self._some_link():
            pipe = self._rng.choice((link.up, link.down))
            pipe.frames_left = self._rng.randint(0, 6)

    async def _half_open(self) -> None:
        for link in self._some_link():
            link.half_open(client_knows=self._rng.random() < 0.5)

    async def _swallow(self) -> None:
        for link in self._some_link():
            self._world.disturbances.begin(link.machine)
            self._rng.choice((link.up, link.down)).swallows = True
            self._kernel.spawn(self._until_ended(link), "swallowing")

    async def _until_ended(self, link: Link) -> None:
        """What was swallowed is missed until the connection ends."""
        while link.alive:  # noqa: ASYNC110  (an end of it has no event)
            await asyncio.sleep(1)
        self._world.disturbances.end(link.machine)

    async def _stall(self) -> None:
        for link in self._some_link():
            pipe = self._rng.choice((link.up, link.down))
            self._world.disturbances.begin(link.machine)
            await self._held(pipe)
            self._world.disturbances.end(link.machine)

    async def _held(self, pipe: Pipe) -> None:
        pipe.hold()
        try:
            await asyncio.sleep(self._rng.choice((0.5, 5.0, 20.0, 45.0)))
        finally:
            pipe.let_go()

    async def _slow_network(self) -> None:
        self._world.slow_down(self._rng.choice((0.2, 1.0, 3.0)))
        await asyncio.sleep(self._rng.uniform(1, 10))
        self._world.extra_delay_s = 0.0

    async def _unreachable(self) -> None:
        machine = self._some_machine()
        machine.reachable = False
        if machine.link is not None and self._rng.random() < 0.7:
            machine.link.cut()
        await asyncio.sleep(self._rng.uniform(0.5, 20))
        machine.reachable = True

    async def _lost_answers(self) -> None:
        self._world.answers_lost = self._rng.choice((0.2, 0.6))
        await asyncio.sleep(self._rng.uniform(1, 10))
        self._world.answers_lost = 0.0

    # The disk.

    async def _slow_disk(self) -> None:
        self._world.weather.slow_s = self._rng.choice((0.05, 0.5, 3.0))
        await asyncio.sleep(self._rng.uniform(1, 15))
        self._world.weather.slow_s = 0.0

    async def _failing_disk(self) -> None:
        self._world.weather.failing = self._rng.choice((0.2, 0.7, 1.0))
        await asyncio.sleep(self._rng.uniform(0.5, 10))
        self._world.weather.failing = 0.0

    async def _full_disk(self) -> None:
        self._world.fill_disk(full=True)
        await asyncio.sleep(self._rng.uniform(1, 15))
        self._world.fill_disk(full=False)

    # The server.

    async def _crash(self) -> None:
        await self._world.crash_server(power=self._rng.random() < 0.3)

    async def _stop(self) -> None:
        await self._world.restart_server()

    # Clients.

    async def _client_crash(self) -> None:
        machine = self._some_machine()
        machine.crash()
        await self._back(machine)

    async def _client_stop(self) -> None:
        machine = self._some_machine()
        machine.stop()
        if self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.uniform(0, 2))
            machine.crash()  # the second Ctrl-C
        await self._back(machine)

    async def _back(self, machine: Machine) -> None:
        await asyncio.sleep(self._rng.choice((0.0, 0.5, 5.0, 15.0)))
        await machine.gone()
        machine.start()

    async def _take_over(self) -> None:
        idle = [m for m in self._world.machines if not m.runs]
        if idle:
            self._rng.choice(idle).start()

    async def _sleep(self) -> None:
        """The lid is closed: nothing comes or goes, and then the date has jumped."""
        machine = self._some_machine()
        link, slept_s = machine.link, self._rng.choice((12.0, 30.0, 90.0, 3_600.0))
        machine.reachable = False
        if link is not None:
            link.half_open(client_knows=False) if slept_s > 60 else None
            self._world.disturbances.begin(machine.number)
            link.up.hold()
            link.down.hold()
        await asyncio.sleep(min(slept_s, 40.0))
        machine.jumped_s += slept_s
        machine.reachable = True
        if link is not None:
            link.up.let_go()
            link.down.let_go()
            self._world.disturbances.end(machine.number)

    async def _date_jump(self) -> None:
        """The server's date jumps; of durations, only those that readers load are to care."""
        jump_s = self._rng.choice((-3_600.0, -5.0, 5.0, 3_600.0, 86_400.0))
        self._world.judge.ahead_s += max(jump_s, 0.0)
        self._kernel.clock.start_ms += round(jump_s * 1000)

    # Targets.

    async def _target_down(self) -> None:
        target = self._some_target()
        target.fall()
        await asyncio.sleep(self._rng.choice((0.2, 3.0, 15.0)))
        target.rise()

    async def _target_fails(self) -> None:
        await self._in_mood(Mood(fails=self._rng.choice((0.2, 0.6, 1.0))))

    async def _target_slow(self) -> None:
        await self._in_mood(Mood(slow_s=self._rng.choice((1.0, 8.0, 29.0, 60.0))))

    async def _target_silent(self) -> None:
        await self._in_mood(Mood(silent=self._rng.choice((0.3, 1.0))))

    async def _target_gone(self) -> None:
        await self._in_mood(Mood(gone=True))
        await asyncio.sleep(self._rng.uniform(0, 5))
        await self._resume_all()

    async def _in_mood(self, mood: Mood) -> None:
        target = self._some_target()
        target.mood = mood
        await asyncio.sleep(self._rng.uniform(0.5, 10))
        if target.mood is mood:
            target.mood = Mood()

    # People.

    async def _replay(self) -> None:
        for subscription in await self._some_subscription():
            wanted = self._rng.choice(
                (Selection(), Selection(dead=True), Selection(last=5), Selection(first=3))
            )
            rate = self._rng.choice((2.0, 10.0, 200.0))
            await self._world.replay(subscription, wanted, rate)

    async def _stop_replay(self) -> None:
        server = self._world.server
        if server is None:
            return
        try:
            for replay in list(await server.store.replays(running=True))[:1]:
                now = self._kernel.clock.unix_ms()
                await server.store.end_replay(replay.number, ReplayState.STOPPED, now)
                self._kernel.note("replay stopped", replay=-replay.number)
        except RelayError:
            self._kernel.note("replay not stopped")

    async def _pause(self) -> None:
        for subscription in await self._some_subscription():
            await self._world.set_paused(subscription, "somebody paused it")
            await asyncio.sleep(self._rng.uniform(0.5, 8))
            await self._resume_all()

    async def _resume_all(self) -> None:
        server = self._world.server
        if server is not None:
            for subscription in await server.store.subscriptions():
                if subscription.config.paused:
                    await self._world.resume(subscription)

    async def _policy(self) -> None:
        await self._world.change_policy(self._rng)

    async def _filter(self) -> None:
        for subscription in await self._some_subscription():
            await self._world.set_filter(subscription, self._rng.choice(FILTERS))

    # Whom it hits.

    def _some_link(self) -> list[Link]:
        links = [m.link for m in self._world.machines if m.link is not None and m.link.alive]
        return [self._rng.choice(links)] if links else []

    def _some_machine(self) -> Machine:
        running = [m for m in self._world.machines if m.runs]
        return self._rng.choice(running or self._world.machines)

    def _some_target(self) -> Target:
        return self._rng.choice(self._world.targets)

    async def _some_subscription(self) -> list[Subscription]:
        server = self._world.server
        if server is None:
            return []
        known = list(await server.store.subscriptions())
        return [self._rng.choice(known)] if known else []
