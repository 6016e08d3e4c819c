"""Both commands, run by a process that has them imported: a page has dozens, a second each.

    shell ──▶ shim (`relay-server`, `relay-client` on its `$PATH`) ──socket──▶ this ──fork──▶ main()

The shim hands over arguments, environment, folder and streams; the child is the command, with a
process of its own. What does not end by itself (`serve`, `connect`, `--follow`) is left running
once it is up. A person's part is the shim's: `login` is given the token that was printed last, and
questions are answered with yes.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from tests.support.forkserver import become, import_all

BEGAN = 19  # the place of when a process began in `stat_of`

SHIM = """#!{python} -IS
import json, os, re, signal, socket, sys, time

name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
sandbox = {sandbox!r}
stays = bool(arguments) and (arguments[0] in ("serve", "connect") or "follow" in arguments)
stays = (stays or "--follow" in arguments) and "--help" not in arguments
out = os.path.join(sandbox, f"out-{{os.getpid()}}")
tells = arguments[:1] == ["init"] or arguments[:2] == ["token", "create"]
streams = [0, 1, 2]
if stays or tells:
    streams[1] = os.open(out, os.O_RDWR | os.O_CREAT | os.O_APPEND)
if stays:
    streams[2] = streams[1]
if os.fstat(0).st_rdev == os.stat("/dev/null").st_rdev:
    reading, writing = os.pipe()
    last = os.path.join(sandbox, "last")
    typed = open(last).read() if arguments[:1] == ["login"] else "y"
    os.write(writing, typed.encode() + b"\\n")
    os.close(writing)
    streams[0] = reading
asked = json.dumps([name, arguments, dict(os.environ), os.getcwd()]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], streams)
    server.sendall(asked)
    pid = int(server.recv(16))
    try:  # once it has ended, its number is soon another one's
        start = open(f"/proc/{{pid}}/stat").read().rpartition(") ")[2].split()[{began}]
    except OSError:
        start = "ended"
    server.settimeout(0.02 if stays else None)

    def is_up(began):
        if arguments[0] == "serve":
            with socket.socket(socket.AF_UNIX) as one:
                folder = os.environ["RELAY_SERVER_DATA_DIR"]
                return one.connect_ex(os.path.join(folder, "control.sock")) == 0
        if "connect" in arguments:
            return re.search(r"(?i)connected|ready", open(out).read())
        return time.monotonic() - began > 1.0

    began, status = time.monotonic(), None
    while status is None:
        try:
            status = int(server.recv(16) or b"99")
        except TimeoutError:
            if is_up(began):
                for file, line in (("pids", f"{{pid}}"), ("left", f"{{pid}} {{start}}")):
                    with open(os.path.join(sandbox, file), "a") as kept:
                        kept.write(line + "\\n")
                status = 0
if streams[1] != 1 and (tells or status):
    text = open(out).read()
    sys.stdout.write(text)
    if tokens := re.findall(r"rly_[A-Za-z0-9_-]{{20,}}", text):
        for file, token in (("first", tokens[0]), ("last", tokens[-1])):
            with open(os.path.join(sandbox, file), "w") as kept:
                kept.write(token)
sys.exit(status)
"""
SIDES = ("server", "client")


def make_shims(address: Path, sandbox: Path, folder: Path) -> None:
    """Put both commands into a folder, for a sandbox, as run by the process at an address."""
    for name in ("relay-server", "relay-client"):
        shim = folder / name
        places = {"sandbox": str(sandbox), "address": str(address)}
        shim.write_text(SHIM.format(python=sys.executable, began=BEGAN, **places))
        shim.chmod(0o755)


def main() -> None:
    """Serve on a socket, until it is ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for children here
    path = Path(sys.argv[1])
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path.with_suffix(".new")))
    listening.listen(64)
    path.with_suffix(".new").rename(path)  # whoever finds it there is heard
    mains = {f"relay-{of}": importlib.import_module(f"relay_{of}.cli") for of in SIDES}
    import_all()
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            status = 70
            try:
                status = _run(connection, {name: one.main for name, one in mains.items()})
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                _end(connection, status)
        connection.close()


def _run(connection: socket.socket, mains: dict[str, object]) -> int:
    """Be the command that is asked for, and give its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _flags, _address = socket.recv_fds(connection, 4, 3)
    raw = b""
    while len(raw) < int.from_bytes(length, "big"):
        raw += connection.recv(65_536)
    connection.sendall(str(os.getpid()).encode().ljust(16))  # its status may be right behind it
    name, arguments, environment, folder = json.loads(raw)
    become(environment, folder, streams)
    # Those of this process know what their files were when it began.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = [name, *arguments]
    try:
        mains[name]()  # type: ignore[operator]
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return 0


def _end(connection: socket.socket, status: int) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(status).encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
