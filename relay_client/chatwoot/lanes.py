"""Who works when: a lane for each conversation that is owed something, so many of them at once.

A lane is a task. It takes the conversation's oldest turn from the ledger, sleeps until that is due,
reads it again, and has it served; it ends when the conversation is owed nothing. So the answers of
a conversation go one after the other, and nothing is kept in memory of those that are at rest.

What a lane has slept for is due, whatever the wall clock was set to meanwhile.

While an account's lanes are held (Chatwoot does not take the token there), none of them works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from relay_client.chatwoot.events import Key
from relay_client.chatwoot.ledger import Ledger, Turn

TROUBLE_S = 5.0  # after something that should not happen, such as a full disk
LONGEST_SLEEP_S = 3_600.0  # none is due later, unless the wall clock was set back

log = logging.getLogger("relay.bot")


class Lanes:
    """The lanes of a ledger."""

    def __init__(
        self,
        ledger: Ledger,
        serve: Callable[[Turn], Awaitable[None]],
        at_once: int,
        now: Callable[[], float],
    ) -> None:
        self._held: dict[int, asyncio.Event] = {}
        self._ledger = ledger
        self._serve = serve
        self._room = asyncio.Semaphore(at_once)
        self._now = now
        self._lanes: dict[Key, asyncio.Task[None]] = {}
        self._working: set[Key] = set()
        self._stopping = False

    @property
    def working(self) -> int:
        return len(self._working)

    def wake(self, key: Key) -> None:
        """Have a lane for a conversation that is owed something."""
        if key not in self._lanes and not self._stopping:
            self._lanes[key] = asyncio.create_task(self._run(key))

    def wake_all(self) -> None:
        """Have a lane for everything that is owed, such as after a start."""
        for key in self._ledger.owed():
            self.wake(key)

    def hold(self, account: int) -> None:
        """Have none of an account work until they are let go."""
        self._held.setdefault(account, asyncio.Event())

    def let_go(self, account: int) -> None:
        """Have those of an account work again."""
        self._held.pop(account).set()

    async def stop(self, within_s: float) -> None:
        """End all lanes: those that work get some time for it, and go on after the next start."""
        self._stopping = True
        tasks = [lane for key, lane in self._lanes.items() if key in self._working]
        for key in self._lanes.keys() - self._working:
            self._lanes[key].cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        left = list(self._lanes.values())
        for lane in left:
            lane.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, key: Key) -> None:
        try:
            while not self._stopping and await self._go_on(key):
                pass
        finally:
            del self._lanes[key]

    async def _go_on(self, key: Key) -> bool:
        """Do what is next in a conversation, once it is due; False where nothing is owed."""
        try:
            turn = self._ledger.next_turn(key)
            if turn is None:
                return False
            if (wait_s := turn.due_at - self._now()) > 0:
                await asyncio.sleep(min(wait_s, LONGEST_SLEEP_S))
            if held := self._held.get(key.account):
                await held.wait()
            async with self._room:
                is_held = key.account in self._held
                if not is_held and self._ledger.next_turn(key) == turn:  # it was not put off
                    await self._work(turn)
        except Exception:  # above all of the ledger, on a full or failing disk
            log.exception("a turn cannot be served; it goes on in a while")
            await asyncio.sleep(TROUBLE_S)
        return True

    async def _work(self, turn: Turn) -> None:
        self._working.add(turn.key)
        try:
            await self._serve(turn)
        finally:
            self._working.discard(turn.key)
