"""What a person sees of `relay-client connect` on a real terminal, and what is true of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.chatwoot import message
from tests.support.processes import CLIENT, clean_environment
from tests.support.relay import Relay, running
from tests.support.target import BROKEN, Target, always
from tests.support.waiting import until, until_true


class Screen:
    """A client on a terminal of so many columns, and all that it wrote."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.written = b""
        self.process = process
        self._master = master
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def lines(self) -> list[str]:
        """Lines as they stand on the screen: what a carriage return wrote over is gone."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.written.decode())
        rows = text.replace("\r\n", "\n").split("\n")
        return [row.rstrip("\r").rpartition("\r")[2].rstrip() for row in rows]

    def _read(self) -> None:
        try:
            self.written += os.read(self._master, 65_536)
        except OSError:  # nobody has its other end open any more
            asyncio.get_running_loop().remove_reader(self._master)


def _begin(slave: int, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    command: list[str | Path] = [CLIENT, "connect", *arguments]
    return subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)


@asynccontextmanager
async def screen(relay: Relay, token: str, cells: int, *arguments: str) -> AsyncIterator[Screen]:
    """A `relay-client connect` that a person looks at."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, cells, 0, 0))
    environment = clean_environment({**relay.client_environment(token), "TERM": "xterm"})
    environment["COLUMNS"] = str(cells)
    process = _begin(slave, environment, *arguments)
    os.close(slave)
    shown = Screen(master, process)
    try:
        yield shown
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def send(relay: Relay, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await relay.send(message(relay.send_token, number, number))


@pytest.mark.parametrize("cells", [60, 80])
async def test_a_large_backlog_is_one_line_and_a_summary(
    relay: Relay, target: Target, cells: int
) -> None:
    """Then lines again, none of which is wider than the screen; Ctrl-C ends it."""
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    first = await relay.connect(token, "--to", target.address)
    first.terminate()
    assert await first.exit_status() == 0
    await send(relay, 1, 130)

    async with screen(relay, token, cells, target.address) as shown:
        await target.received(130)
        await until(lambda: any("Caught up: 130 webhooks" in line for line in shown.lines))
        await send(relay, 131, 131)
        await until(lambda: any("message_created" in line for line in shown.lines))
        shown.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(shown.process.wait, 20) == 0

    lines = shown.lines
    assert any(line.startswith("130 webhooks came while you were away") for line in lines)
    assert sum("message_created" in line for line in lines) == 1
    assert max(map(len, lines)) <= cells
    assert not any("reconnecting" in line for line in lines)
    [live] = [line for line in lines if "message_created" in line]
    event = target.event_ids[-1]
    assert f"…{event[-8:]}" in live


async def test_a_failure_says_when_it_is_tried_again_or_that_it_is_dead(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    target.answer = always(BROKEN)
    async with screen(relay, token, 120, target.address) as shown:
        await until(lambda: any("Connected" in line for line in shown.lines))
        await send(relay, 1, 1)
        await until(lambda: any("the relay tries again at" in line for line in shown.lines))
        rules = ("--retry-delays", "none")
        await relay.said("subscription", "set", "chatwoot", "ana", *rules)
        await send(relay, 2, 2)
        dead = "dead after 1 attempt: relay-client replay --dead"
        await until(lambda: any(dead in line for line in shown.lines))


async def test_what_is_skipped_never_comes(relay: Relay, target: Target) -> None:
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    first = await relay.connect(token, "--to", target.address)
    first.terminate()
    assert await first.exit_status() == 0
    await send(relay, 1, 3)

    status, output, errors = await asyncio.to_thread(
        relay.client_command, token, "skip", "--yes", "--json"
    )
    assert (status, errors) == (0, "")
    assert json.loads(output)["skipped"] == 3
    async with screen(relay, token, 80, target.address) as shown:
        await until(lambda: any("Connected" in line for line in shown.lines))
        await send(relay, 4, 4)
        await target.received(1)

    assert b"came while you were away" not in shown.written
    states = [event["deliveries"][0]["state"] for event in await relay.events()]
    assert states[1:] == ["skipped"] * 3


async def test_a_temporary_subscription_goes_with_a_killed_client(
    tmp_path: Path, target: Target
) -> None:
    relay = Relay(tmp_path)
    relay.constants = [("relay_server.delivery.absence", "GRACE_S", 0.5)]

    async with running(relay):
        token = await relay.make_token("ana", "subscribe", "chatwoot")
        async with screen(relay, token, 80, target.address, "--temporary") as shown:
            await until(lambda: any("Connected" in line for line in shown.lines))
            [made] = (await relay.control("GET", "status"))["subscriptions"]
            assert (made["temporary"], made["own"]) == (True, True)
            shown.process.kill()
            await asyncio.to_thread(shown.process.wait)

        async def gone() -> bool:
            return not (await relay.control("GET", "status"))["subscriptions"]

        await until_true(gone)


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    """And nothing is said to have ended that did not begin."""
    environment = {
        "RELAY_CLIENT_URL": "http://127.0.0.1:1",
        "RELAY_CLIENT_TOKEN": "FIXTURE",
        "RELAY_CLIENT_CONFIG_DIR": str(tmp_path),
        "RELAY_CLIENT_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [CLIENT, "connect"], env={**os.environ, **environment}, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: no target is set")
