"""A bot that runs as a server, and the Chatwoot that it answers in."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_client.chatwoot import Bot, BotSettings, Ledger, Reply, State, Talk, Turn
from relay_client.chatwoot.server import serving
from relay_client.chatwoot.testing import FakeChatwoot, open_chatwoot
from tests.support.waiting import until

QUICK_S = 0.02  # for a burst


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


@dataclass
class Shop:
    """A Chatwoot with the bot 9 in its inbox 4, and what the bot printed."""

    chatwoot: FakeChatwoot
    settings: BotSettings
    lines: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def bot(self, reply: Reply = repeat, **settings: object) -> AsyncIterator[Bot]:
        """The bot, as a server that Chatwoot posts to."""
        chosen = dataclasses.replace(self.settings, **settings)  # type: ignore[arg-type]
        async with (
            Bot(reply, chosen, say=self.lines.append) as bot,
            serving(bot, "127.0.0.1", 0, self.lines.append) as port,
        ):
            self.chatwoot.bots[9]["outgoing_url"] = f"http://127.0.0.1:{port}/webhook"
            yield bot

    async def says(self, text: str, conversation: int = 318) -> dict[str, Any]:
        """The customer of a conversation writes."""
        return await self.chatwoot.customer_says(conversation, text)

    @property
    def answers(self) -> list[str]:
        """What was said to the customer."""
        return self.chatwoot.answers(318)

    @property
    def notes(self) -> list[str]:
        """What the team alone sees."""
        return [said["content"] for said in self.chatwoot.messages[318] if said["private"]]

    async def rested(self, bot: Bot) -> None:
        """Wait until everything was posted, and the bot owes nothing."""
        await self.chatwoot.echoes.settled()
        await until(lambda: not bot.ledger.open_turns())
        await self.chatwoot.echoes.settled()


@asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    """A shop whose bot keeps its ledger in a folder."""
    async with open_chatwoot(echoing=True) as chatwoot:
        made = chatwoot.add_bot(9, inbox=4)
        chatwoot.add_conversation(318)
        settings = BotSettings(
            url=chatwoot.url,
            token=made["access_token"],
            bot=9,
            secrets=(made["secret"],),
            ledger=folder / "bot.db",
            burst_s=QUICK_S,
        )
        yield Shop(chatwoot, settings)


def ends(path: Path) -> list[tuple[State, str]]:
    """How the turns of a ledger ended that no bot has open."""
    ledger = Ledger(path)
    found: list[Turn] = ledger.settled()
    ledger.close()
    return [(turn.state, turn.reason) for turn in found]
