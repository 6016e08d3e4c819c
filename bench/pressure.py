"""Measures what pressure does to Relay: a slow target, a replay, readers that stop reading."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import report
from bench.errors import BenchError
from bench.run import WORK_DIR, exit_status, fits, say
from bench.scenarios import Figures, Target, target_running
from bench.strains import Size, replay_beside_live, slow_target, stopped_reader
from bench.trees import relay_command
from bench.webhooks import FIXTURES, load_bodies

Strain = Callable[[Target, Path, Size], Figures]
Found = dict[str, list[Figures]]  # a strain's figures, round by round

STRAINS: dict[str, Strain] = {
    "slow-target": slow_target,
    "replay": replay_beside_live,
    "stopped-reader": stopped_reader,
}
QUICK = Size(quiet_s=4.0, slow_s=8.0, replayed=2_000)


@dataclass(frozen=True)
class Bound:
    """What a figure may be at most."""

    name: str
    strain: str
    figure: str
    most: float
    unit: str


BOUNDS = [
    Bound("answer p99, slow target / quick", "slow-target", "slow_answer_p99_ratio", 2, "x"),
    Bound("server's growth, slow target", "slow-target", "server_growth_mib", 50, "MiB"),
    Bound("end to end p99, replay / quiet", "replay", "replay_end_to_end_p99_ratio", 2, "x"),
    Bound("cost of a silent reader", "stopped-reader", "silent_cost_mib", 4, "MiB"),
    Bound("cost of one that pings", "stopped-reader", "pinging_cost_mib", 4, "MiB"),
    Bound("silent reader cut after", "stopped-reader", "silent_cut_s", 60, "s"),
    Bound("one that pings cut after", "stopped-reader", "pinging_cut_s", 60, "s"),
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


def verdicts(found: Found) -> list[str]:
    """A line a bound: held or missed by the median of the rounds, and what each round gave."""
    lines = []
    for bound in BOUNDS:
        rounds = [figures[bound.figure] for figures in found.get(bound.strain, [])]
        if rounds:
            value = report.medians(found[bound.strain])[bound.figure]
            word = "held" if value <= bound.most else "missed"
            each = " ".join(f"{one:.2f}" for one in rounds)
            most = f"at most {bound.most:g} {bound.unit}"
            lines.append(f"{word:7} {bound.name:34} {value:8.2f}  ({most}; rounds: {each})")
    return lines


def faults_line(faults: Counter[str]) -> str:
    wrong = {name: number for name, number in faults.items() if number}
    text = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in wrong.items())
    return f"missed  {text}" if wrong else "held    nothing lost, repeated, refused or out of order"


def show(facts: dict[str, str | int | float], found: Found, faults: Counter[str]) -> None:
    rounds = max(len(figures) for figures in found.values())
    print(
        f"\n{facts['cores']} cores, Python {facts['python']}, relay {facts['relay']}; "
        f"a flush takes {facts['flush_ms']} ms; median of {rounds} round(s)\n"
    )
    for name, figures in found.items():
        for figure, value in report.medians(figures).items():
            print(f"{name:16} {figure:30} {value:10.2f}")
    print("\n" + "\n".join([*verdicts(found), faults_line(faults)]))


def save(
    file: Path,
    plan: Plan,
    facts: dict[str, str | int | float],
    found: Found,
    faults: Counter[str],
) -> None:
    whole = {
        "machine": facts,
        "plan": asdict(plan),
        "medians": {name: report.medians(figures) for name, figures in found.items()},
        "bounds": [asdict(bound) for bound in BOUNDS if bound.strain in found],
        "faults": dict(faults),
        "rounds": found,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pressure", description=__doc__)
    parser.add_argument("--only", default=",".join(STRAINS), help="which to measure, by comma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--fixtures", type=Path, default=FIXTURES, help="folder of Chatwoot bodies")
    parser.add_argument("--work-dir", type=Path, default=WORK_DIR, help="must be on a real disk")
    parser.add_argument("--limit-s", type=int, default=1_500, help="the run ends after this long")
    return parser.parse_args()


def make_plan(args: argparse.Namespace) -> Plan:
    """What to measure; refuses what cannot run before anything is started."""
    names = args.only.split(",")
    unknown = [name for name in names if name not in STRAINS]
    if unknown:
        raise BenchError(f"Nothing is named {unknown[0]!r}. There are: {', '.join(STRAINS)}.")
    relay_command("relay-server")
    relay_command("relay-client")
    load_bodies(args.fixtures)
    rounds, size = (1, QUICK) if args.quick else (args.rounds, Size())
    return Plan(names, rounds, size, args.limit_s)


def main() -> int:
    args = arguments()

    def measure_all(folder: Path) -> None:
        plan = make_plan(args)
        facts = report.machine(folder)
        with target_running(folder, args.fixtures) as target:
            found = run(plan, target, folder)
        show(facts, found, target.faults)
        if args.json:
            save(args.json, plan, facts, found, target.faults)

    return exit_status(measure_all, args.work_dir, args.limit_s)


if __name__ == "__main__":
    sys.exit(main())
