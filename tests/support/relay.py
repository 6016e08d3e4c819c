"""A relay-server process and its clients, as somebody at a shell has them."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.processes import CLIENT, SERVER, Json, Running, ending, free_port, run
from tests.support.senders import Answer, Connection, exchange
from tests.support.waiting import until, until_true

READY_S = 60.0

# Runs a program with other values of some constants: its package, then
# [["module", "NAME", value], …] as JSON.
WITH_CONSTANTS = """
import importlib, json, sys
program = sys.argv.pop(1)
for module, name, value in json.loads(sys.argv.pop(1)):
    constants = importlib.import_module(module)
    assert hasattr(constants, name), name
    setattr(constants, name, value)
importlib.import_module(f"{program}.cli").main()
"""


Constant = tuple[str, str, float | str]


class Relay:
    """One data dir, the server that may run on it, and clients of it.

    Attributes:
        constants: (module, name, value) of constants that the server is to have other values of.
        client_constants: The same for clients.
        server_prefix: What the server is started by: a command that takes another, such as strace.
        client_prefix: The same for clients.
        serve_options: Of `serve`.
        send_token: Good for sending to every channel.
        starts: How many seconds each start took.
        processes: Everything that was started, ended or not.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port, self.ops_port = int(settings.get("port") or free_port()), free_port()
        self.processes: list[Running] = []
        self.constants: list[Constant] = []
        self.client_constants: list[Constant] = []
        self.server_prefix: list[str | Path] = []
        self.client_prefix: list[str | Path] = []
        self.serve_options: list[str] = []
        self.send_token = ""
        self.starts: list[float] = []
        self.server: Running
        self._settings = settings
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        """Where people, senders and clients reach it."""
        return self._settings.get("public_url") or f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the server and its commands are configured by."""
        given = {
            "data_dir": str(self.data_dir),
            "port": str(self.port),
            "ops_port": str(self.ops_port),
            **self._settings,
        }
        return {f"RELAY_SERVER_{name.upper()}": value for name, value in given.items()}

    async def start(self) -> float:
        """Start the server, and return how many seconds it took to be ready."""
        began = time.monotonic()
        self.launch()
        assert await self.got_ready(), self.server.errors
        self.starts.append(time.monotonic() - began)
        return self.starts[-1]

    def launch(self) -> None:
        """Start the server, without waiting."""
        program = _program(SERVER, "relay_server", self.constants)
        command = [*self.server_prefix, *program, "serve", *self.serve_options]
        self.server = self._start(command, "server", self.environment)

    async def got_ready(self) -> bool:
        """Wait until the server is ready, or would be with a token; False if it ended before."""
        async with asyncio.timeout(READY_S):
            while await self.state() not in ("ready", "uninitialized"):
                if not self.server.alive:
                    return False
                await asyncio.sleep(0.01)  # there is nothing to wait for but the port
        return True

    async def is_ready(self) -> bool:
        """Whether its ops port says so."""
        return await self.state() == "ready"

    async def state(self) -> str:
        """What its ops port says that it is; empty while nothing answers there."""
        raw = b"GET /health/ready HTTP/1.1\r\nHost: relay\r\n\r\n"
        try:
            answer = await exchange(self.ops_port, raw)
        except (OSError, asyncio.IncompleteReadError):
            return ""
        assert (answer.status == 200) is (answer.json["status"] == "ready")
        return str(answer.json["status"])

    async def metrics(self) -> str:
        """What the ops port shows to Prometheus."""
        raw = b"GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n"
        return (await exchange(self.ops_port, raw)).body.decode()

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """Make a request through the control socket; it must succeed."""
        reader, writer = await asyncio.open_unix_connection(str(self.data_dir / "control.sock"))
        raw = b"" if body is None else json.dumps(body).encode()
        fields = f"Host: relay\r\nContent-Length: {len(raw)}\r\n\r\n"
        head = f"{method} /api/v1/{path} HTTP/1.1\r\n{fields}"
        answer = await Connection(reader, writer).exchange(head.encode() + raw)
        writer.close()
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    async def becomes(self, path: str, **fields: object) -> None:
        """Wait until what the API answers there has these fields."""

        async def is_so() -> bool:
            found = await self.control("GET", path)
            return all(found[name] == value for name, value in fields.items())

        await until_true(is_so)

    async def backlog(self) -> int:
        """How many deliveries are not settled."""
        status = await self.control("GET", "status")
        return sum(one["backlog"] for one in status["subscriptions"])

    async def make_token(self, name: str, scope: str, *channels: str) -> str:
        body = {"name": name, "scopes": [scope], "channels": list(channels) or None}
        return str((await self.control("POST", "tokens", body))["token"])

    async def knows_token(self, name: str) -> bool:
        """Whether it has heard of one, which another server of its store may have made."""
        found = (await self.control("GET", "tokens"))["tokens"]
        return name in [one["name"] for one in found]

    async def events(self, channel: str = "chatwoot") -> list[Json]:
        """All events of a channel, the newest first."""
        found: list[Json] = []
        path = f"events?limit=500&channel={channel}"  # the most that a page holds
        page = (await self.control("GET", path))["events"]
        while page:
            found += page
            page = (await self.control("GET", f"{path}&before={found[-1]['sequence']}"))["events"]
        return found

    async def send(self, raw: bytes) -> Answer:
        """Send one request on a connection of its own."""
        return await exchange(self.port, raw)

    def command(self, *arguments: str | Path, text: str | None = None) -> tuple[int, str, str]:
        """Run a relay-server command: status, stdout, stderr."""
        done = run([SERVER, *arguments], self.environment, text)
        return done.returncode, done.stdout, done.stderr

    async def said(self, *arguments: str) -> Json:
        """Run a command that must succeed with --json, and give what it printed."""
        run = await asyncio.to_thread(self.command, *arguments, "--json")
        status, output, errors = run
        assert (status, errors) == (0, ""), run
        return dict(json.loads(output))

    async def refused(self, *arguments: str, status: int = 1) -> str:
        """Run one that must fail without a result: what it says of it."""
        ended, output, errors = await asyncio.to_thread(self.command, *arguments)
        assert (ended, output, "Traceback" in errors) == (status, "", False), errors
        return errors

    def client_environment(self, token: str) -> dict[str, str]:
        """What a client of this relay is configured by."""
        return {
            "RELAY_CLIENT_URL": self.url,
            "RELAY_CLIENT_TOKEN": token,
            "RELAY_CLIENT_CONFIG_DIR": str(self.folder / "client"),
            "RELAY_CLIENT_STATE_DIR": str(self.folder / "state"),
        }

    def client_command(self, token: str, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a relay-client command: status, stdout, stderr."""
        done = run([CLIENT, *arguments], self.client_environment(token))
        return done.returncode, done.stdout, done.stderr

    def begin_connect(self, token: str, *arguments: str) -> Running:
        """Start a `relay-client connect` that prints JSON."""
        return self.begin_client(token, "connect", "--output", "json", *arguments)

    def begin_client(self, token: str, *arguments: str) -> Running:
        """Start a relay-client command, for those that this process must answer meanwhile."""
        program = _program(CLIENT, "relay_client", self.client_constants)
        command = [*self.client_prefix, *program, *arguments]
        return self._start(command, "client", self.client_environment(token))

    async def connect(self, token: str, *arguments: str) -> Running:
        """Start a client, and return once it is connected and subscribed."""
        client = self.begin_connect(token, *arguments)
        await until(lambda: client.lines("ready") or not client.alive, READY_S)
        assert client.alive, client.errors
        return client

    def _start(self, command: list[str | Path], name: str, environment: dict[str, str]) -> Running:
        process = Running(command, self.folder / f"{name}-{next(self._numbers)}", environment)
        self.processes.append(process)
        return process


def _program(script: Path, package: str, constants: list[Constant]) -> list[str | Path]:
    """The script, or the same with other values of constants."""
    if not constants:
        return [script]
    return [sys.executable, "-c", WITH_CONSTANTS, package, json.dumps(constants)]


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    """Run a relay's server, and give it the channel `chatwoot` and a token to send to it."""
    with ending(relay.processes):
        await relay.start()
        relay.send_token = await relay.make_token("sender", "send")
        yield relay


@asynccontextmanager
async def open_relay(folder: Path, **settings: str) -> AsyncIterator[Relay]:
    """A relay of its own, that runs."""
    folder.mkdir(parents=True, exist_ok=True)
    async with running(Relay(folder, **settings)) as relay:
        yield relay


async def make_reader(name: str, first: Relay, *others: Relay) -> str:
    """A token that may subscribe, which the first server of a store makes and all know."""
    token = await first.make_token(name, "subscribe")
    for relay in others:
        await until_true(partial(relay.knows_token, name))
    return token
