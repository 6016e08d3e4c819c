"""Measures what pressure does to Relay, and what it costs at rest.

Pressure is a slow target, a replay beside live traffic, readers that stop reading, live feeds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import bounds, report
from bench.bounds import Bound
from bench.feeds import feeds
from bench.idle import idle
from bench.run import exit_status, fits, say
from bench.scenarios import Figures, Target, target_running
from bench.strains import Size, replay_beside_live, slow_target, stopped_reader

Strain = Callable[[Target, Path, Size], Figures]
Found = dict[str, list[Figures]]  # a strain's figures, round by round

STRAINS: dict[str, Strain] = {
    "slow-target": slow_target,
    "replay": replay_beside_live,
    "stopped-reader": stopped_reader,
    "feeds": feeds,
    "idle": idle,
}
QUICK = Size(quiet_s=4.0, slow_s=8.0, replayed=2_000, idle_s=10.0, idle_readers=200)


BOUNDS = [
    Bound("answer p99, slow target / quick", "slow-target", "slow_answer_p99_ratio", 2, "x"),
    Bound("server's growth, slow target", "slow-target", "server_growth_mib", 50, "MiB"),
    Bound("end to end p99, replay / quiet", "replay", "replay_end_to_end_p99_ratio", 2, "x"),
    Bound("cost of a silent reader", "stopped-reader", "silent_cost_mib", 4, "MiB"),
    Bound("cost of one that pings", "stopped-reader", "pinging_cost_mib", 4, "MiB"),
    Bound("silent reader cut after", "stopped-reader", "silent_cut_s", 60, "s"),
    Bound("one that pings cut after", "stopped-reader", "pinging_cut_s", 60, "s"),
    Bound("answer p99, watched / not", "feeds", "watched_answer_p99_ratio", 1.3, "x"),
    Bound("server's CPU for a viewer", "feeds", "viewer_cpu_percent", 3, "%"),
    Bound("server's memory for a viewer", "feeds", "viewer_mib", 1, "MiB"),
    Bound("server's CPU at rest", "idle", "server_idle_cpu_percent", 0.1, "%"),
    Bound("client's CPU at rest", "idle", "client_idle_cpu_percent", 0.1, "%"),
    Bound("server's memory at rest", "idle", "server_idle_mib", 64, "MiB"),
    Bound("client's memory at rest", "idle", "client_idle_mib", 52, "MiB"),
    Bound("each idle reader", "idle", "idle_reader_kb", 30, "kB"),
]


@dataclass(frozen=True)
class Plan:
    """What a run measures, and how much of it. `limit_s` ends it, whatever happens."""

    strains: list[str]
    rounds: int
    size: Size
    limit_s: int


def run(plan: Plan, target: Target, folder: Path) -> Found:
    """Every strain in each round that fits the time, each on new servers."""
    found: Found = {name: [] for name in plan.strains}
    started = time.monotonic()
    for number in range(plan.rounds):
        if not fits(number, time.monotonic() - started, plan.limit_s):
            break
        say(f"round {number + 1} of {plan.rounds}")
        for name in plan.strains:
            say(f"  {name}")
            place = folder / str(number) / name
            place.mkdir(parents=True)
            found[name].append(STRAINS[name](target, place, plan.size))
    return found


def told(found: Found) -> list[str]:
    """A line a figure."""
    return [
        f"{name:16} {figure:30} {value:10.2f}"
        for name, figures in found.items()
        for figure, value in report.medians(figures).items()
    ]


def make_plan(args: argparse.Namespace) -> Plan:
    rounds, size = (1, QUICK) if args.quick else (args.rounds, Size())
    return Plan(bounds.chosen(args, STRAINS), rounds, size, args.limit_s)


def main() -> int:
    args = bounds.parser("bench.pressure", __doc__, STRAINS).parse_args()

    def measure_all(folder: Path) -> None:
        plan = make_plan(args)
        facts = report.machine(folder)
        with target_running(folder, args.fixtures) as target:
            found = run(plan, target, folder)
        bounds.show(facts, told(found), BOUNDS, found, target.faults)
        if args.json:
            bounds.save(args.json, asdict(plan), facts, BOUNDS, found, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
