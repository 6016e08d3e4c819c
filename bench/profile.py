"""Says what a webhook costs and where: CPU by stage, system calls, context switches, flame graphs.

Each load runs three times over one server and client. The first time nothing looks on but the
kernel's own counters; then py-spy samples both processes, once for folded stacks and once for flame
graphs (SVG). It takes those stacks in which a thread holds the interpreter's lock: that is the time
a process cannot share between cores, and threads that only wait are not in it. SQLite and the
system's calls are mostly outside of it, and in the figures above the stages.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.processes import Process
from bench.run import WORK_DIR, exit_status, say
from bench.scenarios import LOADS, Target, post, target_running, warm_up
from bench.trees import ROOT, check_tree
from bench.usage import counting_system_calls, usage
from bench.ways import RelayWay, relay
from bench.webhooks import FIXTURES

SAMPLES_PER_S = 400
FRAME = re.compile(r"^(?P<function>.+) \((?P<file>[^():]+)(:\d+)?\)$")
SAMPLES = {"raw": ".folded", "flamegraph": ".svg"}  # py-spy's formats, and what they are written to
LOOP = "loop, tasks, wake-ups"

# Of a sample, the innermost frame that one of these knows decides; by file, then by function.
STAGES = {
    "server": [
        ("accept, parse, answer", r"relay_server/web/(front|server|capture|access)", ""),
        ("admit", r"relay_server/(web/(ingest|limits)|auth|channels)", ""),
        ("store", r"relay_server/store/", ""),
        (
            "settle",
            r"relay_(server/(web/gateway|delivery)|protocol)",
            "result|settle|finish|record",
        ),
        ("schedule", r"relay_server/delivery/", ""),
        ("frame", r"relay_server/web/gateway|relay_protocol/|aiohttp/", ""),
    ],
    "client": [
        ("receive", r"relay_client/(websocket|tunnel)|relay_protocol/|websockets/", ""),
        ("post", r"relay_http/", ""),
        ("journal", r"relay_client/journal", ""),
        ("screen", r"relay_client/(render|console|notices|connect)|rich/", ""),
    ],
}


@dataclass(frozen=True)
class Cost:
    """What one webhook costs a process.

    Attributes:
        stages: Shares of the time that a thread held the interpreter's lock.
        calls: System calls; None where they could not be counted.
    """

    cpu_us: float
    user_us: float
    system_us: float
    switches: float
    calls: float | None
    stages: dict[str, float]


def profile(target: Target, way: RelayWay, load: str, seconds: float, out: Path) -> dict[str, Cost]:
    """What a webhook of a load costs each process; writes the flame graphs."""
    flags = [*LOADS[load], "--seconds", str(seconds)]
    names = list(way.processes)
    processes = [way.processes[name] for name in names]
    before = [usage(process) for process in processes]
    with counting_system_calls(processes) as calls:
        delivered = deliver(target, way, flags)
    used = [usage(one).since(earlier) for one, earlier in zip(processes, before, strict=True)]
    files = {name: out / f"{name}-{load}" for name in names}
    for format_, suffix in SAMPLES.items():
        with ExitStack() as stack:
            for name in names:
                file = files[name].with_suffix(suffix)
                stack.enter_context(sampling(way.processes[name], format_, file))
            deliver(target, way, flags)
    found = {}
    for name, one, counted in zip(names, used, calls, strict=True):
        us = 1e6 / delivered
        shares = stage_shares(files[name].with_suffix(".folded").read_text(), STAGES[name])
        found[name] = Cost(
            cpu_us=one.cpu_s * us,
            user_us=one.user_s * us,
            system_us=one.system_s * us,
            switches=one.switches / delivered,
            calls=None if counted.count is None else counted.count / delivered,
            stages=shares,
        )
    return found


def deliver(target: Target, way: RelayWay, flags: Sequence[str]) -> int:
    """Send a load; returns how many webhooks arrived, all that were answered."""
    answered = post(target, way, target.reset(), flags)["answered"]
    target.wait_for(answered)
    arrived = target.report()["count"]
    if not arrived or arrived != answered:
        raise BenchError(f"{answered} webhooks were answered 2xx and {arrived} arrived.")
    return arrived


@contextmanager
def sampling(process: Process, format_: str, file: Path) -> Iterator[None]:
    """Sample a process while the block lasts.

    It is stopped for each sample: one that runs on while it is read gives few samples but of calls
    that wait.
    """
    command = [spy_command(), "record", "--gil", "--full-filenames", "--rate", str(SAMPLES_PER_S)]
    command += ["--pid", str(process.pid), "--format", format_, "--output", str(file)]
    spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)  # upon which it writes its file
        spy.wait(30)
    if not file.is_file():
        raise BenchError("py-spy wrote nothing: may it look into other processes (ptrace)?")


def spy_command() -> str:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("py-spy", path=beside) or shutil.which("py-spy")
    if found is None:
        raise BenchError("py-spy is not installed here: pip install py-spy")
    return found


def stage_shares(folded: str, stages: Sequence[tuple[str, str, str]]) -> dict[str, float]:
    """Each stage's share of folded stacks: `root (file:line);…;leaf (file:line) count` lines."""
    found = Counter[str]()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        found[stage_of(stack.split(";"), stages)] += int(count)
    total = max(1, found.total())
    return {name: found[name] / total for name in [*(s[0] for s in stages), LOOP]}


