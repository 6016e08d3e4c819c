"""Medians over the rounds, ratios of one way to another, the thresholds, and the table to read."""

import os
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.scenarios import Figures

FLUSHES = 50
WHOLE_FROM = 100  # from here on a table shows no decimals

Rounds = dict[str, list[Figures]]  # a way's figures, round by round


@dataclass(frozen=True)
class Threshold:
    """A bound that Relay must keep. `name` says what is divided by what."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def passed(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


ROWS = [
    ("answer p50 at 50/s, ms", "50_new/answer_p50_ms"),
    ("answer p99 at 50/s, ms", "50_new/answer_p99_ms"),
    ("answer p50 at 200/s, ms", "200_new/answer_p50_ms"),
    ("answer p99 at 200/s, ms", "200_new/answer_p99_ms"),
    ("  p50, kept connections, ms", "200_kept/answer_p50_ms"),
    ("  p99, kept connections, ms", "200_kept/answer_p99_ms"),
    ("end to end p50 at 50/s, ms", "50_new/end_to_end_p50_ms"),
    ("end to end p99 at 50/s, ms", "50_new/end_to_end_p99_ms"),
    ("end to end p50 at 200/s, ms", "200_new/end_to_end_p50_ms"),
    ("end to end p99 at 200/s, ms", "200_new/end_to_end_p99_ms"),
    ("  p50, kept connections, ms", "200_kept/end_to_end_p50_ms"),
    ("  p99, kept connections, ms", "200_kept/end_to_end_p99_ms"),
    ("CPU a webhook at 50/s, µs", "50_new/tunnel_cpu_us"),
    ("CPU a webhook at 200/s, µs", "200_new/tunnel_cpu_us"),
    ("  kept connections, µs", "200_kept/tunnel_cpu_us"),
    ("delivered/s, new connections", "full_new/delivered_per_s"),
    ("  answered/s", "full_new/answered_per_s"),
    ("  CPU a webhook, µs", "full_new/tunnel_cpu_us"),
    ("delivered/s, kept connections", "full_kept/delivered_per_s"),
    ("  answered/s", "full_kept/answered_per_s"),
    ("  CPU a webhook, µs", "full_kept/tunnel_cpu_us"),
    ("backlog drained/s", "backlog/drained_per_s"),
    ("backlog caught up within, s", "backlog/caught_up_s"),
    ("memory idle, server, MiB", "memory/server_idle_mib"),
    ("memory loaded, server, MiB", "memory/server_loaded_mib"),
    ("memory idle, client, MiB", "memory/client_idle_mib"),
    ("memory loaded, client, MiB", "memory/client_loaded_mib"),
    ("memory idle, sshd + ssh, MiB", "memory/ssh_both_idle_mib"),
    ("memory loaded, sshd + ssh, MiB", "memory/ssh_both_loaded_mib"),
]
# (the other way, name, figure, bound of the ratio, whether it is the least and not the most)
RATIO_BOUNDS = [
    ("ssh", "delivered rate, new connections", "full_new/delivered_per_s", 0.8, True),
    ("ssh", "delivered rate, kept connections", "full_kept/delivered_per_s", 0.25, True),
    ("ssh", "answer p50 at 200/s", "200_new/answer_p50_ms", 2.5, False),
    ("ssh", "answer p50 at 200/s, kept", "200_kept/answer_p50_ms", 2.5, False),
    ("ssh", "end to end p50 at 200/s", "200_new/end_to_end_p50_ms", 6.0, False),
    ("ssh", "end to end p50 at 200/s, kept", "200_kept/end_to_end_p50_ms", 6.0, False),
    ("viaduct", "delivered rate, new connections", "full_new/delivered_per_s", 1.3, True),
]
BACKLOG_BOUND = 0.5
BEFORE = "before"  # the way through another checkout's Relay
NO_WORSE = 0.9  # of that one's figure
RATE = "_per_s"  # of these more is better; of all other figures less


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {
        name: round(statistics.median(r[name] for r in rounds if name in r), 3) for name in names
    }


def ratios(rounds: Rounds, base: str = "ssh") -> Figures:
    """Relay's figure divided by another way's, round by round; the median of that.

    The two are measured within seconds of each other, so what slows the machine for a while
    falls on both and mostly leaves the ratio alone.
    """
    pairs = list(zip(rounds.get("relay", []), rounds.get(base, []), strict=False))
    return medians(
        [
            {name: ours[name] / theirs[name] for name in ours if theirs.get(name)}
            for ours, theirs in pairs
        ]
    )


def thresholds(rounds: Rounds) -> list[Threshold]:
    """Those that the measured ways can tell."""
    measured = {base: ratios(rounds, base) for base in rounds}
    found = [
        Threshold(f"{name}, relay/{base}", measured[base][figure], bound, at_least)
        for base, name, figure, bound, at_least in RATIO_BOUNDS
        if figure in measured.get(base, ())
    ]
    shares = [_backlog_share(figures) for figures in rounds.get("relay", [])]
    if shares:
        name = "backlog drained / highest delivered rate"
        found.append(Threshold(name, statistics.median(shares), BACKLOG_BOUND, at_least=True))
    return found


def comparison(rounds: Rounds) -> list[Threshold]:
    """Every figure of the table against the same one of `before`."""
    measured = ratios(rounds, BEFORE)
    figures = [figure for _, figure in ROWS if figure in measured]
    return [_no_worse(figure, measured[figure]) for figure in figures]


def _no_worse(figure: str, ratio: float) -> Threshold:
    more_is_better = figure.endswith(RATE)
    bound = NO_WORSE if more_is_better else round(1 / NO_WORSE, 3)
    return Threshold(f"{figure}, relay/{BEFORE}", ratio, bound, at_least=more_is_better)


def comparison_text(found: Sequence[Threshold]) -> str:
    """A line for each figure that got worse, and one for the others."""
    worse = [_verdict(one) for one in found if not one.passed]
    held = f"{len(found) - len(worse)} of {len(found)} figures no worse than before"
    bounds = f"rates at least {NO_WORSE}, all else at most {1 / NO_WORSE:.2f} of it"
    return "\n".join([*worse, f"{'MISS' if worse else 'pass'}  {held} ({bounds})"])


def _backlog_share(relay: Figures) -> float:
    best = max(relay["full_new/delivered_per_s"], relay["full_kept/delivered_per_s"])
    return relay["backlog/drained_per_s"] / best


def machine(folder: Path) -> dict[str, str | int | float]:
    """What a reader needs to judge the figures; nothing that names the machine."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "openssh": _openssh_version(),
        "relay": _relay_version(),
        "flush_ms": flush_ms(folder),
    }


