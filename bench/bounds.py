"""What figures may be at most, and how figures and verdicts are told and kept."""

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import report
from bench.errors import BenchError
from bench.run import WORK_DIR
from bench.scenarios import Figures
from bench.trees import relay_command
from bench.webhooks import FIXTURES, load_bodies

Found = Mapping[str, Sequence[Figures]]  # by the name of what was measured, round by round
Facts = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Bound:
    """What a figure of something that is measured may be at most."""

    name: str
    measured: str
    figure: str
    most: float
    unit: str


def verdicts(bounds: Sequence[Bound], found: Found) -> Iterator[str]:
    """A line a bound: held or missed by the median of the rounds, and what each round gave."""
    for bound in bounds:
        rounds = [figures[bound.figure] for figures in found.get(bound.measured, [])]
        if rounds:
            value = report.medians(found[bound.measured])[bound.figure]
            word = "held" if value <= bound.most else "missed"
            each = " ".join(f"{one:.2f}" for one in rounds)
            most = f"at most {bound.most:g} {bound.unit}"
            yield f"{word:7} {bound.name:34} {value:8.2f}  ({most}; rounds: {each})"


def faults_line(faults: Counter[str]) -> str:
    wrong = {name: number for name, number in faults.items() if number}
    text = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in wrong.items())
    return f"missed  {text}" if wrong else "held    nothing lost, repeated, refused or out of order"


def show(
    facts: Facts, lines: Sequence[str], bounds: Sequence[Bound], found: Found, faults: Counter[str]
) -> None:
    """Print the machine, the lines that tell the figures, and the verdicts."""
    rounds = max(len(figures) for figures in found.values())
    print(
        f"\n{facts['cores']} cores, Python {facts['python']}, relay {facts['relay']}; "
        f"a flush takes {facts['flush_ms']} ms; median of {rounds} round(s)\n"
    )
    print("\n".join([*lines, "", *verdicts(bounds, found), faults_line(faults)]))


def save(
    file: Path,
    plan: Mapping[str, object],
    facts: Facts,
    bounds: Sequence[Bound],
    found: Found,
    faults: Counter[str],
) -> None:
    """Write all of it as JSON."""
    whole = {
        "machine": facts,
        "plan": plan,
        "medians": {name: report.medians(figures) for name, figures in found.items()},
        "bounds": [asdict(bound) for bound in bounds if bound.measured in found],
        "faults": dict(faults),
        "rounds": found,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=2) + "\n")


def parser(module: str, description: str | None, names: Collection[str]) -> argparse.ArgumentParser:
    """The options of a command that measures several things by name."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--only", default=",".join(names), help="which to measure, by comma")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--quick", action="store_true", help="one short round, for a first look")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    made.add_argument("--fixtures", type=Path, default=FIXTURES, help="folder of Chatwoot bodies")
    made.add_argument("--work-dir", type=Path, default=WORK_DIR, help="must be on a real disk")
    made.add_argument("--limit-s", type=int, default=1_800, help="the run ends after this long")
    return made


def chosen(args: argparse.Namespace, names: Collection[str]) -> list[str]:
    """Which to measure; refuses what cannot run before anything is started."""
    asked: list[str] = args.only.split(",")
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise BenchError(f"Nothing is named {unknown[0]!r}. There are: {', '.join(names)}.")
    relay_command("relay-server")
    relay_command("relay-client")
    load_bodies(args.fixtures)
    return asked
