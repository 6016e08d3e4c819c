"""What the kernel says a process has used: CPU time, context switches, system calls."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Process, with_children

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SYSTEM_CALLS = "raw_syscalls:sys_enter"  # a kernel tracepoint: counting costs next to nothing
COUNTED = re.compile(rf"^([\d,.]+);.*{SYSTEM_CALLS}", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """So far, by a process, its threads and its children.

    Attributes:
        user_s, system_s: In whole scheduler ticks, so rough over a short time.
        cpu_s: Both together, to the nanosecond, of the threads that there are now.
        switches: Times a thread gave up its core or was made to.
    """

    user_s: float
    system_s: float
    cpu_s: float
    switches: int

    def since(self, before: "Usage") -> "Usage":
        return Usage(
            self.user_s - before.user_s,
            self.system_s - before.system_s,
            self.cpu_s - before.cpu_s,
            self.switches - before.switches,
        )


def usage(process: Process) -> Usage:
    pids = with_children(process.pid)
    ticks = [_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[11:13] for pid in pids]
    threads = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return Usage(
        user_s=sum(int(user) for user, _ in ticks) / TICKS_PER_S,
        system_s=sum(int(system) for _, system in ticks) / TICKS_PER_S,
        cpu_s=sum(int(_text(f"{task}/schedstat").split()[0]) for task in threads) / 1e9,
        switches=sum(map(_switches, threads)),
    )


def _switches(task: Path) -> int:
    found = re.findall(r"ctxt_switches:\s+(\d+)", _text(f"{task}/status"))
    return sum(map(int, found))


def _text(path: str) -> str:
    return Path(path).read_text()


@dataclass
class SystemCalls:
    """How many a process made while the block lasted; None where they cannot be counted."""

    count: int | None = field(default=None)


@contextmanager
def counting_system_calls(processes: Sequence[Process]) -> Iterator[list[SystemCalls]]:
    """Count each process's with perf, if there is one here and it is allowed to."""
    found = [SystemCalls() for _ in processes]
    perf = shutil.which("perf")
    if perf is None:
        yield found
        return
    command = [perf, "stat", "-x", ";", "-e", SYSTEM_CALLS, "-p"]
    counters = [
        subprocess.Popen([*command, str(one.pid)], stderr=subprocess.PIPE, text=True)
        for one in processes
    ]
    try:
        yield found
    finally:
        for one, counter in zip(found, counters, strict=True):
            counter.send_signal(signal.SIGINT)  # upon which it prints what it counted
            counted = COUNTED.search(counter.communicate()[1])
            one.count = int(counted[1].replace(",", "").replace(".", "")) if counted else None
