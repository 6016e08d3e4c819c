"""A bot that is away, with a strict Chatwoot: people get its conversations, once, and keep them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from relay_client.chatwoot.testing import FakeChatwoot, Fault
from relay_client.chatwoot.testing import open_chatwoot as open_fake
from tests.support.processes import free_port
from tests.support.relay import Relay, running
from tests.support.waiting import until, until_true

RECIPE = ("GET {}", "POST {}/messages", "GET {}/labels", "POST {}/labels", "POST {}/toggle_status")
WHOLE = (*RECIPE[:4], RECIPE[1], RECIPE[4], "POST {}/assignments")


class Bot:
    """A bot's port, at which nothing listens before it is back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[tuple[int, str]] = []  # conversation and content of customers' messages

    @asynccontextmanager
    async def back(self) -> AsyncIterator[None]:
        """It listens, and takes everything."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        yield
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if body.get("message_type") == "incoming":
            self.got.append((body["conversation"]["id"], body["content"]))
        return web.Response()


@asynccontextmanager
async def away(folder: Path) -> AsyncIterator[tuple[Relay, FakeChatwoot, Bot]]:
    """A relay that hands over after a second, and its Chatwoot, which posts what changes."""
    bot, relay = Bot(), Relay(folder, forward_allow="127.0.0.0/8")
    relay.constants = [("relay_server.chatwoot.away", "LOOK_S", 0.1)]
    async with open_fake(echoing=True) as fake, running(relay):
        made = fake.add_bot(9, inbox=4)
        url = f"http://relay:{relay.send_token}@127.0.0.1:{relay.port}/webhook"
        fake.add_webhook(11, url, ("message_created", "conversation_updated"))
        link = {"url": fake.url, "account": 2, "inbox": 4, "bot": 9, "token": made["access_token"]}
        await relay.control(
            "PATCH", "channels/chatwoot", {f"chatwoot_{name}": v for name, v in link.items()}
        )
        forward = {"channel": "chatwoot", "name": "bot", "url": f"http://127.0.0.1:{bot.port}/"}
        await relay.control("POST", "forwards", forward)
        given = {"away": "handoff", "away_after_s": 1, "away_say": "Já vem.", "away_team": 3}
        await relay.control("PATCH", READER, given)
        yield relay, fake, bot


READER = "channels/chatwoot/subscriptions/bot"


async def says(fake: FakeChatwoot, id_: int, *contents: str, status: str = "pending") -> None:
    if id_ not in fake.conversations:
        fake.add_conversation(id_, status)
    for content in contents:
        await fake.customer_says(id_, content)
    await fake.echoes.settled()


def calls_about(fake: FakeChatwoot, id_: int) -> list[str]:
    return [str(call) for call in fake.calls if f"conversations/{id_}" in call.path]


def recipe(id_: int) -> list[str]:
    return [call.format(f"conversations/{id_}") for call in WHOLE]


async def event_of(relay: Relay, id_: int, number: int = 0) -> Any:
    """A conversation's customer's message, the first one for 0, whole."""
    found = [
        await relay.control("GET", f"events/{event['id']}")
        for event in reversed(await relay.events())
        if event["key"] == f"2/{id_}" and event["kind"] == "message_created"
    ]
    return found[number]


async def test_people_get_what_waits_once_and_the_bot_what_they_did_not_take(
    tmp_path: Path,
) -> None:
    async with away(tmp_path) as (relay, fake, bot):
        await says(fake, 318, "Oi", "tem alguém aí?")
        await says(fake, 319, "já com gente", status="open")
        await says(fake, 320, "bolo?")
        await until(lambda: fake.handed_off == [318, 320])
        await fake.echoes.settled()
        fake.conversations[320]["status"] = "pending"  # somebody gave it back
        await says(fake, 321, "depois")  # by then what the hand-offs posted back is as old
        await until(lambda: fake.handed_off == [318, 320, 321])
        await until(lambda: calls_about(fake, 321) == recipe(321))
        for id_ in (318, 320, 321):
            assert calls_about(fake, id_) == recipe(id_)
        assert calls_about(fake, 319) == []
        assert fake.conversations[318]["labels"] == ["bot-away"]
        [note] = [m for m in fake.messages[318] if m["private"]]
        assert "has not answered since 20" in note["content"]
        assert [m["content"] for m in fake.messages[318]][-1] == "Já vem."
        assert fake.conversations[318]["meta"]["team"]["id"] == 3

        async with bot.back():
            await until_true(lambda: is_settled(relay))
        assert bot.got == [(319, "já com gente"), (320, "bolo?")]
        first = await event_of(relay, 318)
        assert [(s["step"], s["done"]) for s in first["hand_off"]] == [
            *(("note", True), ("label", True), ("say", True), ("open", True), ("assign", True)),
            *(("end", True), ("back", True)),
        ]
        for number in (0, 1):
            [delivery] = (await event_of(relay, 318, number))["deliveries"]
            assert (delivery["state"], delivery["reason"]) == (
                "skipped",
                "people have it: it is open",
            )
        assert (await relay.control("GET", READER))["handed_over"] == 2


async def is_settled(relay: Relay) -> bool:
    return await relay.backlog() == 0


@pytest.mark.parametrize("done", [False, True])
async def test_a_kill_at_any_call_repeats_nothing_and_leaves_nothing_out(
    tmp_path: Path, done: bool
) -> None:
    """The call was carried out, or was not."""
    async with away(tmp_path) as (relay, fake, bot):
        for number, call in enumerate((*RECIPE, WHOLE[-1])):
            id_ = 400 + number
            fake.faults = [
                Fault(call.format(f"conversations/{id_}"), done=done, then=relay.server.kill)
            ]
            await says(fake, id_, "Oi")
            await until(lambda: not relay.server.alive)
            await relay.start()
            await until(lambda: id_ in fake.handed_off)  # noqa: B023
            await until(lambda: fake.conversations[id_]["meta"]["team"])  # noqa: B023
            assert fake.handed_off.count(id_) == 1
            assert [m["private"] for m in fake.messages[id_]] == [False, True, False]
            assert fake.conversations[id_]["labels"] == ["bot-away"]

        async with bot.back():
            await until_true(lambda: is_settled(relay))
        assert bot.got == []


async def test_a_chatwoot_that_refuses_gets_nothing_and_its_bot_gets_all(tmp_path: Path) -> None:
    async with away(tmp_path) as (relay, fake, bot):
        refusal = b'{"error":"Invalid Access Token"}'
        fake.faults = [Fault("* conversations/*", status=401, times=99, body=refusal)]
        await says(fake, 318, "Oi")
        trouble = "Chatwoot does not know the access token"
        await relay.becomes(READER, hand_off_trouble=trouble)
        assert trouble in (await asyncio.to_thread(relay.command, "status"))[1]
        async with bot.back():
            await until_true(lambda: is_settled(relay))
        assert bot.got == [(318, "Oi")]
        assert fake.handed_off == []
        steps = (await event_of(relay, 318))["hand_off"]
        assert steps[0]["text"].startswith("given up: Chatwoot does not know")
