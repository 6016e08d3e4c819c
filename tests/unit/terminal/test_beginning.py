"""Ctrl-C at every moment of a command: no traceback, and a status that says so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay_terminal.beginning import INTERRUPTED, begin
from tests.support.processes import CLIENT, Running, stat_of
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
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)

    assert (ended.returncode, ended.stdout, ended.stderr) == (status, output, "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_while_a_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of giving Ctrl-C back to the system."""
    set_handler, asked = signal.signal, list[object]()

    def interrupted(number: int, handler: Any) -> Any:
        asked.append(handler)
        if asked.count(signal.SIG_DFL) == 2:  # the first is before anything is loaded
            asked.append("Ctrl-C")
            raise KeyboardInterrupt
        return set_handler(number, handler)

    before = signal.getsignal(signal.SIGINT)
    set_handler(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(signal, "signal", interrupted)
    try:
        with pytest.raises(SystemExit) as ended:
            begin(lambda: lambda: None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        set_handler(signal.SIGINT, before)

    assert ended.value.code == INTERRUPTED
    assert asked[-2:] == ["Ctrl-C", signal.SIG_DFL]


@pytest.mark.parametrize("package", ["relay_client", "relay_server"])
def test_little_is_imported_before_ctrl_c_is_seen_to(package: str) -> None:
    """What comes before ends in a traceback."""
    listed = f"import sys, {package}.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True)
    heavy = {"importlib.metadata", "asyncio", "json", "typer", "aiohttp", "logging"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("ticks", [0, 1, 4, 8, 16, 32])
@pytest.mark.parametrize("package", ["relay_client", "relay_server"])
async def test_a_command_that_begins(package: str, ticks: int, tmp_path: Path) -> None:
    """It is interrupted once it used so much of a processor."""
    program = f"import {package}.__main__ as of; print('begun', flush=True); of.main()"
    begun = Running([sys.executable, "-c", program, "--help"], tmp_path / "command", {})
    await until(lambda: begun.output and not (begun.alive and catches(begun, signal.SIGINT)))
    end = used(begun) + ticks
    await until(lambda: not begun.alive or used(begun) >= end)
    begun.process.send_signal(signal.SIGINT)

    assert await begun.exit_status() in (0, -signal.SIGINT, INTERRUPTED)
    assert begun.errors == ""


def used(command: Running) -> int:
    """Ticks of a processor's time, a hundredth of a second each; 0 of one that has ended."""
    return sum(map(int, stat_of(command.process.pid)[11:13]))


def catches(command: Running, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()
    [caught] = [line for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


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
            assert await command.exit_status() == INTERRUPTED
        finally:
            command.end()

    assert "Traceback" not in command.errors
