"""Commands on the host that take a while: how far they are, and a clean end by Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
from pathlib import Path

import pytest
from aiohttp import web

from relay_server.store.sqlite.database import APPLICATION_ID
from relay_terminal.beginning import INTERRUPTED
from tests.support.processes import SERVER, clean_environment


async def never(request: web.Request) -> web.Response:
    """Do it, and take longer than anybody waits."""
    if request.method == "GET":
        return web.json_response({})
    await asyncio.sleep(3_600)
    raise AssertionError


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """Of a server that is busy with whatever it is asked for."""
    lefts = iter(range(1_000, 0, -1))

    async def status(_request: web.Request) -> web.Response:
        left = next(lefts)
        index = {"indexed_to": 1_000 - left, "newest": 1_200}
        channel = {"name": "github", "events": left, "index": index}
        dead = {"name": "ana", "channel": "github", "dead": left}
        found = {"channels": [channel], "subscriptions": [dead], "store": {"sweeping": 0}}
        return web.json_response(found)

    app = web.Application()
    app.router.add_get("/api/v1/status", status)
    app.router.add_route("*", "/api/v1/{path:.*}", never)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    (tmp_path / "relay.db").touch()
    (tmp_path / "copy").write_bytes(bytes(1 << 20))
    head = b"SQLite format 3\0".ljust(68, b"\0") + APPLICATION_ID.to_bytes(4, "big")
    with (tmp_path / "backup").open("wb") as backup:
        backup.write(head)
        backup.truncate(8 << 30)  # it has holes alone, and takes no room
    await web.UnixSite(runner, str(tmp_path / "control.sock")).start()
    return tmp_path


@pytest.mark.parametrize(
    ("command", "most", "said"),
    [
        ("channel delete github --yes", "1,000", "The server goes on with it."),
        ("dead discard --all --yes", "1,000", "The server goes on with it."),
        ("index", "1,200", "The server goes on with it."),
        ("backup copy", "1", "The copy is made to its end."),
        ("restore backup --yes", "8,192", "The store is whole, and nothing half done is left."),
    ],
)
async def test_how_far_it_is_until_somebody_interrupts(
    data_dir: Path, command: str, most: str, said: str
) -> None:
    master, slave = pty.openpty()
    environment = {"RELAY_SERVER_DATA_DIR": str(data_dir), "COLUMNS": "80", "TERM": "xterm"}
    process = await asyncio.create_subprocess_exec(
        *[str(SERVER), *command.split()],
        cwd=data_dir,
        env=clean_environment(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    seen = await asyncio.to_thread(until_shown, master, re.compile(rf"[1-9]\d*/{most}"))
    process.send_signal(signal.SIGINT)
    seen += await asyncio.to_thread(rest_of, master)
    os.close(master)
    assert await process.wait() == INTERRUPTED
    assert b"\x1b[?25h" in seen, "the cursor is there again"
    assert b"Traceback" not in seen
    assert said in seen.decode()
    assert [file.name for file in data_dir.glob("relay.db*")] == ["relay.db"]


def until_shown(terminal: int, pattern: re.Pattern[str]) -> bytes:
    seen = b""
    while not pattern.search(seen.decode(errors="replace")):
        seen += os.read(terminal, 65_536)
    return seen


def rest_of(terminal: int) -> bytes:
    seen = b""
    try:
        while part := os.read(terminal, 65_536):
            seen += part
    except OSError:  # all of it was read
        pass
    return seen
