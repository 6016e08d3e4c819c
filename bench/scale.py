"""Measures whether Relay's cost stays flat: from 1 to 1,000,000 stored events, and 1 to 50 readers.

And what times to live, the hand-off of a bot that is away, and the looks for drift add to it.

Every size has a server of its own, and all of them are up at once. In each round every load goes to
one after the other, so that what slows the machine for a while falls on all sizes alike.
"""

import argparse
import json
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench import bounds, report
from bench.bounds import Bound
from bench.errors import BenchError
from bench.processes import Process, log_end, running, wait_until
from bench.run import exit_status, rotated, say
from bench.scenarios import LOADS, WARM_UP, Figures, Target, measure, target_running
from bench.usage import usage
from bench.ways import RelayWay, relay

REST_CPU_S = 0.02  # within a second: less is a server at rest
REST_WITHIN_S = 1_200.0  # a million events are indexed first
STALLED_S = 10.0
POLL_S = 0.1
CPU, CPU_A_DELIVERY = "server_cpu_us", "server_cpu_a_delivery_us"
SHOWN = [  # of each load
    ("answer p50, ms", "answer_p50_ms"),
    ("answer p99, ms", "answer_p99_ms"),
    ("server's CPU a webhook, µs", CPU),
    ("server's CPU a delivery, µs", CPU_A_DELIVERY),
]
WITHOUT, WITH = 0, 1  # policies
RATIO = "ratio"  # of the figure at the largest size to that at the smallest


@dataclass(frozen=True)
class Size:
    """How large, from small to large, and for how long each load goes."""

    stored: tuple[int, ...] = (1, 100_000, 1_000_000)
    readers: tuple[int, ...] = (1, 10, 50)
    seconds: float = 6.0


@dataclass(frozen=True)
class Plan:
    """What a run measures, and how much of it. `limit_s` ends it, whatever happens."""

    measured: list[str]
    rounds: int
    size: Size
    limit_s: int


QUICK = Size(stored=(1, 20_000), readers=(1, 5, 20), seconds=3.0)
STORED_LOADS = {
    "200_new": ["--rate", "200"],
    "full_new": LOADS["full_new"],
}
READERS_LOADS = {"100_new": ["--rate", "100"]}


def stored(target: Target, folder: Path, plan: Plan) -> list[Figures]:
    """200 webhooks a second, and as many as there can be, where so many events are stored."""
    fill(target, {folder / str(number): number for number in plan.size.stored})
    with ExitStack() as stack:
        ways = {}
        for number in plan.size.stored:
            way = stack.enter_context(relay(folder / str(number), target.port))
            wait_until_at_rest(way.processes["server"])  # a large store is checked after the start
            ways[number] = way
        return rounds(target, ways, STORED_LOADS, plan, measure)


def fill(target: Target, stores: Mapping[Path, int]) -> None:
    """Store so many events in each folder's data dir, in all of them at once."""
    with ExitStack() as stack:
        for folder, number in stores.items():
            say(f"  storing {number:,} events")
            folder.mkdir(parents=True)
            command = [sys.executable, "-m", "bench.filling", str(folder / "data"), str(number)]
            command += ["--fixtures", str(target.fixtures)]
            log = folder / "filling.log"
            process = stack.enter_context(running(command, log))
            stack.callback(wait_until_filled, process, log)


def wait_until_filled(process: Process, log: Path) -> None:
    if process.wait() != 0:
        raise BenchError(f"The store could not be filled:\n{log_end(log)}")


def wait_until_at_rest(server: Process) -> None:
    deadline = time.monotonic() + REST_WITHIN_S
    before = usage(server).cpu_s - 1
    while (now := usage(server).cpu_s) - before > REST_CPU_S:
        if time.monotonic() > deadline:
            raise BenchError(f"The server was not at rest within {REST_WITHIN_S:.0f} s.")
        before = now
        time.sleep(1.0)


