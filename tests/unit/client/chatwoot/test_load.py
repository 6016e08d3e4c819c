"""A hundred conversations at once with a slow model: each in its order, and nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

from relay_client.chatwoot import Bot, BotSettings, Key, Talk
from relay_client.chatwoot.ledger import IN_MEMORY
from tests.support.virtual_time import virtual_time
from tests.unit.client.chatwoot.chats import Chat, Desk, unix_time

CONVERSATIONS, MESSAGES = 100, 4
MODEL_S = 20.0
AT_ONCE = 60


class Model:
    """Says what it was asked, after a while.

    Attributes:
        most: It was asked so often at the same time.
    """

    def __init__(self) -> None:
        self._asked = 0
        self.most = 0

    async def reply(self, talk: Talk) -> str:
        self._asked += 1
        self.most = max(self.most, self._asked)
        await asyncio.sleep(MODEL_S)
        self._asked -= 1
        return talk.text


async def chatter(chat: Chat, draw: random.Random) -> None:
    """Write some messages, some of them while the model thinks, and some once it answered."""
    for number in range(MESSAGES):
        await asyncio.sleep(draw.uniform(0, 60))
        chat.customer_says(f"{chat.number}.{number}")


async def rested(bot: Bot, chats: Iterable[Chat]) -> None:
    """Wait until all was posted, and nothing is owed."""
    while bot.ledger.open_turns() or any(chat.outbox for chat in chats):  # noqa: ASYNC110
        await asyncio.sleep(5)


async def relay(chat: Chat, bot: Bot) -> None:
    """Post what is said, one at a time, as a relay does; some of it twice."""
    while True:
        while chat.outbox:
            body = chat.outbox.pop(0)
            for _ in range(1 + len(chat.outbox) % 2):
                began = unix_time()
                assert (await bot.handle({}, body)).status == 200
                assert unix_time() == began  # no lease has to be renewed
        await asyncio.sleep(1)


@virtual_time
async def test_who_writes_on_and_on_is_answered_in_parts() -> None:
    """A reply is thrown away where the customer wrote on, but not for ever."""
    chat, model = Chat(), Model()
    settings = BotSettings(bot=9, ledger=Path(IN_MEMORY))
    bot = Bot(model.reply, settings, desk=lambda account: Desk({318: chat}), now=unix_time)
    said = [f"318.{number}" for number in range(20)]
    async with bot:
        posting = asyncio.create_task(relay(chat, bot))
        for text in said:
            chat.customer_says(text)
            await asyncio.sleep(MODEL_S / 2)
        await rested(bot, [chat])
        posting.cancel()

    assert "\n".join(chat.answers).splitlines() == said
    assert len(chat.answers) == 3


@virtual_time
async def test_a_hundred_conversations_with_a_model_that_takes_twenty_seconds() -> None:
    chats = {number: Chat(number) for number in range(1, CONVERSATIONS + 1)}
    draw, model = random.Random(20), Model()
    settings = BotSettings(bot=9, ledger=Path(IN_MEMORY), at_once=AT_ONCE)
    bot = Bot(
        model.reply,
        settings,
        desk=lambda account: Desk(chats),
        now=unix_time,
        say=lambda line: None,
    )
    async with bot:
        posting = [asyncio.create_task(relay(chat, bot)) for chat in chats.values()]
        await asyncio.gather(*(chatter(chat, draw) for chat in chats.values()))
        await rested(bot, chats.values())
        for task in posting:
            task.cancel()
        await asyncio.gather(*posting, return_exceptions=True)
        at_rest = len(asyncio.all_tasks())
        history = bot.memory.history

        for number, chat in chats.items():
            said = [f"{number}.{count}" for count in range(MESSAGES)]
            assert "\n".join(chat.answers).splitlines() == said
            told = [line.text for line in history(Key(2, number)) if line.author == "bot"]
            assert told == chat.answers
    assert AT_ONCE // 2 < model.most <= AT_ONCE
    assert at_rest < 10  # nothing is kept of conversations that are at rest
