"""Run seeds: `python -m tests.simulation --seed 7 --trace`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.kernel import Broken
from tests.simulation.world import simulate


def main() -> int:
    """Run what is asked for; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    chosen = parser.parse_args()
    began, failed, counts = time.process_time(), 0, Counter[str]()
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        try:
            trace = simulate(seed, keep_all=chosen.trace)
        except Broken as exc:
            print(exc, flush=True)
            failed += 1
            continue
        counts += trace.counts
        if chosen.trace:
            print("\n".join(trace.lines))
            print(f"trace {trace.digest}")
    if chosen.count > 1:
        for what, count in sorted(counts.items()):
            print(f"{count:8} {what}")
    print(f"{chosen.count} seeds, {failed} failed, {time.process_time() - began:.1f} s of one core")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