def _openssh_version() -> str:
    try:
        told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return "missing"
    return told.split(",")[0]


def _relay_version() -> str:
    try:
        return version("relay-tunnel")
    except PackageNotFoundError:
        return "not installed"


def flush_ms(folder: Path) -> float:
    """Median time of a 4 KiB append and fsync where the server's data will be."""
    took = []
    with (folder / "flush").open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            started = time.monotonic()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append(1000 * (time.monotonic() - started))
    return round(statistics.median(took), 3)


def table(ways: Mapping[str, Figures], ratio: Mapping[str, Figures]) -> str:
    """One row a figure, one column a way, and the ratios of relay to some of them."""
    names = [*ways, *(f"relay/{base}" for base in ratio)]
    lines = [f"{'':34}" + "".join(f"{name:>{_width(name)}}" for name in names)]
    for label, figure in ROWS:
        values = [figures.get(figure) for figures in ways.values()]
        if any(value is not None for value in values):
            cells = [*values, *(one.get(figure) for one in ratio.values())]
            texts = zip(names, map(_cell, cells), strict=True)
            lines.append(f"{label:34}" + "".join(f"{text:>{_width(name)}}" for name, text in texts))
    return "\n".join(lines)


def _width(name: str) -> int:
    return max(11, len(name) + 2)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.2f}"


def verdicts(found: Sequence[Threshold], faults: Counter[str]) -> str:
    """A line a threshold, and one for what must not happen at all."""
    lines = [_verdict(one) for one in found]
    wrong = {name: number for name, number in faults.items() if number}
    text = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in wrong.items())
    lines.append(
        f"MISS  {text}" if wrong else "pass  nothing lost, repeated, refused or out of order"
    )
    return "\n".join(lines)


def _verdict(one: Threshold) -> str:
    return (
        f"{'pass' if one.passed else 'MISS'}  {one.name:44} {one.value:7.3f}"
        f"  ({'at least' if one.at_least else 'at most'} {one.bound})"
    )
