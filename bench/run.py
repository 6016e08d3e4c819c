"""Runs the whole bench: every way, every load, several rounds; then prints what came out."""

import argparse
import functools
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from bench import report
from bench.errors import BenchError
from bench.report import BEFORE, Rounds
from bench.scenarios import (
    LOADS,
    Figures,
    Target,
    backlog,
    become_quiet,
    measure,
    memory,
    target_running,
    warm_up,
)
from bench.trees import ROOT, check_tree, relay_command
from bench.ways import (
    RelayWay,
    Way,
    direct,
    mortal,
    postgres,
    postgres_pair,
    postgres_standby,
    relay,
    sealed,
    ssh,
    ssh_server_command,
    unindexed,
    unwatched,
    viaduct,
    viaduct_command,
)
from bench.webhooks import FIXTURES, load_bodies

T = TypeVar("T")
Opener = Callable[[Path, int], AbstractContextManager[Way]]

OPEN_WAY: dict[str, Opener] = {
    "direct": direct,
    "ssh": ssh,
    "viaduct": viaduct,
    "relay": relay,
    "unindexed": unindexed,
    "sealed": sealed,
    "mortal": mortal,
    "postgres": postgres,
    "postgres-standby": postgres_standby,
    "postgres-pair": postgres_pair,
    "unwatched": unwatched,
}
STORES = {"postgres": ("relay", "postgres", "postgres-standby", "postgres-pair")}
USUAL = ("direct", "ssh", "viaduct", "relay")
WORK_DIR = Path("/var/tmp")  # on a disk even where /tmp is memory, and short enough for sockets
SETTLE_S = 1.0
SPARE_S = 10.0


@dataclass(frozen=True)
class Plan:
    """How long a run takes, and what is measured. `limit_s` ends it, whatever happens.

    `against` is another checkout, whose Relay is the way `before`.
    """

    ways: list[str]
    rounds: int
    seconds: float
    backlog: int
    limit_s: int
    against: Path | None = None


def run(plan: Plan, target: Target, folder: Path) -> Rounds:
    """All rounds that fit the time; in each, every load goes over all ways, one after the other."""
    found: Rounds = {name: [] for name in plan.ways}
    started = time.monotonic()
    for number in range(plan.rounds):
        if not fits(number, time.monotonic() - started, plan.limit_s):
            break
        say(f"round {number + 1} of {plan.rounds}")
        with ExitStack() as stack:
            ways = open_ways(stack, openers(plan), folder / str(number), target.port)
            for name, figures in run_round(plan, target, ways, first=number).items():
                found[name].append(figures)
    return found


def fits(rounds_done: int, elapsed_s: float, limit_s: int) -> bool:
    """Whether there is time for another round; says so if not."""
    if rounds_done and elapsed_s * (rounds_done + 1) / rounds_done > limit_s - SPARE_S:
        say(f"no time for round {rounds_done + 1}: one took {elapsed_s / rounds_done:.0f} s")
        return False
    return True


def openers(plan: Plan) -> dict[str, Opener]:
    """What opens each way; against another checkout, both trees are named in the same manner."""
    found = {name: OPEN_WAY[name] for name in plan.ways if name in OPEN_WAY}
    if plan.against:
        found["relay"] = functools.partial(relay, tree=ROOT)
        found[BEFORE] = functools.partial(relay, tree=plan.against)
    return found


def open_ways(
    stack: ExitStack, ways_to_open: Mapping[str, Opener], folder: Path, port: int
) -> dict[str, Way]:
    ways = {}
    for name, opened in ways_to_open.items():
        (folder / name).mkdir(parents=True)
        ways[name] = stack.enter_context(opened(folder / name, port))
    time.sleep(SETTLE_S)  # memory is read at rest
    return ways


def run_round(plan: Plan, target: Target, ways: dict[str, Way], first: int) -> dict[str, Figures]:
    """One round; its ways take turns at going first."""
    found = {name: memory(way, "idle") for name, way in ways.items()}
    for way in ways.values():
        warm_up(target, way)
    for load, flags in LOADS.items():
        for name in rotated(list(ways), first):
            become_quiet(ways.values())
            say(f"  {load} {name}")
            seconds = ["--seconds", str(plan.seconds)]
            found[name] |= measure(target, ways[name], load, [*flags, *seconds])
    for name in rotated(list(ways), first):
        way = ways[name]
        found[name] |= memory(way, "loaded", "VmHWM")
        if isinstance(way, RelayWay):
            become_quiet(ways.values())
            say(f"  backlog {name}")
            found[name] |= backlog(target, way, plan.backlog)
            found[name] |= larger(found[name], memory(way, "loaded", "VmHWM"))
    return found


def rotated(names: list[T], by: int) -> list[T]:
    cut = by % len(names)
    return names[cut:] + names[:cut]


def larger(before: Figures, now: Figures) -> Figures:
    return {name: max(value, before.get(name, 0.0)) for name, value in now.items()}


