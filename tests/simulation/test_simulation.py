"""The whole of Relay in one process, on virtual time, from seeds: see `__main__.py` to run one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest

from relay_server.delivery import order, queue
from tests.simulation import mutants
from tests.simulation.kernel import Broken
from tests.simulation.plan import FAULTS
from tests.simulation.world import simulate

DEEP = os.environ.get("RELAY_FAULTS") == "deep"
CHUNKS = 80 if DEEP else 20
SEEDS = 250 if DEEP else 50  # of a chunk
FOUND_WITHIN = 150  # seeds
SPILLING = 40  # seeds

# What must have happened in so many seeds together, how often at least: half as often as it does.
# In fewer seeds it is half of their share, as chance varies more; but once.
COUNTED_SEEDS = 2_000
COVERED = {
    **{f"fault {name}": 300 for name in FAULTS},
    "answer lost": 330,
    "client ended: taken_over": 80,
    "client started": 2_600,
    "commit failed": 1_200,
    "connected to the second server": 250,
    "crash with unsynced loss": 25,
    "duplicate": 180,
    "ended dead": 400,
    "ended expired": 300,
    "ended skipped": 2_000,
    "frame swallowed": 700,
    "gone, maybe dropped": 400,
    "journal lost its last moment": 4,
    "link cut": 900,
    "link half open": 550,
    "log a forward waits": 5,
    "log event is gone": 5,
    "log events dropped to make room": 10,
    "log forward started": 250,
    "log old events deleted": 900,
    "log replay done": 280,
    "log some deliveries are still under way; their results come later": 25,
    "log subscription paused until somebody resumes it": 110,
    "log subscription taken over": 180,
    "paused": 280,
    "refused: channel_full": 1_800,
    "refused: store_full": 1_000,
    "refused: store_unavailable": 400,
    "replay stopped": 10,
    "replayed event looked at": 3_000,
    "resumed": 350,
    "target 404": 300,
    "target 410": 150,
    "target 429": 600,
    "target 503": 350,
    "target target_lost": 30,
    "target thinks for longer than a lease": 50,
    "target timeout": 75,
    "told Slept": 400,
    "told StillAway": 800,
    "told Waiting": 100,
    "webhook known already": 200,
}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_whatever_goes_wrong(
    chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A seed that fails is named, with the end of its trace and the command that runs it again."""
    counts_of(chunk, tmp_path_factory)


@pytest.mark.timeout(1_800)  # alone it runs every chunk
def test_everything_that_can_go_wrong_went_wrong(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What never happened was not tested."""
    counts: Counter[str] = Counter()
    for chunk in reversed(range(CHUNKS)):  # others begin with the first
        counts += counts_of(chunk, tmp_path_factory)

    share = min(1.0, CHUNKS * SEEDS / COUNTED_SEEDS / 2)
    rare = [what for what, least in COVERED.items() if counts[what] < max(1, int(least * share))]

    assert not rare, [(what, counts[what]) for what in rare]


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
    )

    first, second = (simulate(seed, keep_all=True).digest for _ in range(2))

    assert first == second
    assert f"trace {first}" in there.stdout


@pytest.mark.parametrize("name", mutants.ALL)
def test_a_relay_that_is_broken_on_purpose_is_found_out(name: str) -> None:
    """A judge that finds nothing proves nothing."""
    with mutants.ALL[name](), pytest.raises(Broken, match=r"--seed \d+ --trace"):
        simulate_all(FOUND_WITHIN)


def test_nothing_is_lost_where_lanes_spill_all_the_time() -> None:
    """A lane knows hundreds of deliveries, which no run has, unless it is made to know two."""
    with (
        mock.patch.multiple(order, LANE_AHEAD=2, MOST_KNOWN=12),
        mock.patch.object(queue, "READ_AHEAD", 4),
        mock.patch.object(queue, "REPLAY_LOOK_AHEAD", 4),
    ):
        simulate_all(SPILLING)


def simulate_all(count: int) -> None:
    """Run the first seeds."""
    for seed in range(count):
        simulate(seed)


def counts_of(chunk: int, factory: pytest.TempPathFactory) -> Counter[str]:
    """What happened in a chunk of seeds; run once, whichever test or worker asks first."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / f"simulation-{chunk}.json").open("a+") as known:
        fcntl.flock(known, fcntl.LOCK_EX)  # whoever comes while it runs waits for it
        known.seek(0)
        if said := known.read():
            return Counter(json.loads(said))
        counts: Counter[str] = Counter()
        for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
            counts += simulate(seed).counts
        known.write(json.dumps(counts))
    return counts
