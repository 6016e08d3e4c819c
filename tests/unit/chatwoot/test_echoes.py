"""The fake Chatwoot's own webhooks: what one hand-off, and a bot that fails, make it post."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from relay_chatwoot.api import open_chatwoot
from relay_client.chatwoot.testing import open_chatwoot as open_fake
from tests.support.chatwoot import signature


class Receiver:
    """Takes webhooks, and answers as it is told to."""

    def __init__(self) -> None:
        self.url, self.status = "", 200
        self.came: list[tuple[web.Request, bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.came.append((request, await request.read()))
        return web.Response(status=self.status)


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/webhook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    yield receiver
    await runner.cleanup()


async def test_what_one_hand_off_posts_back() -> None:
    """Signed, each with its own delivery id, in the order of what happened."""
    async with open_receiver() as receiver, open_fake(echoing=True) as fake:
        bot = fake.add_bot(9, url=receiver.url, inbox=4)
        fake.add_conversation(318)
        await fake.customer_says(318, "tem alguém aí?")
        async with open_chatwoot(fake.url, 2, bot["access_token"]) as chatwoot:
            await chatwoot.write(318, "O robô está fora do ar.", private=True)
            await chatwoot.set_labels(318, ["bot-fora"])
            await chatwoot.set_status(318, "open")
        await fake.echoes.settled()

    assert [one.event for one in fake.echoes.posted] == [
        *("message_created", "message_created", "conversation_updated", "conversation_updated"),
        *("conversation_updated", "conversation_opened", "conversation_status_changed"),
        "conversation_updated",
    ]
    for request, body in receiver.came:
        timestamp = request.headers["X-Chatwoot-Timestamp"]
        assert request.headers["X-Chatwoot-Signature"] == signature(bot["secret"], timestamp, body)
    assert len({request.headers["X-Chatwoot-Delivery"] for request, _ in receiver.came}) == 8


@pytest.mark.parametrize(("keeps", "status"), [(False, "open"), (True, "pending")])
async def test_a_bot_that_fails(keeps: bool, status: str) -> None:
    """Three attempts under one delivery id; then the conversation is open, and nobody was told."""
    async with open_receiver() as receiver, open_fake(echoing=True) as fake:
        receiver.status = 500
        fake.settings["keep_pending_on_bot_failure"] = keeps
        fake.add_bot(9, url=receiver.url, inbox=4)
        fake.add_conversation(318)
        await fake.customer_says(318, "olá")
        await fake.echoes.settled()

    said = [request for request, body in receiver.came if b'"message_created"' in body]
    assert len(said) == 3
    assert len({request.headers["X-Chatwoot-Delivery"] for request in said}) == 1
    assert (fake.conversations[318]["status"], fake.handed_off) == (status, [])
