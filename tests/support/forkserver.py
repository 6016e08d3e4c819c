"""Relay's programs without the second of work that it takes to import them.

Each process of tests has a fork server: a process that has imported all of Relay, and forks for
each program that it is to start. The fork runs the program's own script with its own arguments,
environment, folder and streams, and becomes a child of the tests' process, which asked to be the
parent of its orphans: signals, pipes and exit statuses are those of a program that was started.

What a fork would not see is started as usual: variables that are not Relay's own (Python and
libraries read such as they are imported), and programs behind others, as under strace.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from relay_terminal.usage import made

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("relay_protocol", "relay_http", "relay_terminal"),
    *("relay_chatwoot", "relay_server", "relay_client"),
)
REQUEST_BYTES = 1 << 17
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

Command = Sequence[str | Path]


class Fork:
    """A process that was forked: of `subprocess.Popen` what tests use.

    Attributes:
        returncode: Its exit status, or less than 0 the signal that ended it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ending = threading.Lock()

    def poll(self) -> int | None:
        with self._ending:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            readable, _, _ = select.select([ended], [], [], timeout)
            os.close(ended)
            if not readable:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The tests' side of one."""

    def __init__(self) -> None:
        self._environment = _others(os.environ)
        self._asking = threading.Lock()
        _adopt_orphans()
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.support.forkserver", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        atexit.register(self._end)

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether its forks are what a new process with this environment would be."""
        return _others(environment) == self._environment

    def start(
        self, command: Command, environment: Mapping[str, str], streams: tuple[int, int, int]
    ) -> Fork:
        """Start a script; its streams are these files."""
        asked = [[str(part) for part in command], dict(environment), str(Path.cwd())]
        with self._asking:
            socket.send_fds(self._socket, [json.dumps(asked).encode()], streams)
            return Fork(int(self._socket.recv(REQUEST_BYTES)))

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def fork_server() -> ForkServer:
    """This process' own."""
    return ForkServer()


def _others(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are not read by Relay, but maybe as something is imported."""
    of_run = ("RELAY_", "PYTEST_", "COLUMNS", "CHATWOOT_", "BOT_")
    return {name: text for name, text in environment.items() if not name.startswith(of_run)}


def _adopt_orphans() -> None:
    """Let processes whose parent ended become children of this one."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def import_all() -> None:
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    made(importlib.import_module("relay_server.cli.whole").app)
    made(importlib.import_module("relay_client.cli").whole())


def _serve(asking: socket.socket) -> list[str]:
    """Fork for each request; in the fork, return the command."""
    while True:
        raw, streams, _, _ = socket.recv_fds(asking, REQUEST_BYTES, 3)
        if not raw:
            sys.exit()
        command, environment, folder = json.loads(raw)
        if (pid := _fork_orphan()) == 0:
            asking.close()
            become(environment, folder, streams)
            return list(command)
        for stream in streams:
            os.close(stream)
        asking.send(str(pid).encode())


def _fork_orphan() -> int:
    """Fork, so that the fork's parent has ended: its pid, 0 in it."""
    there, here = os.pipe()
    if (between := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            os.close(there)
            os.close(here)
            return 0
        os.write(here, str(pid).encode())
        os._exit(0)
    os.close(here)
    os.waitpid(between, 0)
    pid = int(os.read(there, 32))
    os.close(there)
    return pid


def become(environment: Mapping[str, str], folder: str, streams: Sequence[int]) -> None:
    """Take on what a process has from who starts it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()


def _run(command: list[str]) -> None:
    sys.argv = command
    status = 0
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as exc:
        if not isinstance(exc.code, int | None):
            raise
        status = exc.code or 0
    _end(status)


def _end(status: int) -> NoReturn:
    """End as Python does, but for taking apart all modules: each page of them would be copied."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120
    os._exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
    gc.disable()  # a collection would copy, in each fork, the memory that it shares
    import_all()
    gc.freeze()
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
