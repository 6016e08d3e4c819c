"""A relay that does what a test tells it to."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from relay_client import __version__
from relay_client.options import ask
from relay_client.settings import ClientSettings, Configuration
from relay_protocol.codec import batch, encode, unpack_client
from relay_protocol.messages import (
    ClientMessage,
    CloseCode,
    Granted,
    Hello,
    Pause,
    Result,
    Resume,
    Welcome,
)
from relay_protocol.server_session import ServerEffect, ServerSession
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery, Outcome
from relay_terminal.console import Console
from tests.support.raw_target import RECEIVED_AT, make_delivery
from tests.support.waiting import until

TOKEN = "FIXTUREtoken"


@dataclass
class FakeRelay:
    """A relay's WebSocket and JSON API, with the server's real state machine inside."""

    url: str = ""
    handshake_status: int = 0  # refuse the handshake with it
    redirect_to: str = ""
    subprotocol: str | None = "relay.v1"
    autoping: bool = True
    refusal: tuple[CloseCode, str, str] | None = None  # instead of a welcome
    backlog: int = 0
    paused: str = ""
    version: str = __version__
    resumed: list[str] = field(default_factory=list)  # paths
    batches: bool = True  # it is of a version that takes them
    verdicts: bool = False
    date: str = ""  # what its API says of the time, if not this machine's
    canary_comes: bool = True
    canary_records: bool = True
    whoami: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)  # of replays: what, and its body
    plan: dict[str, Any] = field(
        default_factory=lambda: {"at_most": 1_200, "sample": [], "complete": False}
    )
    planned: list[Any] = field(default_factory=list)  # bodies of requests for a plan alone
    answers: dict[str, Any] = field(default_factory=dict)  # instead of the usual ones, by call
    refusals: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # the same
    requests: list[dict[str, str]] = field(default_factory=list)  # headers of those to the API
    hellos: list[Hello] = field(default_factory=list)
    handshakes: list[dict[str, str]] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    settled: list[tuple[str, Outcome]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)  # how many messages were in each that came
    holds: list[int] = field(default_factory=list)
    let_go: list[int] = field(default_factory=list)

    @property
    def open(self) -> list[Connection]:
        """Connections that were welcomed and are still there."""
        return [c for c in self.connections if c.welcomed and not c.socket.closed]

    async def connected(self, times: int = 1) -> Connection:
        """Wait for a client; it may have to be a later one than the first."""
        await until(lambda: len(self.connections) >= times and self.open)
        return self.open[-1]

    async def connect(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.headers))
        if self.handshake_status:
            location = {"Location": f"{self.redirect_to or self.url}/connect"}
            return web.Response(status=self.handshake_status, headers=location)
        protocols = () if self.subprotocol is None else (self.subprotocol,)
        socket = web.WebSocketResponse(protocols=protocols, autoping=self.autoping)
        await socket.prepare(request)
        connection = Connection(self, socket, ServerSession(time.monotonic()))
        self.connections.append(connection)
        await connection.run()
        return socket

    async def dated(self, request: web.Request, answer: web.StreamResponse) -> None:
        if self.date:
            answer.headers["Date"] = self.date

    def note(self, call: str, said: dict[str, Any]) -> dict[str, Any]:
        """Note what was asked; give what is answered to it, where that is another than usually."""
        if said.get("dry_run"):
            self.planned.append(said)
            return {call: self.plan}
        self.asked.append((call, said or None))
        return {}

    async def answer(self, request: web.Request) -> web.Response:
        """The JSON API, as far as the client uses it."""
        self.requests.append(dict(request.headers))
        call = f"{request.method} {request.path}"
        bearer = request.headers.get("Authorization")
        if call == "GET /health/live":
            return web.json_response({"status": "live"})
        if call == "POST /c/canary-1/webhook" and bearer == "Bearer FIXTUREsend":
            canary = make_delivery(
                channel="canary-1", kind="relay.canary", body=await request.read()
            )
            if self.canary_comes:
                await self.open[-1].deliver(canary)
            return web.json_response({"id": "evt_1"})
        if bearer != f"Bearer {TOKEN}":
            return web.json_response(
                {"error": {"code": "unauthorized", "message": "no"}}, status=401
            )
        answers: dict[str, Any] = {
            "GET /api/v1/whoami": self.whoami,
            "GET /api/v1/channels": {"channels": [_CHANNEL]},
            "GET /api/v1/status": STATUS,
            "POST /api/v1/canary": {
                "channel": "canary-1",
                "send_token": "FIXTUREsend",
                "webhook_path": "/c/canary-1/webhook",
            },
            "POST /api/v1/replays": {"replays": [REPLAY]},
            "GET /api/v1/replays": {"replays": [REPLAY]},
            "DELETE /api/v1/replays/3": REPLAY,
            "POST /api/v1/channels/chatwoot/subscriptions/ana/resume": {
                "channel": "chatwoot",
                "name": "ana",
                "backlog": 3,
            },
            "GET /api/v1/events/evt_1": {
                "id": "evt_1",
                "attempts": [{"attempt": 1}] if self.settled and self.canary_records else [],
            },
        }
        if call in self.refusals:
            status, error = self.refusals[call]
            return web.json_response({"error": error}, status=status)
        answers |= self.answers
        if request.method == "POST" and request.path.endswith("/resume"):
            self.resumed.append(request.raw_path)
            return web.Response(status=204)
        if call == "DELETE /api/v1/canary/canary-1":
            return web.Response(status=204)
        if "replays" in call or "resume" in call:
            said = await request.json() if request.can_read_body else {}
            answers |= self.note(call, said)
        if call in answers:
            return web.json_response(answers[call])
        error = {
            "code": "not_found",
            "message": "there is no such thing",
            "hint": "Look elsewhere.",
        }
        return web.json_response({"error": error}, status=404)


class Connection:
    """One client's connection."""

    def __init__(
        self, relay: FakeRelay, socket: web.WebSocketResponse, session: ServerSession
    ) -> None:
        self.socket = socket
        self.session = session
        self.welcomed = False
        self._relay = relay

    async def run(self) -> None:
        async for frame in self.socket:
            if frame.type is WSMsgType.BINARY:
                messages = unpack_client(frame.data, batches=self.session.batches)
                self._relay.frames.append(len(messages))
                for message in messages:
                    await self.take(self.session.receive(message, time.monotonic()))

    async def deliver(self, delivery: Delivery) -> None:
        """Send a delivery, in chunks when it is not small."""
        await self.perform([self.session.deliver(delivery)])
        while (chunk := self.session.next_chunk()) is not None:
            await self.perform([chunk])

    async def deliver_at_once(self, *deliveries: Delivery) -> None:
        """Send deliveries of little size in as few frames as may be."""
        messages = [encode(self.session.deliver(one)) for one in deliveries]
        for frame in batch(messages) if self.session.batches else messages:
            await self.socket.send_bytes(frame)

    async def perform(self, effects: list[ServerEffect]) -> None:
        for effect in effects:
            match effect:
                case Close(code, reason):
                    await self.socket.close(code=code, message=reason.encode())
                case Ping():
                    pass
                case message:
                    await self.socket.send_bytes(encode(message))

    async def take(self, accepted: ClientMessage | None) -> None:
        match accepted:
            case Hello():
                await self._join(accepted)
            case Result(delivery, outcome):
                self._relay.settled.append((delivery, outcome))
            case Pause(subscription):
                self._relay.holds.append(subscription)
            case Resume(subscription):
                self._relay.let_go.append(subscription)
            case _:
                pass

    async def _join(self, hello: Hello) -> None:
        self._relay.hellos.append(hello)
        self.session.batches &= self._relay.batches
        self.session.verdicts &= self._relay.verdicts
        if self._relay.refusal is not None:
            await self.perform(self.session.refuse(*self._relay.refusal))
            return
        granted = tuple(
            Granted(
                subscription=number,
                channel=wanted.channel,
                name=wanted.name or "ana",
                created=False,
                backlog=self._relay.backlog,
                paused=self._relay.paused,
            )
            for number, wanted in enumerate(hello.subscriptions, 1)
        )
        await self.perform(self.session.welcome(Welcome(self._relay.version, 1, granted)))
        self.welcomed = True


