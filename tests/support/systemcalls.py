"""What strace does to a program's system calls: fails them, delays them, or kills it at one.

    relay.server_prefix = under_strace(record, [Inject("fdatasync", KILL, when="7", files=[log])])
    await relay.start()                        # it dies at its 7th fdatasync of that file

    async with afflicted(relay.server, record, [Inject("fdatasync", "error=EIO", files=[log])]):
        ...                                    # as long as the block each of them fails

Calls are counted in each thread for itself. strace's `--seccomp-bpf` would cost less, but the
kernel drops signals that are injected at its stops.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import lacks, need_program
from tests.support.processes import Running
from tests.support.waiting import until

KILL = "signal=SIGKILL"
ALWAYS = "1+"
ATTACHED_S = 30.0


@dataclass(frozen=True, slots=True)
class Inject:
    """What is done to a system call.

    Attributes:
        call: Its name.
        fault: As strace has it: `signal=…`, `error=…`, `retval=…`, `delay_enter=µs`.
        when: Which of a thread's calls: `7`, or `7+` for that and all that follow.
        files: Only calls on these paths; on whatever if there are none. All that are injected
            together are about the same files.
    """

    call: str
    fault: str
    when: str = ALWAYS
    files: tuple[Path, ...] = ()


def under_strace(record: Path, faults: Sequence[Inject]) -> list[str | Path]:
    """The command before a program that is to be started so; its process stays our child.

    Args:
        record: Where strace writes the calls that it saw.
        faults: What is done to them.
    """
    return [_strace(), "-D", *_arguments(record, faults)]


@asynccontextmanager
async def afflicted(
    process: Running, record: Path, faults: Sequence[Inject]
) -> AsyncIterator[None]:
    """Do this to a process that runs, for as long as the block."""
    said = record.with_suffix(".strace")
    tracer = _attach(process, _arguments(record, faults), said)
    try:
        await until(lambda: b" attached" in said.read_bytes(), ATTACHED_S)
        yield
    finally:
        tracer.terminate()  # it lets go of the process first
        await asyncio.to_thread(tracer.wait)


def _attach(process: Running, arguments: Sequence[str], said: Path) -> subprocess.Popen[bytes]:
    command = [_strace(), *arguments, "-p", str(process.process.pid)]
    with said.open("wb") as err:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=err)


def injected(record: Path) -> int:
    """How often a fault happened that is no signal."""
    return record.read_text(errors="replace").count("INJECTED") if record.exists() else 0


@functools.cache
def _strace() -> str:
    """The program, which must be allowed to work."""
    program = need_program("strace", "strace")
    tried = subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        lacks(f"the right to trace processes ({tried.stderr.strip()})")
    return program


def _arguments(record: Path, faults: Sequence[Inject]) -> list[str]:
    calls = ",".join(sorted({fault.call for fault in faults}))
    arguments = ["-f", "-o", str(record), "-e", f"trace={calls}"]
    for fault in faults:
        arguments += ["-e", f"inject={fault.call}:{fault.fault}:when={fault.when}"]
    for file in sorted({file for fault in faults for file in fault.files}):
        arguments += ["-P", str(file)]
    return arguments
