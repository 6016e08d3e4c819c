"""A target that is away is waited for, and finds everything in order when it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.support.chatwoot import message
from tests.support.relay import Relay
from tests.support.seeds import short_or_deep
from tests.support.target import Target, attempts
from tests.support.trial import open_trial
from tests.support.waiting import until

BACK_WITHIN_S = 5.0
CONCURRENCY = 8


@pytest.mark.timeout(120)
async def test_a_stopped_target_gets_everything_once_it_is_back(
    tmp_path: Path, rng: Random, judged: Judged
) -> None:
    away_s = short_or_deep(3, 60)
    async with open_trial(tmp_path / "trial", rng) as trial:
        target = trial.target
        client = await trial.connect()
        async with trial.talking(pause_s=0.1) as talk:
            await target.received(50)
            await until(lambda: target.under_way)
            await target.stop()
            await asyncio.sleep(away_s)  # how long it is away is what is tested
            assert talk.accepted > away_s * 25, "it was under load all the time"
            posted, seen = set(trial.ledger.accepted), len(target.seen)
            await target.start()
            await until(lambda: len(target.seen) > seen, BACK_WITHIN_S)
            await until(lambda: posted <= target.seen, 60)

        judged(await trial.verdict(), "a target that is away", 1, duplicates=CONCURRENCY)
        again = [numbers for numbers in attempts(target.arrivals).values() if numbers != [1]]
        assert len(again) <= CONCURRENCY, "no more was under way"
        assert all(numbers in ([1, 2], [2]) for numbers in again), "the first of [2] was not read"
        assert len(client.lines("waiting")) == 1
        assert len(client.lines("resumed")) == 1


async def test_a_target_that_was_never_there_costs_no_attempt(relay: Relay, target: Target) -> None:
    await target.stop()
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    for number in range(40):
        await relay.send(message(relay.send_token, number % 4, number))
    await until(lambda: client.lines("waiting"))
    [subscription] = (await relay.control("GET", "status"))["subscriptions"]
    assert (subscription["target_down"], subscription["backlog"]) == (True, 40)

    await target.start()
    await target.received(40)

    assert {arrival.attempt for arrival in target.arrivals} == {1}
    assert client.lines("failed") == []
    assert len(client.lines("waiting")) == 1
