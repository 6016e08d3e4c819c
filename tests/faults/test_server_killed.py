"""A server that is killed under load has lost nothing that it answered for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from statistics import median

import pytest

from tests.faults.conftest import Judged
from tests.support.seeds import short_or_deep
from tests.support.trial import open_trial

KILLS = 10  # of each relay
READY_AFTER = 2.0  # times what its first start took, on an empty store


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("part", range(short_or_deep(1, 20)))
async def test_what_a_killed_server_had_answered_arrives_without_help(
    part: int, tmp_path: Path, rng: Random, judged: Judged
) -> None:
    """In order, and each once: the client lives on and knows what it has posted."""
    async with open_trial(tmp_path / "trial", rng) as trial:
        client = await trial.connect()
        async with trial.talking() as talk:
            for kill in range(KILLS):
                await talk.accepts(20)
                await asyncio.sleep(rng.uniform(0.0, 0.4))  # the moment is what is tested
                trial.relay.server.kill()
                await trial.relay.start()
                await client.said("reconnected", kill + 1)
        assert client.alive, client.errors
        judged(await trial.verdict(), "SIGKILL of the server", KILLS)
    first, *others = trial.relay.starts
    assert median(others) < READY_AFTER * first, trial.relay.starts
