"""A bot that is killed at any moment answers at most once more than meant, and never not at all.

In process, over the real file, on virtual time: at its so-manieth step (before and after each call
to Chatwoot, before and after each commit) the bot is dead. Nothing that it does from then on has an
effect, and what it had not committed is rolled back. Then another one opens the file, and whatever
was not answered 200 is posted again, as the relay does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest

from relay_chatwoot import api
from relay_chatwoot.errors import ChatwootUnreachable
from relay_client.chatwoot import Bot, BotSettings, Ledger, Reply, Talk
from tests.support.virtual_time import virtual_time
from tests.unit.client.chatwoot.fixtures import changed

BEGAN_AT = 1_783_000_800.0
ROBOT = {"id": 9, "name": "Robô Pão", "type": "agent_bot"}
KILLS = 200  # at least
MEMORY = Path("/dev/shm")  # a kill takes nothing from a file: it need not be on a disk


class Killed(BaseException):
    """The process is no more."""


class Life:
    """From a start to a kill.

    Args:
        steps: It is killed at the last of these; 0 for never.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.taken = 0
        self.dead = False

    def step(self) -> None:
        """Go on, or be dead."""
        self.taken += 1
        self.dead = self.dead or self.taken == self._steps
        if self.dead:
            raise Killed

    def commits(self, writing: Callable[[Ledger], Any]) -> Callable[[Ledger], Any]:
        """The ledger's transactions, each with a step before and after its commit."""

        @contextmanager
        def stepping(ledger: Ledger) -> Iterator[apsw.Connection]:
            with writing(ledger) as db:
                yield db
                self.step()
            self.step()

        return stepping


@dataclass
class Chat:
    """The conversation 318, what is posted of it, and how often Chatwoot fails though it wrote."""

    failing: int = 0
    status: str = "pending"
    labels: tuple[str, ...] = ()
    said: list[api.LastMessage] = field(default_factory=list)
    outbox: list[bytes] = field(default_factory=list)
    to_come: int = 0

    def customer_says(self, content: str) -> None:
        """What is posted until it is answered 200."""
        self.to_come -= self.to_come > 0
        self._say(content, 0, None, private=False)

    def bot_says(self, content: str, *, private: bool) -> int:
        """Chatwoot posts a bot's own words to it, too."""
        return self._say(content, 1, ROBOT, private=private)

    def _say(self, content: str, kind: int, sender: dict[str, Any] | None, *, private: bool) -> int:
        id_ = 90_500 + len(self.said)
        by = api.Sender(9, "agent_bot") if sender else None
        message = api.LastMessage(id_, content, by, message_type=kind, private=private)
        self.said.append(message)
        fields: dict[str, Any] = {"id": id_, "content": content, "private": private}
        if sender:
            fields |= {"message_type": "outgoing", "sender": sender}
        self.outbox.append(changed("agent_bot_message_created", {"status": self.status}, **fields))
        return id_

    @property
    def answers(self) -> list[str]:
        """What the customer got."""
        return [one.content or "" for one in self.said if one.sender and not one.private]

    @property
    def heard(self) -> bool:
        """True once all was said, and posted."""
        return not self.to_come and not self.outbox

    @property
    def notes(self) -> int:
        """How many the team got."""
        return sum(one.private for one in self.said)


class Desk:
    """Chatwoot's API for the conversation; each call is a step before it, and one after it."""

    def __init__(self, chat: Chat, life: Life) -> None:
        self._chat = chat
        self._life = life

    async def conversation(self, id_: int) -> api.Conversation:
        await self._on_the_way()
        last = self._chat.said[-1]
        found = api.Conversation(id_, self._chat.status, last_non_activity_message=last)
        await self._on_the_way()
        return found

    async def write(self, id_: int, content: str, *, private: bool) -> api.Message:
        await self._on_the_way()
        written = self._chat.bot_says(content, private=private)
        await self._on_the_way()
        if self._chat.failing:
            self._chat.failing -= 1
            raise ChatwootUnreachable("chat", "POST messages", "it says 502")
        return api.Message(written)

    async def labels(self, id_: int) -> tuple[str, ...]:
        await self._on_the_way()
        return self._chat.labels

    async def set_labels(self, id_: int, labels: list[str]) -> tuple[str, ...]:
        await self._on_the_way()
        self._chat.labels = tuple(labels)
        await self._on_the_way()
        return self._chat.labels

    async def set_status(self, id_: int, status: str) -> str:
        await self._on_the_way()
        self._chat.status = status
        await self._on_the_way()
        return status

    async def assign(self, id_: int, *, team: int | None = None, user: int | None = None) -> None:
        await self._on_the_way()

    async def typing(self, id_: int, on: bool) -> None:
        await self._on_the_way()

    async def _on_the_way(self) -> None:
        await asyncio.sleep(0.1)
        self._life.step()


