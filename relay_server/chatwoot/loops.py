"""Tells a bot that answers its own messages from one that sends an answer in parts. No I/O.

What a bot posts comes back as a webhook, and a bot that answers that, too, goes on for ever, before
a customer's eyes. One that sends in parts looks the same by its times. What tells them apart is
whether a message comes *because* the one before it was delivered, and that can be tried. The second
message of a bot in a row, or the third of a person, with nothing of the customer's between, is held
back, with what follows in that conversation, from every subscription that may be its cause:

    hold ─▶ what is under way comes, and waits, until it is quiet for longer than any pause before
        ─▶ the first that waits is delivered, alone
              ─▶ another comes soon after, and waits: a round, and the same again
              ─▶ none: CLEARED

With what is held first, which came after the one before was delivered, `ROUNDS` are no chance:
LOOP. Each takes a longer quiet than the one before. In the last the subscriptions get it one after
the other, so it is known which of them has the bot. More than `MOST_HELD` that come while nothing
is delivered are not caused by it: CLEARED. Anything of a customer ends the trial, and nothing is
held any more.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

ROUNDS = 3  # messages that came because the one before them was delivered: then it is a loop
WITHIN_MS = 20_000  # from one message of a sender to its next in a row
MOST_HELD = 8  # that wait at once
MOST_QUIET_S = 60.0  # before the next one is delivered
QUIETER = 3.0  # times as long as before the last round


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
    """The messages that one sender wrote in a row, in one conversation.

    Attributes:
        last: Of them.
        length: How many they are.
    """

    def __init__(self, first: Said) -> None:
        self.last = first
        self.length = 1

    def may_go_on(self, at_ms: int) -> bool:
        """Whether a message of that time is the next in the row, if its sender wrote it."""
        return bool(self.last.by) and at_ms - self.last.received_at <= WITHIN_MS

    def add(self, said: Said) -> None:
        """Take the next message."""
        goes_on = self.may_go_on(said.received_at) and said.by == self.last.by
        self.length = self.length + 1 if goes_on else 1
        self.last = said


class Suspect(Protocol):
    """A subscription whose deliveries may be what a chain of messages comes from."""

    def release(self, up_to: int) -> None:
        """Hold back what is above a sequence, and nothing else."""

    async def had(self, sequence: int, before_ms: int) -> bool:
        """Whether its target had an event before a moment, in Unix milliseconds."""

    def pause(self) -> None:
        """Deliver nothing more: its bot is in a loop."""


class _Ended(Exception):
    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class _Round(NamedTuple):
    cause: Said
    answer: Said


class Trial:
    """Asks of which subscription's deliveries a chain of messages comes, if of any.

    Attributes:
        culprit: The subscription in a loop, once it is known.
    """

    def __init__(self, first: Said, second: Said, suspects: Sequence[Suspect]) -> None:
        self.culprit: Suspect | None = None
        self._suspects = suspects
        self._rounds = [_Round(first, second)]
        pause_s = (second.received_at - first.received_at) / 1_000
        self._quiet_s = _longer_than(pause_s)
        self._soon_s = 1.5 * pause_s + 1.0
        self._heard = asyncio.Queue[Said]()
        self._last = second
        self._held = deque([second])

    def hear(self, said: Said) -> None:
        """Another message of the conversation came."""
        self._heard.put_nowait(said)

    async def run(self) -> Verdict:
        """Try it: within some seconds where it is no loop, some minutes at most."""
        try:
            while len(self._rounds) < ROUNDS - 1:
                await self._until_quiet()
                self._rounds.append(await self._round())
                self._quiet_s = min(QUIETER * self._quiet_s, MOST_QUIET_S)
            await self._until_quiet()
            self._rounds.append(await self._last_round())
            await self._until_quiet()
        except _Ended as end:
            return end.verdict
        return Verdict.LOOP if await self._is_caused() else Verdict.UNKNOWN

    async def _round(self) -> _Round:
        cause = self._held.popleft()
        for suspect in self._suspects:
            suspect.release(cause.sequence)
        if (answer := await self._next(self._soon_s)) is None:
            raise _Ended(Verdict.CLEARED)
        self._hold(answer)
        return _Round(cause, answer)

    async def _last_round(self) -> _Round:
        cause = self._held.popleft()
        for suspect in self._suspects:
            suspect.release(cause.sequence)
            if (answer := await self._next(self._soon_s)) is not None:
                self.culprit = suspect
                self._hold(answer)
                return _Round(cause, answer)
        raise _Ended(Verdict.CLEARED)

    async def _is_caused(self) -> bool:
        culprit = self.culprit
        return culprit is not None and all(
            [await culprit.had(one.cause.sequence, one.answer.received_at) for one in self._rounds]
        )

    async def _until_quiet(self) -> None:
        """What was under way before comes, and waits; so does each part of an answer in parts."""
        while (said := await self._next(self._quiet_s)) is not None:
            pause_s = (said.received_at - self._last.received_at) / 1_000
            self._quiet_s = max(self._quiet_s, min(_longer_than(pause_s), MOST_QUIET_S))
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
    return 2.0 * pause_s + 2.0
