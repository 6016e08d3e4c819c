"""The whole of Relay in one process, on virtual time, from seeds: see `__main__.py` to run one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation import mutants
from tests.simulation.kernel import Broken
from tests.simulation.world import simulate

DEEP = os.environ.get("RELAY_FAULTS") == "deep"
CHUNKS = 80 if DEEP else 20
SEEDS = 250 if DEEP else 100  # of a chunk
FOUND_WITHIN = 150  # seeds

# What must have happened in all the seeds together, how often at least.
COVERED = {
    "answer lost": 100,
    "client ended: taken_over": 50,
    "client started": 2_000,
    "commit failed": 100,
    "crash with unsynced loss": 20,
    "duplicate": 50,
    "ended dead": 100,
    "frame swallowed": 500,
    "journal lost its last moment": 3,
    "link cut": 500,
    "link half open": 300,
    "log a forward waits": 5,
    "log events dropped to make room": 5,
    "log forward started": 100,
    "log old events deleted": 200,
    "log replay done": 200,
    "log subscription paused until somebody resumes it": 50,
    "log subscription taken over": 200,
    "paused": 100,
    "refused: channel_full": 100,
    "refused: store_full": 100,
    "refused: store_unavailable": 20,
    "replay stopped": 10,
    "resumed": 100,
    "server stops": 500,
    "target 404": 50,
    "target 410": 50,
    "target 503": 100,
    "target target_lost": 5,
    "target timeout": 50,
    "told Slept": 200,
    "told Waiting": 20,
    "webhook known already": 50,
}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_whatever_goes_wrong(
    chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A seed that fails is named, with the end of its trace and the command that runs it again."""
    counts_of(chunk, tmp_path_factory)


def test_everything_that_can_go_wrong_went_wrong(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What never happened was not tested."""
    counts: Counter[str] = Counter()
    for chunk in range(CHUNKS):
        counts += counts_of(chunk, tmp_path_factory)

    rare = {what: counts[what] for what, least in COVERED.items() if counts[what] < least}

    assert not rare


@pytest.mark.parametrize("seed", [3, 17, 40])
def test_the_same_seed_goes_the_same_way(seed: int) -> None:
    """In another process, too, where strings have other hashes."""
    there = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--trace"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )

    first, second = simulate(seed).digest, simulate(seed).digest

    assert first == second
    assert f"trace {first}" in there.stdout


@pytest.mark.parametrize("name", mutants.ALL)
def test_a_relay_that_is_broken_on_purpose_is_found_out(name: str) -> None:
    """A judge that finds nothing proves nothing."""
    with mutants.ALL[name](), pytest.raises(Broken, match=r"--seed \d+ --trace"):
        simulate_all(FOUND_WITHIN)


def simulate_all(count: int) -> None:
    """Run the first seeds."""
    for seed in range(count):
        simulate(seed)


def counts_of(chunk: int, factory: pytest.TempPathFactory) -> Counter[str]:
    """What happened in a chunk of seeds; run once, whichever test or worker asks first."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    known = shared / f"simulation-{chunk}.json"
    if known.exists():
        return Counter(json.loads(known.read_text()))
    counts: Counter[str] = Counter()
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        counts += simulate(seed).counts
    part = shared / f"simulation-{chunk}.{os.getpid()}"
    part.write_text(json.dumps(counts))
    part.replace(known)
    return counts
