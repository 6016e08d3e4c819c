"""A client that is killed while its target works loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.seeds import short_or_deep
from tests.support.trial import busy, open_trial
from tests.support.waiting import until

KILLS = 10  # of each relay's client
CONCURRENCY = 32


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("part", range(short_or_deep(1, 10)))
async def test_a_killed_client_loses_nothing_and_repeats_only_what_was_under_way(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    repeatable = 0
    async with open_trial(tmp_path / "trial", rng) as trial:
        trial.answer_with(busy(rng, 0.1))
        client = await trial.connect("--concurrency", str(CONCURRENCY))
        async with trial.talking(conversations=48, pause_s=0.1) as talk:
            for _ in range(KILLS):
                await talk.accepts(20)
                await until(lambda: len(trial.target.under_way) >= CONCURRENCY // 2)
                await asyncio.sleep(rng.uniform(0.0, 0.15))  # the moment is what is tested
                client.kill()
                repeatable += CONCURRENCY
                client = await trial.connect("--concurrency", str(CONCURRENCY))
        judged(await trial.verdict(), "SIGKILL of the client", KILLS, duplicates=repeatable)
