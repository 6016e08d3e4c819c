"""The replies of the how-tos, run as they are by the real frameworks, with a model of ours.

Each bot is a process in an environment of its own, `.venv-adapters`, which reaches this machine
alone. A strict Chatwoot posts to it, and gets its answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from examples.fake_model import FakeModel
from relay_client.chatwoot.testing import FakeChatwoot, open_chatwoot
from tests.support.needs import lacks
from tests.support.processes import Running, free_port
from tests.support.sandbox import ROOT
from tests.support.waiting import until

PYTHON = ROOT / ".venv-adapters/bin/python"
REPLIES = ROOT / "examples/replies"
HOW_TO = ROOT / "docs/how-to"
PAGES = {
    "plain_reply": "plain-reply.md",
    "crewai_reply": "crewai.md",
    "langgraph_reply": "langgraph.md",
    "openai_agents_reply": "openai-agents.md",
}
# Some take ten seconds to start, and all is slower beside other tests.
START_S = 120.0
# A model is given up soon, and a reply asked for again at once.
HASTY = """
import {name}
from relay_client.chatwoot import turns

{name}.MODEL_TIMEOUT_S = 2.0
turns.REPLY_WAITS_S = (0.0,)
reply = {name}.reply
"""
# What the page says of CrewAI's own memory: a bot in whose conversations it leaks does not start.
REMEMBERS = """
import hashlib
from pathlib import Path
from types import SimpleNamespace

from crewai import Memory

page = Path({page!r}).read_text("utf-8")
exec(page[page.index("def scope_of(talk: Talk)"):].partition("```")[0].replace(": Talk", ""))


def embed(texts):
    return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]


def talk(number):
    return SimpleNamespace(key=SimpleNamespace(account=2, conversation=number))


def recalled(scope):
    return [found.record.content for found in memory.scope(scope).recall("cake", depth="shallow")]


memory = Memory(embedder=embed, storage={folder!r})
for number in (31, 318):
    told = dict(scope="/", categories=["cake"], importance=0.5)
    memory.scope(scope_of(talk(number))).remember(f"cake of {{number}}", **told)
memory.drain_writes()
assert len(recalled("/2/31")) == 2, "the page warns in vain"
assert recalled(scope_of(talk(31))) == ["cake of 31"]
memory.forget(scope=scope_of(talk(31)))
assert recalled(scope_of(talk(318))) == ["cake of 318"]
"""
HANDS_OVER = ("plain_reply", "openai_agents_reply")
WISH = "A person, please"
# What some fill in, where they find it in a text.
TEMPLATE = "{tools} {tool_names} {message} {input} %s"


@pytest.mark.parametrize("reply", PAGES)
def test_a_page_shows_its_file(reply: str) -> None:
    """What is read is what runs."""
    shown = (HOW_TO / PAGES[reply]).read_text("utf-8")

    assert f"```python\n{(REPLIES / reply).with_suffix('.py').read_text('utf-8')}```\n" in shown


@asynccontextmanager
async def serving(model: FakeModel) -> AsyncIterator[str]:
    runner = web.AppRunner(model.app(), shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(
    reply: str, model: FakeModel, folder: Path
) -> AsyncIterator[tuple[FakeChatwoot, Running]]:
    """A bot with one of the replies, in a hurry."""
    if not PYTHON.exists():
        lacks(f"{PYTHON.relative_to(ROOT)} (make adapters)")
    checks = REMEMBERS if reply == "crewai_reply" else ""
    checks = checks.format(page=str(HOW_TO / "crewai.md"), folder=str(folder / "memory"))
    (folder / "hasty.py").write_text(HASTY.format(name=reply) + checks)
    async with AsyncExitStack() as stack:
        chatwoot = await stack.enter_async_context(open_chatwoot(echoing=True))
        port = free_port()
        bot = chatwoot.add_bot(9, url=f"http://127.0.0.1:{port}/webhook", inbox=4)
        environment = {
            "OPENAI_BASE_URL": await stack.enter_async_context(serving(model)),
            "OPENAI_API_KEY": "none",
            "CHATWOOT_URL": chatwoot.url,
            "CHATWOOT_TOKEN": bot["access_token"],
            "CHATWOOT_WEBHOOK_SECRET": bot["secret"],
            "CHATWOOT_BOT": "9",
            "BOT_LEDGER": str(folder / "bot.db"),
            "BOT_BURST_SECONDS": "0",
            "HOME": str(folder),
            "OFFLINE_LOG": str(folder / "offline"),
            "PYTHONPATH": f"{ROOT / 'tests/support/offline'}:{ROOT}:{REPLIES}:{folder}",
        }
        command = (PYTHON, "-m", "relay_client", "bot", "run", "hasty:reply", "--port", str(port))
        running = Running(command, folder / "bot", environment)
        stack.push_async_callback(asyncio.to_thread, running.end)
        await until(lambda: str(port) in running.output or not running.alive, START_S)
        assert running.alive, running.errors
        yield chatwoot, running
    assert not (folder / "offline").exists()  # nothing else was reached for


class Caller(FakeModel):
    """One that fetches a person for whoever asks: by a tool, or by the word that it was told."""

    def answer(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        last = body["messages"][-1]
        if last["role"] != "user" or WISH not in last["content"]:
            return super().answer(body, number)
        arguments = '{"reason": "wishes it"}'
        called = {"name": "fetch_person", "arguments": arguments}
        by_tool = {"tool_calls": [{"id": "call_1", "type": "function", "function": called}]}
        said = {"content": None} | by_tool if body.get("tools") else {"content": "PERSON"}
        return {"role": "assistant"} | said


@pytest.mark.parametrize("reply", PAGES)
async def test_a_reply_answers_each_conversation_by_itself(reply: str, tmp_path: Path) -> None:
    model = Caller()
    async with answering(reply, model, tmp_path) as (chatwoot, bot):
        for number in (31, 318):
            chatwoot.add_conversation(number)
            await chatwoot.customer_says(number, f"I am {number} {TEMPLATE}")
        await until(lambda: chatwoot.answers(31) and chatwoot.answers(318), START_S)

        model.think_s = 30.0  # the next one's first try is given up
        await chatwoot.customer_says(31, "And I?")
        await until(lambda: len(model.asked) == 3, START_S)
        model.think_s = 0.0  # before the second comes, which it does at once
        await until(lambda: model.hung_up == 1, START_S)
        await until(lambda: len(chatwoot.answers(31)) == 2, START_S)
        if reply in HANDS_OVER:
            await chatwoot.customer_says(318, WISH)
            await until(lambda: chatwoot.handed_off == [318], START_S)
        bot.terminate()
        assert await bot.exit_status() == 0

    assert all("thinks nothing" in answer for answer in chatwoot.answers(31))
    first, (given_up, again) = model.asked[:2], model.asked[2:4]
    assert all(sum(f"I am {number} " in asked for number in (31, 318)) == 1 for asked in first)
    assert given_up == again
    assert again.count("I am 31 ") == again.count(chatwoot.answers(31)[0]) == 1
    assert again.count("And I?") == 1
    assert "318" not in again
    assert TEMPLATE.translate(str.maketrans("{}", "()")) in again.replace("{", "(").replace(
        "}", ")"
    )