def readers(target: Target, folder: Path, plan: Plan) -> list[Figures]:
    """100 webhooks a second for so many connections, each with a subscription of its own.

    One of them is Relay's client, which the target and its figures belong to.
    """
    posted = Counter[Path]()

    def measure_all(target: Target, way: RelayWay, name: str, flags: Sequence[str]) -> Figures:
        figures = measure(target, way, name, flags)
        posted[way.folder] += target.report()["count"]
        if "readers" in way.processes:
            target.faults["lost"] += missing(readers_log(way.folder), posted[way.folder])
        return figures

    with ExitStack() as stack:
        ways = {}
        for number in plan.size.readers:
            place = folder / str(number)
            place.mkdir(parents=True)
            ways[number] = stack.enter_context(relay(place, target.port))
            if number > 1:
                stack.enter_context(more_readers(ways[number], number - 1))
        found = rounds(target, ways, READERS_LOADS, plan, measure_all)
    for figures in found:
        figures |= costs_of_a_delivery(figures, plan.size.readers)
    return found


def costs_of_a_delivery(figures: Figures, sizes: Sequence[int]) -> Figures:
    """What each further reader's delivery adds to the server's CPU of a webhook."""
    first, *more = sizes
    alone = figures[f"100_new/{first}/{CPU}"]
    return {
        f"100_new/{number}/{CPU_A_DELIVERY}": (figures[f"100_new/{number}/{CPU}"] - alone)
        / (number - first)
        for number in more
    }


def policies(target: Target, folder: Path, plan: Plan) -> list[Figures]:
    """The loads of `stored` on the largest store, without all that may follow a webhook, and with.

    That is times to live, a hand-off, and the looks for drift and at messages, which only a server
    of its own can be without: so there are two, on copies of one store.
    """
    places = {WITHOUT: folder / "without", WITH: folder / "with"}
    fill(target, {places[WITHOUT]: plan.size.stored[-1]})
    shutil.copytree(places[WITHOUT], places[WITH])
    with ExitStack() as stack:
        ways = {}
        for wanted, others in ((WITHOUT, {"BENCH_UNWATCHED": "1"}), (WITH, {})):
            settings = {"RELAY_SERVER_SEARCH": "off", **others}
            ways[wanted] = stack.enter_context(relay(places[wanted], target.port, None, **settings))
            wait_until_at_rest(ways[wanted].processes["server"])
        set_policies(ways[WITH])
        return rounds(target, ways, STORED_LOADS, plan, measure)


def set_policies(way: RelayWay) -> None:
    """Times to live, and a hand-off to a Chatwoot that nobody needs while the client reads."""
    link = {"chatwoot_url": "http://127.0.0.1:1", "chatwoot_account": 2, "chatwoot_token": "t"}
    control(way, "channels/chatwoot", {"ttl": [["*", 1_800.0]], **link})
    control(way, "channels/chatwoot/subscriptions/developer", {"away": "handoff"})


def control(way: RelayWay, path: str, fields: Mapping[str, object], method: str = "PATCH") -> None:
    """Change or make something by the API that a server's commands use."""
    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(way.folder / "data" / "control.sock"))
    connection.request(method, f"/api/v1/{path}", json.dumps(fields))
    answer = connection.getresponse()
    if answer.status not in (200, 201):
        raise BenchError(f"{path} was not set: {answer.read().decode()}")
    connection.close()


@contextmanager
def more_readers(way: RelayWay, number: int) -> Iterator[None]:
    """Readers beside the client, in one process of the way."""
    log = readers_log(way.folder)
    command = [sys.executable, "-m", "bench.readers", str(way.port), str(number)]
    with running(command, log, {"BENCH_TOKEN": way.subscribe_token}) as process:
        wait_until(log.read_text, "The readers", process, log)
        way.processes["readers"] = process
        yield


def readers_log(folder: Path) -> Path:
    return folder / "readers.log"


def missing(log: Path, expected: int) -> int:
    """How many webhooks some reader has not taken, once all have or nothing more comes."""
    taken, changed = 0, time.monotonic()
    while taken < expected and time.monotonic() - changed < STALLED_S:
        before, taken = taken, int(log.read_text().split()[-1])
        if taken != before:
            changed = time.monotonic()
        time.sleep(POLL_S)
    return max(0, expected - taken)


