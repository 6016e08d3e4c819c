"""Real processes: started with a clean environment, watched through their files, always ended."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.support.forkserver import Command, Fork, fork_server
from tests.support.waiting import LONG_S, until

SERVER = Path(sys.executable).with_name("relay-server")
CLIENT = Path(sys.executable).with_name("relay-client")

# Below the range that outgoing connections take their ports from: a port that is given up for a
# moment must still be free afterwards.
PORTS = range(20_000, 32_000)
_claims: deque[socket.socket] = deque()
MOST_CLAIMS = 100
STOP_S = 25.0  # the server promises to end within 20
COMMAND_S = 200.0

Json = dict[str, Any]


def free_port() -> int:
    """A port of the loopback that nothing listens on now.

    Its number is claimed by a socket of UDP: that of a server which is away for a moment looks free
    to the other processes that run tests, and is not.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        if len(_claims) > MOST_CLAIMS:
            _claims.popleft().close()
        return port


def stat_of(pid: int) -> list[str]:
    """A process' state, its parent and so on (proc(5), from the third field on); none once gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process' environment without what would change how Relay behaves, and with `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RELAY_") and not name.lower().endswith("_proxy")
    }
    return kept | {"COLUMNS": "200"} | dict(extra)


Stream = IO[bytes] | IO[str]


def begin(
    command: Command, environment: Mapping[str, str], stdin: Stream, out: Stream, err: Stream
) -> Fork | subprocess.Popen[bytes]:
    """Start a program with this environment alone: by a fork where that is the same.

    One that is to have other constants is not forked: whoever imported them has the usual ones.
    """
    of_relay = command[0] in (SERVER, CLIENT)
    if sys.platform == "linux" and of_relay and fork_server().can_start(environment):
        streams = (stdin.fileno(), out.fileno(), err.fileno())
        return fork_server().start(command, environment, streams)
    words = [str(part) for part in command]
    return subprocess.Popen(words, stdin=stdin, stdout=out, stderr=err, env=environment)


class Running:
    """A process; what it prints goes to files beside each other.

    Attributes:
        output_file: Its stdout.
        error_file: Its stderr.
    """

    def __init__(self, command: Command, files: Path, environment: Mapping[str, str]) -> None:
        self.output_file = files.with_suffix(".out")
        self.error_file = files.with_suffix(".err")
        self._read = 0  # bytes of its stdout
        self._objects: list[Json] = []
        with (
            Path(os.devnull).open("rb") as nothing,
            self.output_file.open("ab") as out,
            self.error_file.open("ab") as err,
        ):
            self.process = begin(command, clean_environment(environment), nothing, out, err)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.output_file.read_text("utf-8")

    @property
    def errors(self) -> str:
        """What it printed to stderr so far."""
        return self.error_file.read_text("utf-8")

    def lines(self, type_: str) -> list[Json]:
        """The objects of a type that it printed, a line each."""
        with self.output_file.open("rb") as output:
            output.seek(self._read)
            whole, newline, _ = output.read().rpartition(b"\n")
        self._read += len(whole + newline)
        self._objects += [json.loads(line) for line in whole.splitlines()]
        return [one for one in self._objects if one["type"] == type_]

    async def said(self, type_: str, times: int = 1) -> None:
        """Wait until it has printed an object of a type so many times."""
        await until(lambda: len(self.lines(type_)) >= times)

    def kill(self) -> None:
        """End it at once, without a chance to do anything."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self, within_s: float = LONG_S) -> int:
        """Wait until it ended by itself."""
        await until(lambda: not self.alive, within_s)
        assert self.process.returncode is not None
        return self.process.returncode

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.alive:
            self.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()


def run(
    command: Command, environment: Mapping[str, str], text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `text` is its stdin."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as stdin,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        stdin.write(text or "")
        stdin.seek(0)
        process = begin(command, clean_environment(environment), stdin, out, err)
        try:
            status = process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


@contextmanager
def ending(processes: list[Running]) -> Iterator[None]:
    """End every process of a list, however the block ends; the last started ends first."""
    try:
        yield
    finally:
        for process in reversed(processes):
            process.end()
