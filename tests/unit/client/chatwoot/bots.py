"""Replies for bots that are tried out, and how their turns ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay_client.chatwoot import Ledger, State, Talk
from tests.support.waiting import until


async def repeat(talk: Talk) -> str:
    """Say what the customer said."""
    return f"You said: {talk.text}"


class Gate:
    """A reply that waits until it may end."""

    def __init__(self) -> None:
        self._asked = 0
        self._open = asyncio.Event()

    async def reply(self, talk: Talk) -> str:
        """Say what the customer said, once it may."""
        self._asked += 1
        await self._open.wait()
        return await repeat(talk)

    async def asked(self, times: int) -> None:
        """Wait until it was asked so often."""
        await until(lambda: self._asked >= times)

    def open(self) -> None:
        """Let it end."""
        self._open.set()


def ends(path: Path) -> list[tuple[State, str]]:
    """How the turns of a ledger ended that no bot has open."""
    ledger = Ledger(path)
    found = [(turn.state, turn.reason) for turn in ledger.settled()]
    ledger.close()
    return found
