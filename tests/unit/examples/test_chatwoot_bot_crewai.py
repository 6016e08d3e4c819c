"""The how-to's crew, run with a stand-in for CrewAI that has the parts it uses."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from examples.chatwoot_bot.events import Reply
from examples.chatwoot_bot.settings import load_reply
from tests.unit.examples.support import ROOT, body_of, running_bot, signed

HOW_TO = ROOT / "docs" / "how-to"
PROGRAM = HOW_TO / "crewai_reply.py"
INCOMING = body_of("message_created_incoming")


class Part:
    """An Agent or a Task: keeps what it is given."""

    def __init__(self, **given: Any) -> None:
        self.given = given


@dataclass(frozen=True, slots=True)
class CrewOutput:
    """What a run ends with."""

    raw: str


class Crew(Part):
    """Answers with its task's text when `may_end` is set; counts the runs under way."""

    may_end = threading.Event()
    lock = threading.Lock()
    running = most_running = runs = 0

    def kickoff(self, inputs: dict[str, str]) -> CrewOutput:
        with Crew.lock:
            Crew.runs += 1
            Crew.running += 1
            Crew.most_running = max(Crew.most_running, Crew.running)
        Crew.may_end.wait(20)
        with Crew.lock:
            Crew.running -= 1
        [task] = self.given["tasks"]
        return CrewOutput(raw=str(task.given["description"]).format(**inputs))


@pytest.fixture
def reply(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reply]:
    """The how-to's `reply`; its crews end at once."""
    crewai = ModuleType("crewai")
    for name, kind in {"Agent": Part, "Task": Part, "Crew": Crew}.items():
        setattr(crewai, name, kind)
    monkeypatch.setitem(sys.modules, "crewai", crewai)
    Crew.running = Crew.most_running = Crew.runs = 0
    Crew.may_end.set()
    yield load_reply(f"{PROGRAM}:reply")
    Crew.may_end.set()


def test_the_page_shows_the_file() -> None:
    """What is read is what runs."""
    page = (HOW_TO / "crewai.md").read_text(encoding="utf-8")

    assert f"```python\n{PROGRAM.read_text(encoding='utf-8')}```\n" in page


async def test_the_crew_answers(reply: Reply) -> None:
    """The customer's words go in, the crew's words come out."""
    async with running_bot(reply) as bot:
        answer = await bot.post(INCOMING)

    assert answer.status == 200
    assert "João Gonçalves da Conceição wrote: Olá, bom dia! 😀" in answer.json["did"]


async def test_attachments_alone_are_left_to_a_person(reply: Reply) -> None:
    """No crew runs for them."""
    async with running_bot(reply) as bot:
        answer = await bot.post(body_of("message_created_incoming_attachments"))

    assert answer.json["did"].endswith("no reply")
    assert Crew.runs == 0


async def test_the_bot_answers_others_while_crews_think(reply: Reply) -> None:
    """Crews block threads, not the bot, and never more threads than allowed."""
    Crew.may_end.clear()
    async with running_bot(reply) as bot, asyncio.timeout(20):
        posts = [
            asyncio.create_task(bot.post(INCOMING, signed(INCOMING, event_id=f"evt_{number}")))
            for number in range(6)
        ]
        assert (await bot.post(body_of("contact_created"))).status == 200
        assert not any(post.done() for post in posts)
        Crew.may_end.set()

        assert [(await post).status for post in posts] == [200] * 6
    assert Crew.runs == 6
    assert Crew.most_running <= 4


async def test_a_crew_that_takes_too_long_fails_the_webhook(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, so that Relay brings it again; the late answer goes nowhere."""
    monkeypatch.setitem(vars(sys.modules[reply.__module__]), "CREW_TIMEOUT_S", 0.05)
    Crew.may_end.clear()
    async with running_bot(reply) as bot:
        answer = await bot.post(INCOMING)

    assert answer.status == 500
    assert "TimeoutError" in answer.json["error"]["message"]
    assert "would answer" not in "".join(bot.lines)
