"""Everything at once, at random: customers, people, failures and kills, on virtual time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from relay_client.chatwoot import Talk
from tests.support.virtual_time import virtual_time
from tests.unit.client.chatwoot.chats import Chat, unix_time
from tests.unit.client.chatwoot.test_kills import lives

SEEDS = 20
HAPPENINGS = 10  # in a conversation
KNOWN_S = 1.5  # in which a bot has heard of what happened, and an answer of before is out


@dataclass
class Told(Chat):
    """A conversation of which it is noted who said what when.

    Attributes:
        asked: By customers, where it was the bot's turn.
        people: When somebody of the team answered (True), and when it began again (False).
        answered: By the bot.
    """

    asked: list[tuple[float, str]] = field(default_factory=list)
    people: list[tuple[float, bool]] = field(default_factory=list)
    answered: list[tuple[float, str]] = field(default_factory=list)

    def bot_says(self, content: str, *, private: bool) -> int:
        if not private:
            self.answered.append((unix_time(), content))
        return super().bot_says(content, private=private)

    def is_peoples(self, at: float) -> bool:
        """Whether somebody of the team has the conversation at a time."""
        return [it for when, it in self.people if when < at][-1:] == [True]


class Model:
    """Says what it was asked, after a while, or fails."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    async def reply(self, talk: Talk) -> str:
        await asyncio.sleep(self._draw.choice([0.1, self._draw.uniform(0, 25)]))
        if self._draw.random() < 0.15:
            raise ValueError("no model")
        return talk.text


async def happen(chat: Told, draw: random.Random) -> int:
    """Have things happen; gives how often Chatwoot failed though it wrote."""
    failures = 0
    for number in range(HAPPENINGS):
        await asyncio.sleep(draw.choice([draw.uniform(0, 3), draw.uniform(0, 50)]))
        if chat.status == "pending":
            chat.asked.append((unix_time(), f"<{number}>"))
        chat.customer_says(f"<{number}>")
        if draw.random() < 0.2:
            chat.failing += 1
            failures += 1
        if draw.random() < 0.3:
            await people_take(chat, draw)
    chat.to_come = 0
    return failures


async def people_take(chat: Told, draw: random.Random) -> None:
    """Somebody of the team answers, and ends it; then it is the bot's turn again."""
    await asyncio.sleep(draw.uniform(0, 20))
    chat.people.append((unix_time(), True))
    chat.human_says("Deixa comigo")
    await asyncio.sleep(draw.uniform(0, 20))
    chat.people.append((unix_time(), False))
    chat.ends_and_begins_again()


@pytest.fixture(autouse=True)
def quietly(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that are killed, and replies that fail, tell of it."""
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("seed", range(SEEDS))
@virtual_time
async def test_everything_at_once(seed: int) -> None:
    """Each message is answered, in order, or people have it; nobody is talked over."""
    draw, chat = random.Random(seed), Told(to_come=HAPPENINGS + 1)
    happening = asyncio.create_task(happen(chat, draw))
    kills = [draw.randint(1, 60) for _ in range(draw.randint(0, 3))]
    bots = await lives(kills, Model(draw).reply, chat)
    most = 1 + len(bots) - 1 + await happening

    for at, text in chat.asked:
        times = sum(text in answer for _, answer in chat.answered)
        is_left = chat.status == "open" or any(when >= at for when, _ in chat.people)
        assert (0 if is_left else 1) <= times <= most, text
    for at, answer in chat.answered:
        assert not chat.is_peoples(at - KNOWN_S) or not chat.is_peoples(at), answer
    said = dict.fromkeys("\n".join(answer for _, answer in chat.answered).splitlines())
    assert list(said) == sorted(said, key=lambda text: int(text[1:-1]))