def summary(rounds: Rounds) -> dict[str, Figures]:
    """Medians for each way."""
    ways = {name: report.medians(figures) for name, figures in rounds.items()}
    for when in ("idle", "loaded"):
        if f"memory/ssh_{when}_mib" in ways.get("ssh", {}):
            both = [ways["ssh"][f"memory/{one}_{when}_mib"] for one in ("ssh", "sshd")]
            ways["ssh"][f"memory/ssh_both_{when}_mib"] = round(sum(both), 1)
    return ways


def show(
    plan: Plan, facts: dict[str, str | int | float], rounds: Rounds, faults: Counter[str]
) -> None:
    ways = summary(rounds)
    print(
        f"\n{facts['cores']} cores, Python {facts['python']}, {facts['openssh']}, "
        f"relay {facts['relay']}; a flush takes {facts['flush_ms']} ms; "
        f"median of {len(rounds[plan.ways[0]])} round(s) of {plan.seconds:g} s a load\n"
    )
    print(report.table(ways, all_ratios(rounds)))
    if plan.against:
        print("\n" + report.comparison_text(report.comparison(rounds)))
    print("\n" + report.verdicts(report.thresholds(rounds), faults))


def all_ratios(rounds: Rounds) -> dict[str, Figures]:
    """Relay's figures divided by those of each way that it is compared with."""
    bases = ("ssh", "viaduct", BEFORE)
    return {base: report.ratios(rounds, base) for base in bases if base in rounds}


def save(
    file: Path,
    plan: Plan,
    facts: dict[str, str | int | float],
    rounds: Rounds,
    faults: Counter[str],
) -> None:
    ways = summary(rounds)
    found = [*report.thresholds(rounds), *report.comparison(rounds)]
    bounds = [asdict(one) | {"passed": one.passed} for one in found]
    whole = {
        "machine": facts,
        "plan": asdict(plan) | {"against": plan.against is not None},
        "medians": ways,
        "ratios": report.ratios(rounds),
        "ratios_to_before": report.ratios(rounds, BEFORE),
        "thresholds": bounds,
        "faults": dict(faults),
        "rounds": rounds,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=2) + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument(
        "--ways", default=",".join(USUAL), help=f"by comma, of {', '.join(OPEN_WAY)}"
    )
    parser.add_argument("--store", choices=STORES, help="Relay on it, and beside it on SQLite")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="another checkout, measured as `before`"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--fixtures", type=Path, default=FIXTURES, help="folder of Chatwoot bodies")
    parser.add_argument("--work-dir", type=Path, default=WORK_DIR, help="must be on a real disk")
    parser.add_argument("--limit-s", type=int, default=350, help="the run ends after this long")
    return parser.parse_args()


def make_plan(args: argparse.Namespace) -> Plan:
    """What to run; refuses what cannot run before anything is started."""
    ways = list(STORES[args.store]) if args.store else args.ways.split(",")
    unknown = [name for name in ways if name not in OPEN_WAY]
    if unknown:
        raise BenchError(f"No way named {unknown[0]!r}. There are: {', '.join(OPEN_WAY)}.")
    if "ssh" in ways:
        ssh_server_command()
    if "viaduct" in ways:
        viaduct_command("viaductd")
    if "relay" in ways:
        relay_command("relay-server")
        relay_command("relay-client")
    against = args.against and checked_against(args.against, ways)
    if against:
        ways.append(BEFORE)
    load_bodies(args.fixtures)
    rounds, seconds, size = (1, 1.5, 2_000) if args.quick else (args.rounds, 3.0, 10_000)
    return Plan(ways, rounds, seconds, size, args.limit_s, against)


def checked_against(folder: Path, ways: list[str]) -> Path:
    """The other checkout, if Relay's commands can be had to run it, and this one beside it."""
    tree = folder.resolve()
    if "relay" not in ways:
        raise BenchError("--against compares with the way `relay`, which --ways leaves out.")
    if tree == ROOT:
        raise BenchError(f"{tree} is this checkout itself: name another one with --against.")
    check_tree(ROOT)
    check_tree(tree)
    return tree


def bound_time(limit_s: int) -> None:
    """End the run, and stop all it started, after so long or on SIGTERM."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise BenchError(f"Not done within {limit_s} s, so the bench was stopped (--limit-s).")

    def told_to_stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, told_to_stop)
    signal.alarm(limit_s)


def exit_status(measure: Callable[[Path], None], work_dir: Path, limit_s: int) -> int:
    """Measure in a folder that goes afterwards, and say why where that cannot be."""
    try:
        bound_time(limit_s)
        with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=work_dir) as name:
            measure(Path(name))
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: stopped")
        return 130
    return 0


def main() -> int:
    args = arguments()

    def measure_all(folder: Path) -> None:
        plan = make_plan(args)
        facts = report.machine(folder)
        with target_running(folder, args.fixtures) as target:
            rounds = run(plan, target, folder)
        show(plan, facts, rounds, target.faults)
        if args.json:
            save(args.json, plan, facts, rounds, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
