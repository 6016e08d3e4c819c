"""The demo as a person or a script runs it: real processes, on ports of its own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from examples.demo_parts.errors import DemoFailed
from examples.demo_parts.programs import Program
from examples.demo_parts.screen import Screen

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "examples/demo.py"]
ANY_PORTS = ["--port", "0", "--ops-port", "0", "--app-port", "0"]
DEADLINE_S = 200
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
# What a user of Relay and of the bot may have set; any of it would break the demo.
DISTURBING = {
    "RELAY_SERVER_PORT": "1",
    "RELAY_SERVER_DATA_DIR": "/nonexistent",
    "RELAY_CLIENT_URL": "https://relay.example.com",
    "RELAY_CLIENT_TOKEN": "rly_wrong",
    "RELAY_CLIENT_CHANEL": "misspelt",
    "CHATWOOT_WEBHOOK_SECRET": "FIXTUREotherSECRET",
    "CHATWOOT_URL": "https://chat.example.com",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}


class Terminal:
    """The demo on a terminal of 100 columns; `text` is what it printed, colours and all."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master

    @property
    def plain(self) -> str:
        """What it printed, as a person sees it."""
        return ESCAPE.sub("", self.text).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def until(self, condition: Callable[[str], bool]) -> None:
        """Read on until what was printed fulfils a condition."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.plain):
            assert self._read(deadline - time.monotonic()), self.plain

    def shows(self, *words: str, times: int = 1) -> None:
        """Read on until each of some words was printed often enough."""
        self.until(lambda text: all(text.count(word) >= times for word in words))

    def end(self) -> int:
        """Press Ctrl-C and read to the end; gives the exit status."""
        self.type("\x03")
        while self._read(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S)

    def close(self) -> int:
        """Close the terminal, as its window is closed; gives the exit status."""
        os.close(self._master)
        return self.process.wait(DEADLINE_S)

    def _read(self, within_s: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, within_s))[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            if found := os.read(self._master, 65_536):
                self.text += found.decode(errors="replace")
                return True
        return False


@contextlib.contextmanager
def demo_on_terminal(folder: Path) -> Iterator[Terminal]:
    """Start the demo on a pseudo-terminal; if it does not end by itself, it is killed."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 100))
    process = subprocess.Popen(
        [*DEMO, *ANY_PORTS],
        cwd=ROOT,
        env=environment(folder),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509  (there are no threads to fear)
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        with stopped_after(process), contextlib.suppress(OSError):
            os.close(master)


def take_terminal() -> None:
    """Make standard input the terminal whose Ctrl-C this process gets."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def stopped_after(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """After the block, see to it that a process is gone; SIGTERM lets it stop what it started."""
    yield
    process.terminate()
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def second_developer(terminal: Terminal, folder: Path) -> Iterator[Path]:
    """Run the demo's command lines for one; gives the file of what their bot prints."""
    file = folder / "second.txt"
    bot = line_with(terminal.plain, "BOT_LEDGER=")
    client = line_with(terminal.plain, "relay-client connect --url")
    with file.open("w") as out, in_a_shell(bot, folder, out), in_a_shell(client, folder):
        terminal.shows("token=maria")
        yield file


@contextlib.contextmanager
def in_a_shell(line: str, folder: Path, out: TextIO | None = None) -> Iterator[None]:
    """Run a command line in a shell of its own, from another folder, until the block ends."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env=environment(folder, RELAY_CLIENT_STATE_DIR=str(folder / "second-state")),
        stdout=out or subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(DEADLINE_S)


def wait_for_text(file: Path, text: str) -> None:
    """Return once a file contains a text."""
    deadline = time.monotonic() + DEADLINE_S
    while text not in file.read_text():
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.02)


def nothing_listens(curl: str) -> bool:
    """Whether the relay of a curl line is gone."""
    with socket.socket() as probe:
        port = urllib.parse.urlsplit(shlex.split(curl)[-1]).port or 0
        return probe.connect_ex(("127.0.0.1", port)) != 0


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A user's environment, with a folder for temporary files."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return kept | {"TMPDIR": str(folder), "TERM": "xterm-256color"} | more


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end without a terminal."""
    return subprocess.run(
        [*DEMO, *arguments],
        cwd=ROOT,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def post_as_printed(line: str) -> None:
    """Run a line that posts the sample."""
    posted = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=DEADLINE_S)
    assert b'"id": "evt_' in posted.stdout, posted.stderr


def line_with(text: str, words: str) -> str:
    """The one line that contains some words."""
    (line,) = (line for line in text.splitlines() if words in line)
    return line


def test_without_a_terminal_it_ends_once_the_webhook_arrived(tmp_path: Path) -> None:
    """Status 0; no colours; nothing is left; settings of the user's own do not disturb it."""
    ended = run(tmp_path, *ANY_PORTS, **DISTURBING, FORCE_COLOR="1")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    at_bot = line_with(ended.stdout, "would answer")
    assert at_bot == "bot    │ #318  would answer: I am calling somebody. 🙋"
    assert "João Gonçalves da Conceição writes: quero falar com um humano" in ended.stdout
    assert re.search(r"^From POST to the bot: \d+ ms\.", ended.stdout, re.MULTILINE)
    assert "\x1b" not in ended.stdout
    assert "What to try next" not in ended.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_on_a_terminal_it_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    """What it says to try works as printed; then it tidies up."""
    with demo_on_terminal(tmp_path) as terminal:
        terminal.shows("From POST to the bot", "Ctrl-C ends the demo")
        assert "\x1b[" in terminal.text
        curl = line_with(terminal.plain, "--data-binary")

        assert "/login" in line_with(terminal.plain, "#k=rlk_")
        refusal = "the body is no webhook of Chatwoot's"
        assert refusal in terminal.plain, "the bot does not take the second customer's"
        terminal.type("d\n")
        terminal.shows("/login#k=rlk_", times=2)

        terminal.type("r\n")
        terminal.shows("The bot is stopped.")
        post_as_printed(curl)
        terminal.shows("is not listening")
        terminal.type("r\n")
        terminal.shows("would answer", "it is to be answered", times=2)
        terminal.shows(" is back.")

        with second_developer(terminal, tmp_path) as file:
            post_as_printed(curl)
            terminal.shows("would answer", times=3)
            wait_for_text(file, "#318  would answer")

        assert terminal.end() == 0
    assert "Traceback" not in terminal.plain
    assert not [left for left in tmp_path.iterdir() if left.name.startswith("relay-demo-")]
    assert nothing_listens(curl)


def test_ctrl_c_while_it_starts_ends_it_cleanly(tmp_path: Path) -> None:
    """No traceback, and nothing is left."""
    with demo_on_terminal(tmp_path) as terminal:
        terminal.shows("$ relay-server serve")

        assert terminal.end() == 0
    assert "Traceback" not in terminal.plain
    assert list(tmp_path.iterdir()) == []


def test_closing_the_terminal_ends_it_too(tmp_path: Path) -> None:
    """Programs and files do not outlive it, though nobody reads what it says."""
    with demo_on_terminal(tmp_path) as terminal:
        terminal.shows("Ctrl-C ends the demo")
        curl = line_with(terminal.plain, "--data-binary")

        assert terminal.close() == 0
    assert nothing_listens(curl)
    assert list(tmp_path.iterdir()) == []


def test_ports_in_use_are_named_with_what_to_do(tmp_path: Path) -> None:
    """Each with its use, and a command line that starts the demo elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        port, app_port = one.getsockname()[1], other.getsockname()[1]
        ended = run(tmp_path, "--port", f"{port}", "--app-port", f"{app_port}", "--ops-port", "0")

    assert ended.returncode == 1
    assert f"Port {port} is in use. The demo wants it for the relay" in ended.stdout
    assert f"Port {app_port} is in use. The demo wants it for the bot" in ended.stdout
    other_ports = shlex.split(line_with(ended.stdout, "examples/demo.py"))
    assert other_ports[1] == "examples/demo.py"
    assert not {f"{port}", f"{app_port}"} & set(other_ports)
    assert {"--port", "--app-port"} <= set(other_ports)
    assert "Traceback" not in ended.stdout + ended.stderr


async def test_a_program_that_dies_at_its_start_is_told() -> None:
    """Its lines are shown, then its status."""
    shown: list[str] = []
    program = Program("server", lambda name, line: shown.append(f"{name}: {line}"))
    ready = program.seek("ready")
    await program.start([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], os.environ)

    with pytest.raises(DemoFailed, match="server ended by itself, with status 3"):
        await program.sees(ready, DEADLINE_S)

    assert shown == ["server: no"]


def test_a_wish_for_no_colour_is_honoured() -> None:
    """NO_COLOR takes the colours away, on a terminal too."""
    out = io.StringIO()
    screen = Screen(out, True, {"NO_COLOR": "1", "TERM": "xterm"})

    screen.program_line("bot", "Olá, João 😀")

    assert out.getvalue() == "bot    │ Olá, João 😀\n"


def test_only_the_name_of_a_program_is_coloured() -> None:
    """Its line stays as it wrote it."""
    out = io.StringIO()
    screen = Screen(out, True, {"TERM": "xterm"})

    screen.program_line("bot", "Olá")

    assert out.getvalue() == "\x1b[32mbot    │ \x1b[0mOlá\n"
