"""What every part of a simulation shares: one seed, one loop without a system, one trace."""

from __future__ import annotations

import asyncio
import hashlib
import random
import selectors
from collections import Counter, deque
from collections.abc import Coroutine

from tests.support.clock import VirtualClock
from tests.support.virtual_time import VirtualLoop, running_clock

KEPT_LINES = 400  # of the trace; enough to see what led to a failure


class Broken(Exception):
    """A promise was broken; the message says which."""


class _Timers(selectors.SelectSelector):
    """Lets the clock jump; no file ever has news."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer brings")
        if timeout > 0:
            self._clock.advance(timeout)
        return []


class SimLoop(VirtualLoop):
    """Virtual time, and no system calls."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        asyncio.SelectorEventLoop.__init__(self, _Timers(self.clock))

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken: there is only one thread."""


class Trace:
    """What happened, in order; the same for the same seed.

    Attributes:
        counts: How often each kind of thing happened.
        keeps_all: It keeps all of it, not only the last.
    """

    def __init__(self, *, keep_all: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.keeps_all = keep_all
        # Written out only when somebody reads it: most runs go well.
        self._notes: deque[tuple[float, str, dict[str, object]]] = deque(
            maxlen=None if keep_all else KEPT_LINES
        )

    def add(self, now: float, what: str, facts: dict[str, object]) -> None:
        """Note one thing."""
        self.counts[what] += 1
        self._notes.append((now, what, facts))

    @property
    def lines(self) -> list[str]:
        """All of it, or the end."""
        return [
            f"{now:.6f} {what}" + "".join(f" {name}={value}" for name, value in facts.items())
            for now, what, facts in self._notes
        ]

    @property
    def digest(self) -> str:
        """Two runs with the same one went the same way."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


class Kernel:
    """Made where the simulation's loop runs.

    Attributes:
        broken: Every promise that was found broken.
    """

    def __init__(self, seed: int, trace: Trace) -> None:
        self.seed = seed
        self.trace = trace
        self.clock = running_clock()
        self.loop = asyncio.get_running_loop()
        self.broken: list[str] = []
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._numbers = 0

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.clock.now

    def rng(self, name: str) -> random.Random:
        """Randomness of one part's own, so that a change of one leaves the others as they are."""
        return random.Random(f"{self.seed} {name}")

    def number(self) -> int:
        """A number that was not given before."""
        self._numbers += 1
        return self._numbers

    def note(self, what: str, **facts: object) -> None:
        """Write something into the trace, and count it."""
        self.trace.add(self.clock.now, what, facts)

    def violate(self, what: str, **facts: object) -> None:
        """A promise is broken."""
        self.note(f"BROKEN {what}", **facts)
        said = " ".join(f"{name}={value}" for name, value in facts.items())
        self.broken.append(f"{what}: {said}")

    def spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Do something beside the rest; its error is a broken promise."""
        task = self.loop.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """Cancel everything that was spawned."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.violate("a part failed", part=task.get_name(), error=repr(error))