def rounds(
    target: Target,
    ways: Mapping[int, RelayWay],
    loads: Mapping[str, Sequence[str]],
    plan: Plan,
    measured: Callable[[Target, RelayWay, str, Sequence[str]], Figures],
) -> list[Figures]:
    """The figures of each load at each size, and the ratio of the largest to the smallest."""
    for way in ways.values():
        measured(target, way, "warm_up", WARM_UP)
    found = []
    for number in range(plan.rounds):
        figures = Figures()
        for load, flags in loads.items():
            for size in rotated(list(ways), number):
                say(f"  round {number + 1}, {load}, {size:,}")
                seconds = ["--seconds", str(plan.size.seconds)]
                name = f"{load}/{size}"
                figures |= measured(target, ways[size], name, [*flags, *seconds])
            figures |= ratios(figures, load, list(ways))
        found.append(figures)
    return found


def ratios(figures: Figures, load: str, sizes: Sequence[int]) -> Figures:
    smallest, largest = f"{load}/{sizes[0]}/", f"{load}/{sizes[-1]}/"
    return {
        f"{load}/{RATIO}/{name}": figures[largest + name] / figures[smallest + name]
        for _, name in SHOWN
        if figures.get(smallest + name)
    }


MEASURED: dict[str, Callable[[Target, Path, Plan], list[Figures]]] = {
    "stored": stored,
    "readers": readers,
    "policies": policies,
}
BOUNDS = [
    Bound("CPU a webhook at 200/s, stored", "stored", f"200_new/{RATIO}/{CPU}", 1.15, "x"),
    Bound("CPU a webhook saturated, stored", "stored", f"full_new/{RATIO}/{CPU}", 1.15, "x"),
    Bound("answer p50 at 200/s, stored", "stored", f"200_new/{RATIO}/answer_p50_ms", 1.25, "x"),
    Bound("CPU a webhook at 200/s, policies", "policies", f"200_new/{RATIO}/{CPU}", 1.05, "x"),
    Bound("CPU a webhook saturated, policies", "policies", f"full_new/{RATIO}/{CPU}", 1.05, "x"),
    Bound("answer p50 at 100/s, readers", "readers", f"100_new/{RATIO}/answer_p50_ms", 1.25, "x"),
]


def told(found: Mapping[str, Sequence[Figures]], size: Size) -> Iterator[str]:
    """A table for each: a row a figure, a column a size."""
    for name, loads, sizes in (
        ("stored", STORED_LOADS, size.stored),
        ("readers", READERS_LOADS, size.readers),
        ("policies", STORED_LOADS, (WITHOUT, WITH)),
    ):
        if name not in found:
            continue
        figures = report.medians(found[name])
        columns = [*map(str, sizes), RATIO]
        yield f"{name:40}" + "".join(f"{column:>12}" for column in columns)
        for load in loads:
            for label, figure in SHOWN:
                values = [figures.get(f"{load}/{column}/{figure}") for column in columns]
                if any(value is not None for value in values):
                    cells = ["-" if v is None else f"{v:.2f}" for v in values]
                    yield f"{f'{load}: {label}':40}" + "".join(f"{cell:>12}" for cell in cells)


def make_plan(args: argparse.Namespace) -> Plan:
    number, size = (1, QUICK) if args.quick else (args.rounds, Size())
    return Plan(bounds.chosen(args, MEASURED), number, size, args.limit_s)


def main() -> int:
    args = bounds.parser("bench.scale", __doc__, MEASURED).parse_args()

    def measure_all(folder: Path) -> None:
        plan = make_plan(args)
        facts = report.machine(folder)
        with target_running(folder, args.fixtures) as target:
            found = {name: MEASURED[name](target, folder / name, plan) for name in plan.measured}
        lines = list(told(found, plan.size))
        bounds.show(facts, lines, BOUNDS, found, target.faults)
        if args.json:
            bounds.save(args.json, asdict(plan), facts, BOUNDS, found, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
