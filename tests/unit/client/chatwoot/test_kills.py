"""A bot that is killed at any moment answers at most once more than meant, and never not at all.

In process, over the real file, on virtual time: at its so-manieth step (before and after each call
to Chatwoot, before and after each commit) the bot is dead. Nothing that it does from then on has an
effect, and what it had not committed is rolled back. Then another one opens the file, and whatever
was not answered 200 is posted again, as the relay does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest

from relay_client.chatwoot import Bot, BotSettings, Ledger, Reply, Talk
from tests.support.virtual_time import virtual_time
from tests.unit.client.chatwoot.chats import Chat, Desk, unix_time

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


async def live(life: Life, reply: Reply, chat: Chat, ledger: Path) -> bool:
    """Run a bot until nothing is owed; False if it was killed before."""
    settings = BotSettings(bot=9, ledger=ledger)
    bot = Bot(
        reply,
        settings,
        desk=lambda account: Desk({chat.number: chat}, life.step),
        now=unix_time,
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
                await asyncio.sleep(1)
    except Killed:
        pass
    return False


async def lives(kills: Iterable[int], reply: Reply, chat: Chat) -> list[int]:
    """How many steps bots took that are killed at these, and one after them that is not."""
    steps, writing = list[int](), Ledger.writing
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for kill in (*kills, 0):
            life = Life(kill)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Ledger, "writing", life.commits(writing))
                done = await live(life, reply, chat, Path(folder, "bot.db"))
            steps.append(life.taken)
            if done:
                break
    return steps


async def play(story: Story, *kills: int) -> tuple[Chat, list[int]]:
    """Tell a story: what came of it, and how many steps each bot took."""
    chat, loop = Chat(failing=story.failing), asyncio.get_running_loop()
    for text in story.says:
        chat.customer_says(text)
    for after_s, text in story.later:
        loop.call_later(after_s, chat.customer_says, text)
        chat.to_come += 1
    return chat, await lives(kills, story.reply, chat)


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


@pytest.mark.slow
@virtual_time
async def test_whoever_is_killed_once_at_any_step_answers_at_most_once_more() -> None:
    killed = 0
    for story in STORIES:
        chat, [steps] = await play(story)
        judge(story, chat, 0)
        for kill in range(1, steps + 1):
            chat, bots = await play(story, kill)
            judge(story, chat, 1)
            killed += len(bots) - 1
    assert killed >= KILLS
