"""Conversations that are, or were, handed over: what is known of each, and what is written down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from relay_chatwoot.handoff import Made, Step
from relay_server.clock import Clock
from relay_server.store.interface import Store
from relay_server.values import HAND_OFF, Attempt, Channel, SubscriptionNumber

OK = 200  # of a step that is done


@dataclass(slots=True, eq=False)
class Handed:
    """A conversation that is, or was, handed over.

    Attributes:
        sequence: Of its first event that waited.
        received_at: When that came.
        made: Its steps, as they are written down.
        ended_at: When that was all, in Unix milliseconds; 0 before.
        back_at: When its bot was back; None before.
        verdict: Why the bot is not to get what waited; None before that is known.
        bots: Its bot got it after all.
    """

    key: str
    sequence: int
    received_at: int
    made: dict[Step, Made] = field(default_factory=dict)
    tries: int = 0
    ended_at: int = 0
    back_at: int | None = None
    verdict: str | None = None
    bots: bool = False
    asked_at: float = 0.0
    asking: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def conversation(self) -> int:
        return int(self.key.rpartition("/")[2])

    def note(self, attempt: Attempt) -> None:
        """Take a step as it is written down."""
        step = Step(-attempt.attempt)
        self.made[step] = Made(attempt.status == OK, attempt.text)
        if step is Step.END:
            self.ended_at = attempt.started_at
            self.ended.set()
        if step is Step.BACK:
            self.back_at = attempt.started_at


@dataclass(slots=True, eq=False)
class Watched:
    """A subscription whose conversations are handed over while its bot is away."""

    handed: dict[str, Handed] = field(default_factory=dict)  # by key
    queue: list[Handed] = field(default_factory=list)
    looked_up_to: int = 0
    again_at: float = 0.0
    trouble: str = ""

    def drop(self, one: Handed) -> None:
        """Hand it over no more, and know nothing of it."""
        if self.handed.get(one.key) is one:
            del self.handed[one.key]
        if one in self.queue:
            self.queue.remove(one)

    def has(self, one: Handed) -> bool:
        """False once its bot got it after all, or the subscription hands nothing over."""
        return self.handed.get(one.key) is one and not one.bots

    def forget(self) -> list[str]:
        """Hand nothing over any more; the keys of what was known."""
        keys = list(self.handed)
        self.handed.clear()
        return keys


class Ledger:
    """Writes steps down: they are attempts below 0 of a conversation's first event that waited."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def read(self, number: SubscriptionNumber) -> Watched:
        """What is known of a subscription.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        watched = Watched()
        for key, step in await self._store.steps(number):
            one = watched.handed.get(key)
            if one is None or one.sequence != step.sequence:
                one = watched.handed[key] = Handed(key, step.sequence, 0)
            one.note(step)
        watched.queue = [one for one in watched.handed.values() if not one.ended_at]
        return watched

    async def write(
        self, number: SubscriptionNumber, channel: Channel, one: Handed, step: Step, made: Made
    ) -> None:
        """Keep a step.

        Raises:
            SubscriptionNotFound, EventNotFound: It is gone.
            StoreUnavailable: It cannot be written now.
        """
        now, status = self._clock.unix_ms(), OK if made.done else None
        attempt = Attempt(one.sequence, -step, now, 0, HAND_OFF, status, made.text)
        if not made.done:  # at once: its bot's reader must not take it for one that is not begun
            one.note(attempt)
        await self._store.note_step(number, channel.number, attempt)
        one.note(attempt)
