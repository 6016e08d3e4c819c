"""Scripts of nasty events, saved by `relay-client` and run by real shells."""

from __future__ import annotations

import asyncio
import os
import pty
from pathlib import Path

import pytest

from tests.support.nasty import NASTY
from tests.support.needs import need_program
from tests.support.processes import CLIENT, clean_environment
from tests.support.raw_target import raw_target
from tests.support.relay import Relay
from tests.support.senders import request

# What a relay takes by the same URL: bodies and headers.
BODIES = [
    event for event in NASTY.values() if event.request.request_target == "/webhook?a=%2F&b[]=1"
]


async def store(relay: Relay, number: int) -> str:
    """Post one of them: its event's id."""
    event = BODIES[number]
    fields = [(n.decode(), v.decode()) for n, v in event.headers]
    raw = request(event.request.request_target, event.body, fields, token=relay.send_token)
    return str((await relay.send(raw)).json["id"])


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_shell_sends_the_same_bytes_and_runs_nothing_else(
    relay: Relay, tmp_path: Path
) -> None:
    """The folder that it runs in, and makes its own files in, is empty afterwards."""
    token = await relay.make_token("ana", "subscribe")
    place = tmp_path / "place"
    place.mkdir()
    shells = [need_program(name, name) for name in ("bash", "dash", "zsh") if is_here(name)]
    assert len(BODIES) >= 20

    for number, event in enumerate(BODIES):
        file = tmp_path / f"{number}.sh"
        id_ = await store(relay, number)
        save = ("events", "save", id_, "--as", "curl", "--output", str(file))
        assert (await asyncio.to_thread(relay.client_command, token, *save))[0] == 0
        for shell in shells:
            async with raw_target() as target:
                url = f"http://127.0.0.1:{target.port}"
                await succeed(place, {"TARGET": url, "TMPDIR": str(place)}, shell, str(file))
            [came] = target.requests
            head, _, body = came.partition(b"\r\n\r\n")
            assert body == event.body, (number, shell)
            assert all(b"%b: %b" % (n, v) in head or not v for n, v in event.headers)
            assert list(place.iterdir()) == []


def is_here(shell: str) -> bool:
    """Whether there is such a shell; in CI there must be."""
    return os.environ.get("CI") == "true" or any(
        (Path(folder) / shell).exists() for folder in os.environ["PATH"].split(os.pathsep)
    )


async def succeed(place: Path, environment: dict[str, str], *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=place, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b""), (command, errors)


async def test_no_command_shows_a_terminal_what_steers_it(relay: Relay) -> None:
    token = await relay.make_token("ana", "subscribe")
    environment = relay.client_environment(token) | {"NO_COLOR": "1", "TERM": "xterm"}
    steering = [number for number, event in enumerate(BODIES) if b"\x1b[2J" in event.body]
    event = await store(relay, steering[0])

    for command in (["save", event], ["show", event], ["list"], ["save", event, "--as", "pytest"]):
        shown = await asyncio.to_thread(on_terminal, ["events", *command], environment)
        assert shown, command
        assert not {b"\x1b", b"\x07", b"\x9b"} & {bytes([byte]) for byte in shown}, shown


def on_terminal(arguments: list[str], environment: dict[str, str]) -> bytes:
    """What a command writes to its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(CLIENT, [str(CLIENT), *arguments], clean_environment(environment))
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4_096)
        except OSError:  # on Linux this is how a terminal ends
            break
        if not part:
            break
        shown += part
    os.waitpid(pid, 0)
    os.close(terminal)
    return shown
