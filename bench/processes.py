"""Starting real processes, waiting for them, reading their size, and stopping them."""

import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError

READY_S = 15.0
STOP_S = 22.0  # the server promises to end within 20 s
POLL_S = 0.02
LOOK_S = 0.05

Process = subprocess.Popen[bytes]


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[Process]:
    """A process for as long as the block lasts; all it prints goes to `log` and `log` + `.err`.

    It has a session of its own, so that Ctrl-C reaches the bench alone, which then stops the
    others in order.
    """
    with log.open("wb") as out, Path(f"{log}.err").open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=out,
            stderr=err,
            env=clean_environment() | dict(environment or {}),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: Process) -> None:
    """Ask a process to end, and make it when it does not."""
    if process.stdin:
        process.stdin.close()
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def clean_environment() -> dict[str, str]:
    """This environment without settings that would change what is measured."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RELAY_") and not name.lower().endswith("_proxy")
    }


def wait_until(
    ready: Callable[[], object], what: str, process: Process, log: Path, within_s: float = READY_S
) -> None:
    """Return once `ready()` is true.

    Raises:
        BenchError: The process ended first, or the time is over; with the end of its log.
    """
    deadline = time.monotonic() + within_s
    while not ready():
        if process.poll() is not None:
            reason = f"ended with status {process.returncode}"
        elif time.monotonic() > deadline:
            reason = f"was not ready within {within_s:.0f} s"
        else:
            time.sleep(POLL_S)
            continue
        raise BenchError(f"{what} {reason}. The end of its log:\n{log_end(log)}")


def log_end(log: Path, lines: int = 8) -> str:
    texts = [path.read_text(errors="replace") for path in (log, Path(f"{log}.err"))]
    found = [line for text in texts for line in text.splitlines()[-lines:]]
    return "\n".join(f"  {line}" for line in found) or "  (it printed nothing)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_get(url: str, timeout_s: float = 5.0) -> bytes | None:
    """The body of a 2xx answer, or None."""
    try:
        with _direct.open(url, timeout=timeout_s) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def with_children(pid: int) -> list[int]:
    """A process and its descendants, by id; those that are gone are left out."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *(found for child in text.split() for found in with_children(int(child)))]


def resident_mib(process: Process, field: str = "VmRSS") -> float:
    """Memory of a process and its children in MiB; `VmHWM` gives the highest so far."""
    return round(sum(_status_kib(pid, field) for pid in with_children(process.pid)) / 1024, 1)


def _status_kib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@contextmanager
def highest_resident_mib(process: Process) -> Iterator[list[float]]:
    """The highest memory of a process while the block lasts: the one entry of the list after it.

    Looked at every 50 ms, since `VmHWM` also knows what was before.
    """
    seen, highest, done = resident_mib(process), list[float](), threading.Event()

    def look() -> None:
        nonlocal seen
        while not done.wait(LOOK_S):
            seen = max(seen, resident_mib(process))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield highest
    finally:
        done.set()
        looking.join()
        highest.append(seen)
