"""A bot tried out: it runs as a server, in front of a Chatwoot that tells it of everything."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from relay_client import samples
from relay_client.chatwoot.bot import Bot
from relay_client.chatwoot.ledger import IN_MEMORY
from relay_client.chatwoot.server import serving
from relay_client.chatwoot.settings import BotSettings
from relay_client.chatwoot.talks import Reply
from relay_client.chatwoot.testing.fake import FakeChatwoot, open_chatwoot

BURST_S = 0.02  # of a trial: a customer is silent for so long before a reply is asked for
RESTS_S = 20.0  # in which a bot that is tried out must have answered everything
BOT, INBOX, CONVERSATION = 9, 4, 318
SHAPES = Path(__file__).parent / "shapes"


class Trial:
    """A Chatwoot with a bot, and a conversation that is the bot's.

    Attributes:
        settings: The bot's.
        lines: What the bot printed.
    """

    def __init__(self, chatwoot: FakeChatwoot, settings: BotSettings) -> None:
        self.chatwoot = chatwoot
        self.settings = settings
        self.lines: list[str] = []

    @asynccontextmanager
    async def running(self, reply: Reply, **settings: Any) -> AsyncIterator[Bot]:
        """Have a bot of a reply; with other settings, if some are given."""
        chosen = dataclasses.replace(self.settings, **settings)
        async with (
            Bot(reply, chosen, say=self.lines.append) as bot,
            serving(bot, "127.0.0.1", 0) as port,
        ):
            self.chatwoot.bots[BOT]["outgoing_url"] = f"http://127.0.0.1:{port}/webhook"
            yield bot

    async def says(self, text: str, conversation: int = CONVERSATION) -> dict[str, Any]:
        """The customer writes."""
        return await self.chatwoot.customer_says(conversation, text)

    async def rested(self, bot: Bot) -> None:
        """Wait until the bot was told of everything, and owes nothing.

        Raises:
            TimeoutError: It does not get there.
        """
        async with asyncio.timeout(RESTS_S):
            await self.chatwoot.echoes.settled()
            while bot.ledger.open_turns():  # noqa: ASYNC110  (the ledger has no event)
                await asyncio.sleep(BURST_S / 4)
            await self.chatwoot.echoes.settled()

    @property
    def answers(self) -> list[str]:
        """What was said to the customer, by whomever."""
        return self.chatwoot.answers(CONVERSATION)

    @property
    def notes(self) -> list[str]:
        """What the team alone sees."""
        said = self.chatwoot.messages[CONVERSATION]
        return [one["content"] for one in said if one["private"]]

    @property
    def is_handed_over(self) -> bool:
        """True once people were told that the conversation is theirs."""
        return CONVERSATION in self.chatwoot.handed_off


@asynccontextmanager
async def open_trial(ledger: Path = Path(IN_MEMORY)) -> AsyncIterator[Trial]:
    """A Chatwoot, and what a bot needs to answer in it.

    Args:
        ledger: Of the bot; by default it is forgotten with the trial.
    """
    # Loops of `unittest` tell of whatever takes longer; a library's first import does.
    asyncio.get_running_loop().slow_callback_duration = RESTS_S
    async with open_chatwoot(echoing=True) as chatwoot:
        made = chatwoot.add_bot(BOT, inbox=INBOX)
        chatwoot.add_conversation(CONVERSATION)
        settings = BotSettings(
            url=chatwoot.url,
            token=made["access_token"],
            bot=BOT,
            secrets=(made["secret"],),
            ledger=ledger,
            burst_s=BURST_S,
        )
        yield Trial(chatwoot, settings)


def shapes() -> dict[str, bytes]:
    """The webhooks that Chatwoot sends, of every shape that is known, by name."""
    own = sorted(file for file in SHAPES.glob("*.json") if file.stem != "index")
    return {name: samples.read(name) for name in samples.kinds()} | {
        file.stem: file.read_bytes() for file in own
    }
