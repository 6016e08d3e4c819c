"""Everything at once: whatever fails, and in whatever order, the promise holds."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.manners import MANNERS
from tests.support.processes import Running
from tests.support.seeds import short_or_deep
from tests.support.target import BROKEN, OK, Arrival, Target, open_target, say
from tests.support.trial import QUICK_LIVENESS, STRICT, Trial, open_trial

SERVICE = "service"
CLIENTS = 2
WINDOW = 32
CONCURRENCY = 8
FAULTS_EACH = 12
LEASE_PAST_S = 4.0
UNRECORDED_S = 0.5
SLOW_OR_ENDLESS = frozenset({"a gigabyte", "endless chunks", "endless header"})
MANNER_NAMES = sorted(MANNERS.keys() - SLOW_OR_ENDLESS)


class Storm:
    """A trial with two clients that share, and a forward that reads beside them.

    Attributes:
        repeats: How many events may have come again by now, to the clients' target.
        service_repeats: The same for the forward's, which has no journal.
        done: The names of the faults so far.
    """

    def __init__(self, trial: Trial, service: Target) -> None:
        self.trial = trial
        self.service = service
        self.repeats = 0
        self.service_repeats = 0
        self.done: list[str] = []
        self._rng = trial.rng
        self._live: list[Running] = []
        self._failing = 0.0

    async def begin(self) -> None:
        trial, service = self.trial, self.service
        await trial.set_policy(**STRICT)
        trial.answer_with(self._answer)
        reader = trial.ledger.reader(SERVICE)
        reader.path = "/bot"
        service.answer = reader.listening(self._answer)
        url = f"http://{service.address}{reader.path}"
        forward = {"name": SERVICE, "channel": "chatwoot", "url": url, "timeout_s": 2}
        await trial.relay.control("POST", "forwards", forward)
        for _ in range(CLIENTS):
            self._live.append(await self._connect())

    async def next_fault(self) -> None:
        faults: tuple[Callable[[], Awaitable[None]], ...] = (
            self.kill_server, self.restart_server, self.stop_server_a_while,
            self.kill_client, self.restart_client, self.stop_client_a_while,
            self.break_network, self.stop_target, self.fail, self.misbehave,
        )  # fmt: skip
        fault = self._rng.choice(faults)
        self.done.append(fault.__name__)
        await fault()

    async def end(self) -> None:
        self._failing = 0.0
        self.trial.target.saying = lambda _: say

    async def kill_server(self) -> None:
        self.trial.relay.server.kill()
        self.service_repeats += CONCURRENCY + self._unrecorded()
        await self.trial.relay.start()

    def _unrecorded(self) -> int:
        """Deliveries to the forward that a server which is killed now may not have written down.

        They are those of 0.2 s, and after a backlog these are many; a busy disk takes longer.
        """
        since = time.monotonic() - UNRECORDED_S
        return sum(arrival.at >= since for arrival in self.service.arrivals)

    async def restart_server(self) -> None:
        self.trial.relay.server.terminate()
        assert await self.trial.relay.server.exit_status() == 0
        self.service_repeats += CONCURRENCY
        await self.trial.relay.start()

    async def stop_server_a_while(self) -> None:
        await self._stop_a_while(self.trial.relay.server)
        self.service_repeats += CONCURRENCY
        self.repeats += WINDOW * CLIENTS

    async def kill_client(self) -> None:
        victim = self._rng.randrange(CLIENTS)
        self._live[victim].kill()
        self.repeats += WINDOW
        self._live[victim] = await self._connect()

    async def restart_client(self) -> None:
        victim = self._rng.randrange(CLIENTS)
        self._live[victim].terminate()
        await self._live[victim].exit_status()
        self.repeats += WINDOW
        self._live[victim] = await self._connect()

    async def stop_client_a_while(self) -> None:
        """What it holds goes to the other, and it may post it too when it goes on."""
        await self._stop_a_while(self._rng.choice(self._live))
        self.repeats += WINDOW

    async def break_network(self) -> None:
        for link in self.trial.proxy.links:
            way = self._rng.choice((link.up, link.down))
            match self._rng.choice(("cut", "cut inside", "swallow", "delay", "half-close")):
                case "cut":
                    link.cut()
                case "cut inside":
                    way.cut_after(self._rng.randrange(1, 5_000))
                case "swallow":
                    way.swallow()
                case "delay":
                    way.delay_s = self._rng.uniform(0.0, 0.3)
                case _:
                    way.half_close()
        self.repeats += WINDOW * CLIENTS  # one client's go to the other, which does not know them

    async def stop_target(self) -> None:
        self.repeats += WINDOW
        await self.trial.target.stop()
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))  # for how long is what is tested
        await self.trial.target.start()

    async def fail(self) -> None:
        self._failing = self._rng.choice((0.0, 0.2, 0.5))

    async def misbehave(self) -> None:
        often, name = self._rng.uniform(0.0, 0.3), self._rng.choice(MANNER_NAMES)

        def saying(_: Arrival) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]:
            if self._rng.random() > often:
                return say
            self.repeats += 1
            return MANNERS[name]

        self.trial.target.saying = saying

    async def _answer(self, _: Arrival) -> bytes:
        await asyncio.sleep(self._rng.uniform(0.0, 0.03))  # the work that a target does
        return BROKEN if self._rng.random() < self._failing else OK

    async def _stop_a_while(self, process: Running) -> None:
        process.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(0.0, LEASE_PAST_S))  # the time is what is tested
        finally:
            process.process.send_signal(signal.SIGCONT)

    async def _connect(self) -> Running:
        return await self.trial.connect("--share", "--timeout", "1")


@asynccontextmanager
async def open_storm(folder: Path, rng: Random) -> AsyncIterator[Storm]:
    """A storm that has begun."""
    async with (
        open_target() as service,
        open_trial(folder, rng, constants=QUICK_LIVENESS, forward_allow="127.0.0.1") as trial,
    ):
        storm = Storm(trial, service)
        await storm.begin()
        yield storm


@pytest.mark.slow
@pytest.mark.parametrize("part", range(short_or_deep(1, 20)))
async def test_whatever_fails_the_promise_holds(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    async with open_storm(tmp_path / "trial", rng) as storm:
        async with storm.trial.talking(pause_s=0.05) as talk:
            for _ in range(short_or_deep(FAULTS_EACH, 2 * FAULTS_EACH)):
                await storm.next_fault()
                await talk.accepts(20)
            await storm.end()
        times = len(storm.done)
        verdict = await storm.trial.verdict()
        judged(verdict, "everything at once", times, duplicates=storm.repeats)
        verdict = await storm.trial.verdict(SERVICE)
        repeats = storm.service_repeats + times
        judged(verdict, "everything at once, a forward", times, duplicates=repeats)
