"""A bot is killed by SIGKILL at any moment: a customer gets at most one answer more, never none.

A process as it is deployed, over real sockets, before a strict Chatwoot and behind what a relay is
to it: whoever posts each webhook, in its order, until it is answered 200. In each round a customer
writes, the bot is killed in the midst of that, and another one opens its file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web

from relay_client.chatwoot.testing import FakeChatwoot, Fault, open_chatwoot
from tests.support.processes import CLIENT, Running, free_port
from tests.support.seeds import COLUMNS, short_or_deep
from tests.support.waiting import until, until_true

KILLS = short_or_deep(12, 200)
BOT, INBOX = 9, 4
WISH = "uma pessoa, por favor"
REPLY = f"""
import asyncio

async def reply(talk):
    await asyncio.sleep(0.05)
    return None if {WISH!r} in talk.text else f"re: {{talk.text}}"
"""
WITHIN_S = 60.0


class Moment(NamedTuple):
    """When a bot is killed.

    Attributes:
        call: As Chatwoot gets this call; else some time after something happened.
        done: Once it is carried out, and before its answer.
        after: `start` of the bot, or that the customer's message was `written`, that the bot
            `heard` of it, or that it was `answered`.
        within_s: The time after that, at the most.
    """

    call: str = ""
    done: bool = False
    after: str = ""
    within_s: float = 0.0

    def __str__(self) -> str:
        if self.after:
            return f"some time after: {self.after}"
        return f"{'after' if self.done else 'before'} {self.call}"


TIMES = (
    Moment(after="start", within_s=0.5),
    Moment(after="written", within_s=0.02),
    Moment(after="heard", within_s=0.15),
    Moment(after="answered", within_s=0.02),
)
LOOKS = Moment("GET conversations/{id}")
WRITES = "POST conversations/{id}/messages"
LABELS, OPENS = "POST conversations/{id}/labels", "POST conversations/{id}/toggle_status"
OF_ANSWERS = (*TIMES, LOOKS, Moment(WRITES), Moment(WRITES, done=True))
OF_WISHES = (
    *OF_ANSWERS,
    *(Moment(call, done) for call in (LABELS, OPENS) for done in (False, True)),
)


class Relay:
    """What a relay does for a bot: it answers Chatwoot, and posts until the bot answers 200."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.held = 0
        self.taken = 0

    async def take(self, request: web.Request) -> web.Response:
        kept = {name: it for name, it in request.headers.items() if name.startswith("X-Chatwoot")}
        self.held += 1
        self._waiting.put_nowait((kept, await request.read()))
        return web.Response()

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                posted = await self._waiting.get()
                await until_true(partial(self._is_taken, session, *posted), WITHIN_S)
                self.held -= 1
                self.taken += 1

    async def _is_taken(
        self, session: aiohttp.ClientSession, headers: dict[str, str], body: bytes
    ) -> bool:
        try:
            async with session.post(f"{self._url}/webhook", data=body, headers=headers) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


class Deployment:
    """A bot that is started anew whenever it was killed, and who it answers."""

    def __init__(self, folder: Path, chatwoot: FakeChatwoot, rng: Random) -> None:
        self.chatwoot = chatwoot
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.relay = Relay(self.url)
        self.killed = Counter[str]()
        self._folder = folder
        self._rng = rng
        (folder / "killed.py").write_text(REPLY)
        self.start()

    def start(self) -> None:
        bot = self.chatwoot.bots[BOT]
        told = {
            "CHATWOOT_URL": self.chatwoot.url,
            "CHATWOOT_TOKEN": bot["access_token"],
            "CHATWOOT_BOT": str(BOT),
            "CHATWOOT_WEBHOOK_SECRET": bot["secret"],
            "BOT_LEDGER": str(self._folder / "bot.db"),
            "BOT_BURST_SECONDS": "0.02",
        }
        reply = f"{self._folder / 'killed.py'}:reply"
        command = (CLIENT, "bot", "run", reply, "--port", str(self._port))
        self.bot = Running(command, self._folder / "bot", told)

    async def round(self, number: int, text: str) -> None:
        """A customer writes, and the bot is killed; return when nothing is owed any more."""
        moment = self._rng.choice(OF_WISHES if WISH in text else OF_ANSWERS)
        self.killed[str(moment)] += 1
        if moment.call:
            call = moment.call.format(id=number)
            self.chatwoot.faults = [Fault(call, done=moment.done, then=self.bot.kill)]
        elif moment.after == "start":
            self.bot.kill()
            self.start()
        taken = self.relay.taken
        self.chatwoot.add_conversation(number)
        await self.chatwoot.customer_says(number, text)
        if not moment.call:
            if moment.after == "heard":
                await until(lambda: self.relay.taken > taken, WITHIN_S)
            elif moment.after == "answered":
                await until(lambda: self._is_answered(number), WITHIN_S)
            await asyncio.sleep(self._rng.uniform(0, moment.within_s))
            self.bot.kill()
        await until(lambda: not self.bot.alive, WITHIN_S)
        self.start()
        await until_true(self._rests, WITHIN_S)

    def _is_answered(self, number: int) -> bool:
        return bool(self.chatwoot.answers(number)) or number in self.chatwoot.handed_off

    async def _rests(self) -> bool:
        """Whether everything was heard, and nothing is owed."""
        await self.chatwoot.echoes.settled()
        try:
            async with aiohttp.request("GET", f"{self.url}/metrics") as answer:
                owes_nothing = "relay_bot_owed 0.0" in await answer.text()
        except aiohttp.ClientError:
            return False
        return owes_nothing and not self.relay.held


@asynccontextmanager
async def deployed(folder: Path, rng: Random) -> AsyncIterator[Deployment]:
    async with open_chatwoot(echoing=True) as chatwoot:
        made = chatwoot.add_bot(BOT, inbox=INBOX)
        deployment = Deployment(folder, chatwoot, rng)
        app = web.Application()
        app.router.add_post("/webhook", deployment.relay.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made["outgoing_url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
        posting = asyncio.create_task(deployment.relay.run())
        try:
            yield deployment
        finally:
            posting.cancel()
            deployment.bot.end()
            await runner.cleanup()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_bot_that_is_killed_answers_each_customer_once_or_twice(
    tmp_path: Path, rng: Random, record_property: Callable[[str, object], None]
) -> None:
    extra = 0
    async with deployed(tmp_path, rng) as deployment:
        chatwoot = deployment.chatwoot
        for number in range(1, KILLS + 1):
            wishes = rng.random() < 0.3
            text = WISH if wishes else f"pergunta {number}"
            await deployment.round(number, text)

            answers, said = chatwoot.answers(number), chatwoot.messages[number]
            notes = sum(one["private"] for one in said)
            if wishes:
                assert chatwoot.conversations[number]["status"] == "open"
                assert (answers, chatwoot.handed_off.count(number)) == ([], 1)
            else:
                assert set(answers) == {f"re: {text}"}
                assert notes == 0
            assert 1 <= len(answers) + notes <= 2, deployment.killed
            extra += len(answers) + notes - 1
    told = {"times": KILLS, "accepted": KILLS, "taken": KILLS, "duplicates": extra}
    counts = dict.fromkeys(COLUMNS, 0) | told
    record_property("verdict", {"fault": "SIGKILL of a bot", **counts})
