"""A target of bad manners gets everything in order all the same, and harms nobody else."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.manners import MANNERS
from tests.support.seeds import short_or_deep
from tests.support.target import Arrival, Saying, say
from tests.support.trial import STRICT, open_trial
from tests.support.waiting import until

GROWTH_MIB = 48.0  # of a client that was answered gigabytes


class Mood:
    """How a target behaves: badly now and then, each manner as often as the others.

    Attributes:
        used: The manners in the order in which they were used.
    """

    def __init__(self, rng: Random) -> None:
        self.used: list[str] = []
        self._rng = rng

    def __call__(self, _: Arrival) -> Saying:
        if self._rng.random() < 0.8:
            return say
        names = list(MANNERS)
        if not len(self.used) % len(names):
            self._rng.shuffle(names)
            self._next = names
        self.used.append(self._next[len(self.used) % len(names)])
        return MANNERS[self.used[-1]]


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("part", range(short_or_deep(1, 6)))
async def test_bad_manners_cost_no_webhook(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    mood = Mood(rng)
    rounds = short_or_deep(1, 4)
    async with open_trial(tmp_path / "trial", rng) as trial:
        await trial.set_policy(**STRICT)
        client = await trial.connect("--timeout", "1")
        async with trial.talking() as talk:
            await talk.accepts(50)
            before = client.resident_mib()
            trial.target.saying = mood
            await until(lambda: len(mood.used) >= rounds * len(MANNERS), 60)
        trial.target.saying = lambda _: say
        verdict = await trial.verdict()
        assert client.alive, client.errors
        assert client.resident_mib() - before < GROWTH_MIB
        judged(verdict, "a target's bad manners", len(mood.used), duplicates=len(mood.used))
