"""The bot as a program: what it prints, how it starts and how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.examples.support import ROOT, SECRET, body_of, signed

INCOMING = body_of("message_created_incoming")
# a terminal that is not set to UTF-8, as on Windows or with LANG=C
OLD_TERMINAL = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
DEADLINE_S = 60
WAITING_REPLY = """
import asyncio, sys

async def reply(conversation):
    print("reply is asked")
    return await asyncio.to_thread(sys.stdin.readline)
"""


class Program:
    """The running bot; its lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.introduction = [self.line()]
        self.port = int(self.introduction[0].rpartition(":")[2].partition("/")[0])

    def line(self) -> str:
        """The next line of its output, without its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def type(self, line: str) -> None:
        """Give it a line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def post(self) -> int:
        """Post a webhook; returns the status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        connection.request("POST", "/webhook", INCOMING, signed(INCOMING))
        status = connection.getresponse().status
        connection.close()
        return status

    def end(self, how: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.chatwoot_bot", *arguments]


@contextmanager
def program(*arguments: str, **environment: str) -> Iterator[Program]:
    """Start the bot on a free port; if it does not end by itself, it is killed."""
    process = subprocess.Popen(
        command("--port", "0", *arguments),
        cwd=ROOT,
        env=clean_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    watchdog = threading.Timer(DEADLINE_S, process.kill)  # ends a readline that waits for ever
    watchdog.start()
    try:
        yield Program(process)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATWOOT_")}
    kept.pop("PORT", None)
    return kept


def in_background(work: Callable[[], int]) -> tuple[threading.Thread, list[int]]:
    """Start work in a thread; the list gets what it returns."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_cleanly(how: signal.Signals) -> None:
    """The first line is what the demo waits for; then what is not set; Ctrl-C ends with 0."""
    with program() as bot:
        assert bot.introduction == [f"listening on http://127.0.0.1:{bot.port}/webhook"]
        assert "signatures are not checked: set CHATWOOT_WEBHOOK_SECRET" in bot.line()
        assert "answers are only printed: set CHATWOOT_URL and CHATWOOT_TOKEN" in bot.line()
        assert bot.end(how) == 0


def test_names_and_emoji_are_shown_right_on_any_terminal() -> None:
    """João is João, also where Python would print ASCII."""
    with program(CHATWOOT_WEBHOOK_SECRET=SECRET, **OLD_TERMINAL) as bot:
        bot.line()  # answers are only printed
        assert bot.post() == 200
        line = bot.line()

    assert "message_created" in line
    assert "#318" in line
    assert "João Gonçalves da Conceição" in line
    assert "😀" in line


def test_it_finishes_what_is_under_way(tmp_path: Path) -> None:
    """A stop in the middle of a reply still sends it and answers the webhook."""
    file = tmp_path / "slow.py"
    file.write_text(WAITING_REPLY)
    with program("--reply", f"{file}:reply") as bot:
        for _ in range(2):
            bot.line()  # what is not set
        posting, statuses = in_background(bot.post)
        assert bot.line() == "reply is asked"
        bot.process.send_signal(signal.SIGTERM)
        assert "stopping" in bot.line()
        bot.type("slow but sure")
        assert "slow but sure" in bot.line()
        posting.join(DEADLINE_S)

        assert statuses == [200]
        assert bot.process.wait(DEADLINE_S) == 0


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    """No traceback: which port, and the commands for another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port))

    assert ended.returncode == 1
    assert f"port {port} is in use" in ended.stderr
    assert "relay-client connect --to localhost:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_impossible_setting_ends_it() -> None:
    """Status 2 and one line."""
    ended = run("--port", "many")

    assert ended.returncode == 2
    assert ended.stderr == "the port is 'many': it must be a number up to 65535\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bot to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
