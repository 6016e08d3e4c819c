"""Every fuzz target takes each of its seeds: what was found once stays mended."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz.run import targets
from tests.fuzz.running import CORPUS, Consider, seeds

NAMES = [path.stem.removeprefix("fuzz_") for path in targets()]
SEEDS = [(name, seed) for name in NAMES if (CORPUS / name).is_dir() for seed in seeds(name)]


def consider_of(name: str) -> Consider:
    """What a target does with one input."""
    consider: Consider = importlib.import_module(f"tests.fuzz.fuzz_{name}").consider
    return consider


@pytest.mark.parametrize("name", NAMES)
def test_a_target_has_seeds_and_takes_nothing_too(name: str) -> None:
    assert seeds(name)
    consider_of(name)(b"")


@pytest.mark.parametrize(
    ("name", "seed"), [pytest.param(n, s, id=f"{n}-{s.name}") for n, s in SEEDS]
)
def test_a_seed_breaks_no_promise(name: str, seed: Path) -> None:
    consider_of(name)(seed.read_bytes())
