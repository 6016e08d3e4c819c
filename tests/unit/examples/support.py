"""The example bot and a stand-in for Chatwoot, each a real server on a port of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from examples.chatwoot_bot import handlers
from examples.chatwoot_bot.app import Receiver, make_app
from examples.chatwoot_bot.chatwoot_api import PrintedAnswers
from examples.chatwoot_bot.events import Bot, Reply, Sender
from relay_chatwoot.signature import Signatures, sign

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "relay_client" / "samples"
SECRET = "FIXTUREwebhookSECRET0001"
TOKEN = "FIXTUREtoken"


def body_of(name: str) -> bytes:
    """The raw body of a fixture, e.g. of `"message_created_incoming"`."""
    return (FIXTURES / f"{name}.json").read_bytes()


def signed(body: bytes, *, age_s: float = 0, **relay: str) -> dict[str, str]:
    """Chatwoot's headers for a body signed `age_s` ago, and Relay's: `event_id="evt_1"`."""
    timestamp = str(int(time.time() - age_s))
    return {
        "Content-Type": "application/json",
        "X-Chatwoot-Timestamp": timestamp,
        "X-Chatwoot-Signature": sign(SECRET, timestamp, body),
    } | {f"Relay-{name.replace('_', '-').title()}": value for name, value in relay.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bot answered."""

    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class RunningBot:
    """A bot that listens; `lines` is what it printed."""

    url: str
    session: aiohttp.ClientSession
    lines: list[str] = field(default_factory=list)

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Post a webhook, by default signed now."""
        headers = signed(body) if headers is None else headers
        async with self.session.post(self.url, data=body, headers=headers) as response:
            return Answer(response.status, await response.json())


@asynccontextmanager
async def running_bot(
    reply: Reply = handlers.reply,
    sender: Sender | None = None,
) -> AsyncIterator[RunningBot]:
    """Start a bot, and stop it afterwards."""
    lines: list[str] = []
    receiver = Receiver(
        bot=Bot(reply, sender or PrintedAnswers()),
        registry=handlers.registry,
        signatures=Signatures((SECRET,)),
        say=lines.append,
    )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(make_app(receiver)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield RunningBot(f"{url}/webhook", session, lines)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve an app on a free port; yields its address."""
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class FakeChatwoot:
    """Chatwoot's API for messages: keeps what it is sent, answers as `status` says."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        """Its server."""
        app = web.Application()
        path = "/api/v1/accounts/{account}/conversations/{conversation}/messages"
        app.router.add_post(path, self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        if request.headers.get("api_access_token") != TOKEN:
            return web.json_response({"error": "Invalid Access Token"}, status=401)
        if self.status != 200:
            return web.json_response({"error": "no"}, status=self.status, headers=self.headers)
        self.messages.append((request.path, await request.json()))
        return web.json_response({"id": len(self.messages)})
