"""Where deliveries go: it answers, fails, is slow, falls silent, and goes away with what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relay_http.poster import Posted
from relay_http.target import Target as Place
from relay_protocol.values import Delivery, Failure, FailureKind, Outcome, Response
from tests.simulation.judge import Judge, Visit
from tests.simulation.kernel import Kernel
from tests.simulation.plan import LONG_S

LOOK_S = 1.3


@dataclass(slots=True)
class Mood:
    """How a target is just now.

    Attributes:
        fails: How likely it answers 503.
        slow_s: An answer may take so much longer.
        silent: How likely it never answers.
        gone: It answers 410.
    """

    fails: float = 0.0
    slow_s: float = 0.0
    silent: float = 0.0
    gone: bool = False


class Target:
    """An HTTP server, as the client of its machine sees it.

    Attributes:
        poison: What it answers to some bodies, always.
        long: Bodies that it thinks about for a while.
    """

    def __init__(self, kernel: Kernel, judge: Judge, machine: int, timeout_s: float) -> None:
        self.mood = Mood()
        self.poison: dict[bytes, int] = {}
        self.long: set[bytes] = set()
        self._kernel = kernel
        self._judge = judge
        self._machine = machine
        self._timeout_s = timeout_s
        self._rng = kernel.rng(f"target {machine}")
        self._up = asyncio.Event()
        self._fell = asyncio.Event()
        self._up.set()

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def fall(self) -> None:
        """Go away, with all that is under way."""
        self._up.clear()
        self._fell.set()

    def rise(self) -> None:
        self._up.set()
        self._fell = asyncio.Event()

    async def until_up(self) -> None:
        """Return once it takes connections, and somebody looked."""
        await asyncio.sleep(self._rng.uniform(0.1, LOOK_S))
        await self._up.wait()

    async def post(self, delivery: Delivery, life: int) -> Outcome:
        """Take a request from a run of the machine's client."""
        if not self.up:
            await asyncio.sleep(0.001)
            return Failure(FailureKind.TARGET_DOWN)
        visit = self._judge.arrived(delivery, self._machine, life)
        status, takes_s = self._draw(delivery)
        try:
            outcome = await self._answer(status, takes_s)
        except asyncio.CancelledError:  # whoever posted is gone: the target may not even notice
            took = 200 <= status < 300 and self._rng.random() < 0.5
            self._judge.ended(visit, took=took, heard=False, failed=False)
            raise
        self._end(visit, outcome, status)
        return outcome

    def _draw(self, delivery: Delivery) -> tuple[int, float]:
        rng, mood = self._rng, self.mood
        takes_s = rng.uniform(0.001, 0.05) + rng.random() * mood.slow_s
        if delivery.body in self.long:
            takes_s += LONG_S
            self._kernel.note("target thinks for longer than a lease")
        if rng.random() < mood.silent:
            takes_s = 2 * self._timeout_s
        if (status := self.poison.get(delivery.body)) is not None:
            return status, takes_s
        if mood.gone:
            return 410, takes_s
        return 503 if rng.random() < mood.fails else rng.choice((200, 204)), takes_s

    async def _answer(self, status: int, takes_s: float) -> Outcome:
        try:
            async with asyncio.timeout(min(takes_s, self._timeout_s)):
                await self._fell.wait()
        except TimeoutError:
            if takes_s >= self._timeout_s:
                return Failure(FailureKind.TIMEOUT, "no answer")
            return Response(status, elapsed_ms=round(takes_s * 1000))
        return Failure(FailureKind.TARGET_LOST, "it went away")

    def _end(self, visit: Visit, outcome: Outcome, status: int) -> None:
        took = outcome.delivered
        if not took and isinstance(outcome, Failure) and 200 <= status < 300:
            took = self._rng.random() < 0.3  # it did what was asked, and could not say so
        self._kernel.note(f"target {_name(outcome)}")
        failed = not outcome.delivered
        self._judge.ended(visit, took=took, heard=outcome.delivered, failed=failed)


class Poster:
    """What one run of a client, or a forward, posts to its target with."""

    target = Place("localhost", 8000)

    def __init__(self, target: Target, life: int) -> None:
        self._target = target
        self._life = life

    def begin(self, delivery: Delivery, ended: Callable[[Posted], None]) -> None:
        """What a client posts with."""
        ended(self.post(delivery))

    async def post(self, delivery: Delivery) -> Outcome:
        return await self._target.post(delivery, self._life)

    async def until_listening(self) -> None:
        await self._target.until_up()

    async def look(self) -> str:
        """Why the target takes nothing."""
        return "" if self._target.up else "it is not there"

    def close(self) -> None:
        """There is nothing to close."""


def _name(outcome: Outcome) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else outcome.kind.value
