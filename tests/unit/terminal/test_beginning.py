"""Ctrl-C at every moment of a command: no traceback, and a status that says so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import CLIENT, Running
from tests.support.waiting import until

LOADING = """
import os, signal
from relay_terminal.beginning import begin
{before}
begin(lambda: os.kill(os.getpid(), signal.SIGINT) or (lambda: print("ran")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(
    ("before", "status", "output"),
    [
        ("", -signal.SIGINT, ""),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)", 0, "ran\n"),  # as nohup has it
    ],
)
def test_while_a_command_is_loaded(before: str, status: int, output: str) -> None:
    command = [sys.executable, "-c", LOADING.format(before=before)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout, ended.stderr) == (status, output, "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
async def test_while_a_command_waits_for_its_answer(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        login = {"RELAY_CLIENT_URL": url, "RELAY_CLIENT_TOKEN": "t"}
        login["RELAY_CLIENT_CONFIG_DIR"] = str(tmp_path)
        command = Running([CLIENT, "whoami"], tmp_path / "whoami", login)
        try:
            await until(asked.is_set, 60.0)
            command.process.send_signal(signal.SIGINT)
            assert await command.exit_status() == 128 + signal.SIGINT
        finally:
            command.end()

    assert "Traceback" not in command.errors