@asynccontextmanager
async def fake_relay() -> AsyncIterator[FakeRelay]:
    """A relay on a port of its own; a test changes its attributes."""
    relay = FakeRelay()
    app = web.Application()
    app.on_response_prepare.append(relay.dated)
    app.router.add_get("/connect", relay.connect)
    app.router.add_route("*", "/{path:.*}", relay.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    relay.whoami = {
        "name": "ana",
        "scopes": ["subscribe"],
        "channels": ["chatwoot"],
        "server_version": relay.version,
    }
    try:
        yield relay
    finally:
        await runner.cleanup()


def configuration(url: str, *, folder: Path = Path(), **values: Any) -> Configuration:
    """Settings as flags would give them."""
    given = {"url": url, "token": TOKEN, **values}
    sources = dict.fromkeys(ClientSettings.declared(), "default") | dict.fromkeys(given, "flag")
    return Configuration(ClientSettings.read(given), sources, folder, colour=False)


async def asked(
    command: Any, settings: Configuration, told: Console, *, as_json: bool = False, **options: Any
) -> None:
    """Run a command that asks the relay, as its function alone."""
    await ask(command.__wrapped__, settings, told, as_json=as_json, **options)


def console() -> Console:
    """What is printed to it can be read; nobody answers questions."""
    return Console(io.StringIO(), io.StringIO())


def printed(one: Console) -> str:
    """What is on standard output."""
    assert isinstance(one.out, io.StringIO)
    return one.out.getvalue()


REPLAY = {
    "number": 3,
    "channel": "chatwoot",
    "subscription": "ana",
    "state": "running",
    "rate_per_s": 200.0,
    "at_most": 1_200,
    "delivered": 5,
    "percent": 12.5,
    "connected": False,
    "paused": "",
}
_CHANNEL = {
    "name": "chatwoot",
    "webhook_path": "/webhook",
    "sender_auth": ["token", "hmac:chatwoot"],
    "key": "chatwoot",
    "retention_days": 7,
    "max_body_bytes": 1_048_576,
    "created_at": RECEIVED_AT,
}
STATUS: dict[str, Any] = {
    "version": "1.0",
    "public_url": None,
    "uptime_s": 7200,
    "channels": [
        {"name": "chatwoot", "events": 12, "full_percent": 81.5, "last_received_at": RECEIVED_AT}
    ],
    "subscriptions": [
        {
            "channel": "chatwoot",
            "name": "ana",
            "connected": True,
            "readers": 2,
            "target_down": True,
            "paused": "the target answered 410",
            "paused_at": RECEIVED_AT,
            "paused_by": "",
            "forward": None,
            "backlog": 3,
            "oldest_waiting_at": RECEIVED_AT,
            "dead": 1,
        }
    ],
}
