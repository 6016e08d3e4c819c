"""What is measured on a way: loads at fixed rates, loads at full speed, a backlog, memory."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench.errors import BenchError
from bench.load import LoadResult
from bench.processes import (
    clean_environment,
    free_port,
    http_get,
    listens,
    resident_mib,
    running,
    wait_until,
)
from bench.target import TargetReport
from bench.usage import usage
from bench.ways import RelayWay, Way

Figures = dict[str, float]
LOADS: dict[str, list[str]] = {
    "50_new": ["--rate", "50", "--senders", "64"],
    "200_new": ["--rate", "200", "--senders", "64"],
    "200_kept": ["--rate", "200", "--senders", "64", "--keep"],
    "full_new": [],
    "full_kept": ["--keep"],
}
WARM_UP = ["--count", "200"]
QUIET_SHARE = 0.05  # of a core: what all ways take together before something is measured
QUIET_LOOK_S = 0.25
QUIET_LOOKS = 6  # in a row: an index that gave way begins to catch up after a rest
QUIET_WITHIN_S = 20.0
STALLED_S = 10.0  # nothing new at the target for this long: the rest will not come
POLL_S = 0.02


@dataclass
class Target:
    """The target process, asked over its own HTTP paths. It outlives the rounds."""

    port: int
    fixtures: Path
    faults: Counter[str] = field(default_factory=Counter)
    _runs: Iterator[int] = field(default_factory=lambda: count(1))

    def reset(self) -> int:
        """Start a new count; returns the number of its run."""
        run = next(self._runs)
        self._ask(f"reset?run={run}")
        return run

    def wait_for(self, expected: int) -> None:
        """Return once so many webhooks have arrived, or nothing more comes."""
        arrived, changed = -1, time.monotonic()
        while arrived < expected and time.monotonic() - changed < STALLED_S:
            before, arrived = arrived, int(self._ask("count"))
            if arrived != before:
                changed = time.monotonic()
            time.sleep(POLL_S)

    def delay(self, milliseconds: int) -> None:
        """Have each answer wait so long from now on."""
        self._ask(f"delay?ms={milliseconds}")

    def report(self) -> TargetReport:
        report: TargetReport = json.loads(self._ask("report"))
        return report

    def _ask(self, path: str) -> bytes:
        answer = http_get(f"http://127.0.0.1:{self.port}/bench/{path}")
        if answer is None:
            raise BenchError("The target process no longer answers.")
        return answer


@contextmanager
def target_running(folder: Path, fixtures: Path) -> Iterator[Target]:
    port, log = free_port(), folder / "target.log"
    with running([sys.executable, "-m", "bench.target", str(port)], log) as process:
        wait_until(lambda: listens(port), "The target", process, log)
        yield Target(port, fixtures)


def post(
    target: Target, way: Way, run: int, flags: Sequence[str], fixtures: Path | None = None
) -> LoadResult:
    """Run the load generator to its end."""
    command = [sys.executable, "-m", "bench.load", way.url, "--run", str(run), *flags]
    command += ["--fixtures", str(fixtures or target.fixtures)]
    environment = clean_environment()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise BenchError(f"The load generator failed:\n{done.stderr}")
    result: LoadResult = json.loads(done.stdout)
    return result


def measure(target: Target, way: Way, name: str, flags: Sequence[str]) -> Figures:
    """One load on one way, until the last webhook has arrived."""
    cpu_before = _cpu_s(way)
    run = target.reset()
    load = post(target, way, run, flags)
    target.wait_for(load["answered"])
    arrived = target.report()
    cpu_us = {
        p: 1e6 * (s - cpu_before[p]) / max(1, arrived["count"]) for p, s in _cpu_s(way).items()
    }
    note_faults(target.faults, load, arrived)
    answer, end_to_end = load["answer_ms"], arrived["end_to_end_ms"]
    figures = {
        "answer_p50_ms": answer["p50"],
        "answer_p99_ms": answer["p99"],
        "end_to_end_p50_ms": end_to_end["p50"],
        "end_to_end_p99_ms": end_to_end["p99"],
        "answered_per_s": _per_s(load["answered"], load["first_sent_ns"], load["last_answered_ns"]),
        "delivered_per_s": _per_s(arrived["count"], load["first_sent_ns"], arrived["last_ns"]),
        "tunnel_cpu_us": round(sum(cpu_us.values())),
        **{f"{process}_cpu_us": round(us) for process, us in cpu_us.items()},
        "generator_cpu": load["cpu"],
        "generator_behind_p99_ms": load["behind_ms"]["p99"],
    }
    return {f"{name}/{figure}": value for figure, value in figures.items()}


def _cpu_s(way: Way) -> Figures:
    """CPU that each process of a way has used so far."""
    return {name: usage(process).cpu_s for name, process in way.processes.items()}


def become_quiet(ways: Collection[Way]) -> None:
    """Wait until nothing that was measured before has work left, such as an index to bring level.

    It would else take its share of the cores from whatever is measured next.
    """
    ends_at, quiet = time.monotonic() + QUIET_WITHIN_S, 0
    used = sum(sum(_cpu_s(way).values()) for way in ways)
    while quiet < QUIET_LOOKS and time.monotonic() < ends_at:
        time.sleep(QUIET_LOOK_S)
        before, used = used, sum(sum(_cpu_s(way).values()) for way in ways)
        quiet = quiet + 1 if used - before <= QUIET_SHARE * QUIET_LOOK_S else 0


def note_faults(faults: Counter[str], load: LoadResult, arrived: TargetReport) -> None:
    """Add up what must not happen; a run with faults proves nothing about speed."""
    faults["lost"] += max(0, load["answered"] - arrived["count"])
    faults["out_of_order"] += arrived["out_of_order"]
    faults["duplicates"] += arrived["duplicates"]
    faults["not_answered_2xx"] += sum(load["failed"].values())


def _per_s(number: int, from_ns: int, to_ns: int) -> float:
    return round(number / max(1e-9, (to_ns - from_ns) / 1e9), 1)


def warm_up(target: Target, way: Way) -> None:
    """A few webhooks that nobody counts, so that first-time costs fall on none of the figures."""
    target.wait_for(post(target, way, target.reset(), WARM_UP)["answered"])


def backlog(target: Target, way: RelayWay, size: int) -> Figures:
    """Post while no client is connected, then connect one and see how fast it all arrives.

    The rate runs from the first arrival to the last; the seconds from the start of the client's
    process.
    """
    way.stop_client()
    load = post(target, way, target.reset(), ["--keep", "--count", str(size), "--seconds", "30"])
    if target.report()["count"]:
        raise BenchError("Webhooks arrived although the client was stopped.")
    started_ns = time.monotonic_ns()
    way.start_client()
    target.wait_for(load["answered"])
    arrived = target.report()
    note_faults(target.faults, load, arrived)
    return {
        "backlog/size": arrived["count"],
        "backlog/drained_per_s": _per_s(arrived["count"], arrived["first_ns"], arrived["last_ns"]),
        "backlog/caught_up_s": round((arrived["last_ns"] - started_ns) / 1e9, 2),
    }


def memory(way: Way, when: str, field: str = "VmRSS") -> Figures:
    """MiB of each process of a way."""
    return {
        f"memory/{name}_{when}_mib": resident_mib(process, field)
        for name, process in way.processes.items()
    }
