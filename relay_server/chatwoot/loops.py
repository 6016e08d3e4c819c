"""Tells a bot that answers its own messages from one that sends an answer in parts. No I/O.

What a bot posts comes back as a webhook, and a bot that answers that, too, goes on for ever, before
a customer's eyes. One that sends in parts looks the same by its times. What tells them apart is
whether a message comes *because* the one before it was delivered, and that can be tried. Once
`CHAIN` messages of one sender follow each other within seconds, and nothing of the customer's lies
between, what follows in that conversation is held back from one subscription for a moment:

    hold ─▶ what is under way comes, and waits, until it is quiet for longer than any pause before
        ─▶ the first that waits is delivered, alone
              ─▶ another comes soon after, and waits: a proof, and the same again
              ─▶ none: CLEARED

`PROOFS` of them, each after a quiet of twice the length, are no chance: LOOP. More than `MOST_HELD`
that come while nothing is delivered are not caused by it: CLEARED. Anything of a customer ends the
trial, and nothing is held any more.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

CHAIN = 3  # messages of one sender, one after the other, before anything is tried
WITHIN_MS = 20_000  # from one of them to the next
PROOFS = 3  # messages that came because the one before them was delivered: then it is a loop
MOST_HELD = 8  # that wait at once
MOST_QUIET_S = 60.0  # before the next one is delivered


class Said(NamedTuple):
    """A message, as its webhook came.

    Attributes:
        by: Who wrote it to the customer; empty for what the customer wrote.
    """

    sequence: int
    received_at: int
    by: str


class Verdict(enum.Enum):
    """What came of a trial."""

    LOOP = enum.auto()
    CLEARED = enum.auto()
    UNKNOWN = enum.auto()


class Chain:
    """The last messages of a conversation, for as long as one sender writes them."""

    def __init__(self) -> None:
        self.said = list[Said]()

    @property
    def by(self) -> str:
        """Whose they are."""
        return self.said[-1].by if self.said else ""

    @property
    def is_suspect(self) -> bool:
        """Whether it is time for a trial."""
        return len(self.said) == CHAIN

    def add(self, said: Said) -> None:
        """Take the next message."""
        before = self.said[-1] if self.said else None
        goes_on = (
            before is not None
            and before.by == said.by
            and said.received_at - before.received_at <= WITHIN_MS
        )
        self.said = [*(self.said if goes_on else []), said][-CHAIN:] if said.by else []

    @property
    def longest_pause_s(self) -> float:
        """Between two of them."""
        times = [one.received_at for one in self.said]
        return max((b - a for a, b in itertools.pairwise(times)), default=0) / 1_000


class _Ended(Exception):
    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class Trial:
    """Asks whether one subscription's deliveries are what a chain of messages comes from.

    Args:
        chain: That it begins with.
        release: Called with a sequence: hold back what is above it, and nothing else.
        delivered: Says whether an event was delivered before a moment, in Unix milliseconds.
    """

    def __init__(
        self,
        chain: Chain,
        release: Callable[[int], None],
        delivered: Callable[[int, int], Awaitable[bool]],
    ) -> None:
        self._last = chain.said[-1]
        self._quiet_s = _longer_than(chain.longest_pause_s)
        self._soon_s = self._quiet_s + 1.0
        self._release = release
        self._delivered = delivered
        self._heard = asyncio.Queue[Said]()
        self._held = deque[Said]()

    def hear(self, said: Said) -> None:
        """Another message of the conversation came."""
        self._heard.put_nowait(said)

    async def run(self) -> Verdict:
        """Try it: within some seconds where it is no loop, two minutes at most."""
        self._release(self._last.sequence)
        proofs = list[tuple[Said, Said]]()
        try:
            await self._answer()
            while len(proofs) < PROOFS:
                await self._until_quiet()
                cause = self._held.popleft()
                self._release(cause.sequence)
                proofs.append((cause, await self._answer()))
                self._quiet_s = min(2 * self._quiet_s, MOST_QUIET_S)
            await self._until_quiet()
        except _Ended as end:
            return end.verdict
        for cause, answer in proofs:
            if not await self._delivered(cause.sequence, answer.received_at):
                return Verdict.UNKNOWN
        return Verdict.LOOP

    async def _answer(self) -> Said:
        said = await self._next(self._soon_s)
        if said is None:
            raise _Ended(Verdict.CLEARED)
        self._hold(said)
        return said

    async def _until_quiet(self) -> None:
        """What was under way before comes, and waits; so does each part of an answer in parts."""
        while (said := await self._next(self._quiet_s)) is not None:
            pause_s = (said.received_at - self._last.received_at) / 1_000
            self._quiet_s = max(self._quiet_s, _longer_than(pause_s))
            self._hold(said)

    def _hold(self, said: Said) -> None:
        if said.by != self._last.by:
            raise _Ended(Verdict.UNKNOWN)
        self._held.append(said)
        if len(self._held) > MOST_HELD:
            raise _Ended(Verdict.CLEARED)
        self._last = said

    async def _next(self, within_s: float) -> Said | None:
        try:
            async with asyncio.timeout(within_s):
                return await self._heard.get()
        except TimeoutError:
            return None


def _longer_than(pause_s: float) -> float:
    return 1.5 * pause_s + 0.5