async def answer(talk: Talk) -> str | None:
    """Think for a while."""
    async with talk.typing():
        await asyncio.sleep(20)
    return f"re: {talk.text}"


async def give_up(talk: Talk) -> str | None:
    """Leave it to people."""
    return None


async def answer_and_give_up(talk: Talk) -> str | None:
    """Answer, and leave the rest to people."""
    talk.hand_over("a large order")
    return await answer(talk)


@dataclass(frozen=True)
class Story:
    """What customers write, what the bot does, and what is meant to come of it.

    Attributes:
        later: When they write on, in seconds; it may be answered with what came before.
        failing: How often Chatwoot writes an answer, and says that it failed.
        answers: At most, without a kill.
    """

    reply: Reply
    says: tuple[str, ...] = ("Oi!",)
    later: tuple[tuple[float, str], ...] = ()
    failing: int = 0
    answers: int = 1
    handed: bool = False


STORIES = [
    Story(answer),
    Story(answer, says=("um", "dois")),
    Story(answer, later=((23.75, "e outro"),), failing=1, answers=2),
    Story(give_up, answers=0, handed=True),
    Story(answer_and_give_up, handed=True),
]


async def live(life: Life, story: Story, chat: Chat, ledger: Path) -> bool:
    """Run a bot until nothing is owed; False if it was killed before."""
    loop = asyncio.get_running_loop()
    settings = BotSettings(bot=9, ledger=ledger)
    bot = Bot(
        story.reply,
        settings,
        desk=lambda account: Desk(chat, life),
        now=lambda: BEGAN_AT + loop.time(),
        say=lambda line: None,
    )
    try:
        async with bot:
            while not life.dead:
                while chat.outbox:
                    posted = await bot.handle({}, chat.outbox[0])
                    assert posted.status == 200
                    del chat.outbox[0]
                if not bot.ledger.open_turns() and chat.heard:
                    return True
                await asyncio.sleep(0.5)
    except Killed:
        pass
    return False


async def play(story: Story, kills: tuple[int, ...]) -> tuple[Chat, list[int]]:
    """Tell a story to bots that are killed at these steps, and to one that is not.

    Returns:
        What came of it, and how many steps each of them took.
    """
    chat, steps, loop = Chat(story.failing), list[int](), asyncio.get_running_loop()
    for text in story.says:
        chat.customer_says(text)
    for after_s, text in story.later:
        loop.call_later(after_s, chat.customer_says, text)
        chat.to_come += 1
    writing = Ledger.writing
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for kill in (*kills, 0):
            life = Life(kill)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Ledger, "writing", life.commits(writing))
                done = await live(life, story, chat, Path(folder, "bot.db"))
            steps.append(life.taken)
            if done:
                break
    return chat, steps


def judge(story: Story, chat: Chat, kills: int) -> None:
    """At most one answer more for each kill, and never none; people have what they were to have."""
    assert len(chat.answers) <= (story.answers and story.answers + kills), chat.answers
    if story.answers:
        said = (*story.says, *(text for _, text in story.later))
        assert all(any(text in one for one in chat.answers) for text in said), chat.answers
    assert (chat.status == "open") is story.handed
    assert (1 <= chat.notes <= 1 + kills) if story.handed else not chat.notes


@pytest.fixture(autouse=True)
def quietly(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that are killed tell of it when they are collected."""
    caplog.set_level("CRITICAL")


@virtual_time
async def test_whoever_is_killed_once_at_any_step_answers_at_most_once_more() -> None:
    killed = 0
    for story in STORIES:
        chat, [steps] = await play(story, ())
        judge(story, chat, 0)
        for kill in range(1, steps + 1):
            chat, lives = await play(story, (kill,))
            judge(story, chat, 1)
            killed += len(lives) - 1
    assert killed >= KILLS


@virtual_time
async def test_whoever_is_killed_again_and_again_answers_in_the_end() -> None:
    draw = random.Random(318)
    for _ in range(40):
        story = draw.choice(STORIES)
        kills = tuple(draw.randint(1, 30) for _ in range(draw.randint(2, 3)))
        chat, lives = await play(story, kills)
        judge(story, chat, len(lives) - 1)