def stage_of(frames: Sequence[str], stages: Sequence[tuple[str, str, str]]) -> str:
    for frame in reversed(frames):
        if (known := FRAME.match(frame)) is None:
            continue
        for stage, files, functions in stages:
            if re.search(files, known["file"]) and re.search(functions, known["function"]):
                return stage
    return LOOP


def table(costs: dict[str, dict[str, Cost]]) -> str:
    """What one webhook costs, a column for each load."""
    loads = list(costs)
    lines = [f"{'':38}" + "".join(f"{load:>11}" for load in loads)]
    for name in next(iter(costs.values())):
        each = [costs[load][name] for load in loads]
        lines.append(row(f"{name}, CPU µs a webhook", [one.cpu_us for one in each]))
        lines.append(row("  user", [one.user_us for one in each]))
        lines.append(row("  system", [one.system_us for one in each]))
        lines.append(row("  system calls", [one.calls for one in each]))
        lines.append(row("  context switches", [one.switches for one in each]))
        lines += [share_row(stage, each) for stage in each[0].stages]
    return "\n".join(lines)


def share_row(stage: str, each: Sequence[Cost]) -> str:
    return row(f"  {stage}, % of the lock", [100 * one.stages[stage] for one in each])


def row(label: str, values: Sequence[float | None]) -> str:
    texts = ["-" if v is None else f"{v:,.0f}" if v >= 10 else f"{v:.2f}" for v in values]
    return f"{label:38}" + "".join(f"{text:>11}" for text in texts)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--loads", default="50_new,200_new,full_new,full_kept", help="by comma")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load, three times")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to look into")
    parser.add_argument("--out", type=Path, default=Path("build/profile"), help="flame graphs")
    parser.add_argument("--fixtures", type=Path, default=FIXTURES, help="folder of Chatwoot bodies")
    parser.add_argument("--work-dir", type=Path, default=WORK_DIR, help="must be on a real disk")
    parser.add_argument("--limit-s", type=int, default=350, help="the run ends after this long")
    return parser.parse_args()


def run(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Cost]]:
    loads = args.loads.split(",")
    if unknown := [load for load in loads if load not in LOADS]:
        raise BenchError(f"No load named {unknown[0]!r}. There are: {', '.join(LOADS)}.")
    spy_command()
    tree = args.tree.resolve()
    check_tree(tree)
    args.out.mkdir(parents=True, exist_ok=True)
    with target_running(folder, args.fixtures) as target, relay(folder, target.port, tree) as way:
        warm_up(target, way)
        costs = {}
        for load in loads:
            say(f"  {load}")
            costs[load] = profile(target, way, load, args.seconds, args.out)
        return costs


def main() -> int:
    args = arguments()

    def measure_all(folder: Path) -> None:
        print(table(run(args, folder)))
        print(f"\nFlame graphs and folded stacks are in {args.out}.")

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
